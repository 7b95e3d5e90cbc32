//! The modes with XDP that work, and what trying them does to the link.

use receiver::{ReceiveMode, Refused};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;
use crate::doctor::trial::Trial;

pub fn check(subject: &Subject) -> Vec<Line> {
    judge(subject.name(), subject.trial())
}

fn judge(interface: &str, trial: &Trial) -> Vec<Line> {
    let tried = match trial {
        Trial::NotTried(reason) => return vec![Line::skipped(format!("the modes with XDP were not tried: {reason}"))],
        Trial::Tried(tried) => tried,
    };
    let mut lines = Vec::new();
    let available: Vec<&str> = tried.available.iter().map(|mode| mode.name()).collect();
    let reasons: String =
        Refused::by_reason(&tried.refused).map(|(modes, why)| format!("; {modes} not: {why}")).collect();
    let native = tried.available.iter().any(|mode| *mode != ReceiveMode::Generic);
    let command = reasons.split('`').nth(1).filter(|command| command.starts_with("ethtool ")).map(ToOwned::to_owned);
    let command = command.or_else(|| mtu_command(&reasons));
    let line = match (available.is_empty(), native) {
        (true, _) => Line::warn(format!("no mode with XDP works on {interface}, and mode socket remains{reasons}")),
        (false, false) => Line::warn(format!("mode generic works on {interface}, which is slow{reasons}")),
        (false, true) => Line::ok(format!("{} work on {interface}{reasons}", available.join(", "))),
    };
    lines.push(match command {
        Some(command) => line.remedy(command),
        None => line,
    });
    if !tried.has_carrier {
        let text = format!("{interface} lost its carrier when XDP was attached, and has not got it back");
        lines.push(Line::fail(text).remedy(format!("ip link set {interface} down && ip link set {interface} up")));
    } else if tried.carrier_downs > 0 {
        lines.push(Line::warn(format!(
            "{interface} lost its carrier {} times while XDP was attached and detached: each start and end of a \
             receiver interrupts the link, and packets are lost",
            tried.carrier_downs
        )));
    }
    if tried.is_left_behind {
        let text = format!("an XDP program was attached to {interface} meanwhile");
        lines.push(Line::warn(text).remedy(format!("ip -details link show {interface}")));
    }
    lines
}

/// The command in `(ip link set eth1 mtu 1770)`, as an error's remedy has it.
fn mtu_command(reasons: &str) -> Option<String> {
    let (_, rest) = reasons.split_once("(ip link set ")?;
    let (command, _) = rest.split_once(')')?;
    Some(format!("ip link set {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Skipped, Warn};
    use crate::doctor::trial::{MODES, Tried};

    fn tried(refused: &[(ReceiveMode, &str)]) -> Tried {
        let is_refused = |mode| refused.iter().any(|(one, _)| *one == mode);
        let available = MODES.into_iter().filter(|mode| !is_refused(*mode)).collect();
        let refused = refused.iter().map(|&(mode, why)| Refused { mode, reason: why.to_owned() }).collect();
        Tried { available, refused, has_carrier: true, ..Tried::default() }
    }

    fn lines(tried: Tried) -> Vec<Line> {
        judge("eth1", &Trial::Tried(tried))
    }

    #[test]
    fn the_best_mode_decides() {
        assert_eq!(outcomes(&judge("eth1", &Trial::NotTried("x".to_owned()))), [Skipped]);
        let some = lines(tried(&[(ReceiveMode::ZeroCopy, "no")]));
        assert_eq!(
            (outcomes(&some), some[0].text.as_str()),
            (vec![Ok], "mapped, copy, generic work on eth1; zero-copy not: no")
        );
        let native = [(ReceiveMode::ZeroCopy, "no"), (ReceiveMode::Mapped, "no"), (ReceiveMode::Copy, "no")];
        let generic = lines(tried(&native));
        assert_eq!(outcomes(&generic), [Warn]);
        assert!(generic[0].text.contains("zero-copy, mapped, copy not: no"), "{generic:?}");
        let none = lines(tried(&[&native[..], &[(ReceiveMode::Generic, "(ip link set eth1 mtu 1770)")]].concat()));
        assert_eq!((outcomes(&none), none[0].remedy.as_deref()), (vec![Warn], Some("ip link set eth1 mtu 1770")));
    }

    #[test]
    fn a_link_that_goes_down() {
        let flaps = lines(Tried { carrier_downs: 2, ..tried(&[]) });
        assert_eq!(outcomes(&flaps), [Ok, Warn]);
        let lost = lines(Tried { carrier_downs: 1, has_carrier: false, ..tried(&[]) });
        let remedy = "ip link set eth1 down && ip link set eth1 up";
        assert_eq!((outcomes(&lost), lost[1].remedy.as_deref()), (vec![Ok, Fail], Some(remedy)));
        assert_eq!(outcomes(&lines(Tried { is_left_behind: true, ..tried(&[]) })), [Ok, Warn]);
    }
}
