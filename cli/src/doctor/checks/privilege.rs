//! What this user may do: the capabilities that the modes with XDP need.

use std::env;

use receiver_host::{Capability, Lack, XDP, XDP_PROGRAM};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts {
    lack: Lack,
    /// True if no capability is lacking that the XDP program needs: mapped rings need no more.
    is_program_allowed: bool,
    perfmon: bool,
    /// The program's file, for setcap(8).
    program: String,
}

pub fn check(_: &Subject) -> Vec<Line> {
    let program = env::current_exe().map_or_else(|_| "receiver".to_owned(), |path| path.display().to_string());
    judge(&Facts {
        lack: Lack::of(&XDP),
        is_program_allowed: XDP_PROGRAM.iter().all(|capability| capability.is_held()),
        perfmon: Capability::Perfmon.is_held(),
        program,
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let setcap = || {
        let names: Vec<String> =
            XDP.iter().chain([&Capability::Perfmon]).map(|one| one.to_string().to_lowercase()).collect();
        format!("setcap {}+ep {}", names.join(","), facts.program)
    };
    match &facts.lack {
        lack @ Lack::Capabilities(_) if facts.is_program_allowed => {
            vec![Line::warn(format!("{lack}, so modes zero-copy and copy are not available")).remedy(setcap())]
        }
        lack @ Lack::Capabilities(_) => {
            vec![Line::warn(format!("{lack}, so only mode socket is available")).remedy(setcap())]
        }
        lack @ Lack::UserNamespace => {
            let text = format!("{lack}, so only mode socket is available");
            vec![Line::warn(text).remedy(format!("nsenter -t 1 -U -n {}", facts.program))]
        }
        _ if facts.perfmon => vec![Line::ok("the capabilities for all modes")],
        _ => {
            let text = "the capabilities for all modes but CAP_PERFMON, with which a verdict of the XDP program takes \
                        half of the time, and which kernels before 6.18 ask for";
            vec![Line::warn(text).remedy(setcap())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Warn};

    fn facts(lack: Lack, perfmon: bool) -> Facts {
        Facts { lack, is_program_allowed: false, perfmon, program: "/usr/bin/receiver".to_owned() }
    }

    #[test]
    fn each_lack_has_its_remedy() {
        let lines = judge(&facts(Lack::Capabilities(vec![Capability::Bpf]), false));
        let setcap = "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock,cap_perfmon+ep /usr/bin/receiver";
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some(setcap)));
        assert!(lines[0].text.contains("CAP_BPF") && lines[0].text.contains("only mode socket"), "{lines:?}");
        let raw = Facts { is_program_allowed: true, ..facts(Lack::Capabilities(vec![Capability::NetRaw]), true) };
        let lines = judge(&raw);
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some(setcap)));
        assert!(lines[0].text.ends_with("CAP_NET_RAW, so modes zero-copy and copy are not available"), "{lines:?}");
        let lines = judge(&facts(Lack::Unknown, false));
        assert!(lines[0].text.contains("CAP_PERFMON"), "{lines:?}");
        assert_eq!(outcomes(&judge(&facts(Lack::UserNamespace, true))), [Warn]);
        assert_eq!(outcomes(&judge(&facts(Lack::Unknown, true))), [Ok]);
    }
}
