//! Another XDP program on the interface, and whose it is.

use receiver::Process;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts {
    interface: String,
    holder: Option<Held>,
}

struct Held {
    /// As the library describes it.
    text: String,
    is_receiver: bool,
    processes: Vec<Process>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let holder = subject.holder.as_ref().map(|holder| Held {
        text: holder.to_string(),
        is_receiver: holder.is_receiver(),
        processes: holder.processes.clone(),
    });
    judge(&Facts { interface: subject.name().to_owned(), holder })
}

fn judge(Facts { interface, holder }: &Facts) -> Vec<Line> {
    let Some(Held { text, is_receiver, processes }) = holder else {
        return vec![Line::ok(format!("no XDP program is on {interface}"))];
    };
    if *is_receiver && !processes.is_empty() {
        return vec![Line::ok(format!(
            "a receiver is running on {interface}: {text}; a second one in a mode with XDP would be refused"
        ))];
    }
    let text = format!("{interface} has another XDP program: {text}");
    let remedy = match processes.first() {
        Some(process) => format!("kill {}", process.pid),
        None => format!("ip link set {interface} xdp off"),
    };
    vec![Line::fail(text).remedy(remedy)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok};

    fn facts(is_receiver: bool, processes: &[u32]) -> Facts {
        let processes = processes.iter().map(|&pid| Process { pid, name: "x".to_owned() }).collect();
        let holder = Some(Held { text: "program 57".to_owned(), is_receiver, processes });
        Facts { interface: "eth1".to_owned(), holder }
    }

    #[test]
    fn whose_program_decides() {
        assert_eq!(outcomes(&judge(&Facts { interface: "eth1".to_owned(), holder: None })), [Ok]);
        assert_eq!(outcomes(&judge(&facts(true, &[7]))), [Ok]);
        for (facts, remedy) in [(facts(false, &[7, 8]), "kill 7"), (facts(false, &[]), "ip link set eth1 xdp off")] {
            let lines = judge(&facts);
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some(remedy)));
        }
    }
}
