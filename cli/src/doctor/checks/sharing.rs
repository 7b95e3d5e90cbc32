//! Other programs that have joined a subscribed group: a mode with XDP takes their packets away.

use std::net::{IpAddr, SocketAddr};

use receiver::{Process, inspect};
use receiver_membership::tables::KernelTables;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts {
    interface: String,
    /// Words that begin `receiver run` for the interface.
    run: String,
    /// For each group and port that others have joined: the subscription, its members, and who has a socket.
    shared: Vec<Shared>,
    /// The processes of a receiver that runs on the interface.
    receivers: Vec<Process>,
}

struct Shared {
    subscription: String,
    group: IpAddr,
    port: u16,
    members: u64,
    processes: Vec<Process>,
    hidden: usize,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    if subject.subscriptions.is_empty() {
        return vec![Line::skipped("no subscription was named, so that no group can be looked up")];
    }
    let tables = match KernelTables::read() {
        Ok(tables) => tables,
        Err(error) => return vec![Line::skipped(format!("/proc/net/igmp cannot be read: {error}"))],
    };
    let shared = subject.subscriptions.iter().filter_map(|one| {
        let (group, port) = (one.group(), one.port());
        let members = tables.on(subject.joined_on.index).find(|joined| joined.group == group)?.users;
        let users = inspect::group_users(group, port).unwrap_or_default();
        let (processes, hidden) = (users.processes, users.hidden);
        Some(Shared { subscription: one.to_string(), group, port, members, processes, hidden })
    });
    let receivers = subject.holder.iter().filter(|holder| holder.is_receiver()).flat_map(|one| one.processes.clone());
    judge(&Facts {
        interface: subject.joined_on.name.clone(),
        run: subject.run_command(),
        shared: shared.collect(),
        receivers: receivers.collect(),
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    for one in &facts.shared {
        let key = SocketAddr::new(one.group, one.port);
        let others = one.processes.iter().filter(|process| !facts.receivers.contains(process));
        let mut who: Vec<String> = others.map(ToString::to_string).collect();
        if one.hidden > 0 {
            who.push(format!(
                "{} of programs that /proc does not show",
                crate::units::count(one.hidden as u64, "socket")
            ));
        }
        if who.is_empty() && !one.processes.is_empty() {
            lines.push(Line::ok(format!("{key} is received by {}", one.processes[0])));
            continue;
        }
        let members = crate::units::count(one.members, "other member");
        let who = if who.is_empty() { "no program with a UDP socket".to_owned() } else { who.join(" and ") };
        let text = format!(
            "{key} has {members} on {}, {who}: a mode with XDP takes the packets before they receive them",
            facts.interface
        );
        lines.push(Line::warn(text).remedy(format!("{} --share {}", facts.run, one.subscription)));
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!("no other program on this host has joined the groups on {}", facts.interface)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Warn};

    fn facts(processes: &[u32], receivers: &[u32], hidden: usize) -> Facts {
        let of = |pids: &[u32]| pids.iter().map(|&pid| Process { pid, name: "vlc".to_owned() }).collect();
        let shared = Shared {
            subscription: "239.1.1.1:5000".to_owned(),
            group: [239, 1, 1, 1].into(),
            port: 5000,
            members: 1,
            processes: of(processes),
            hidden,
        };
        let run = "receiver run -i eth1".to_owned();
        Facts { interface: "eth1".to_owned(), run, shared: vec![shared], receivers: of(receivers) }
    }

    #[test]
    fn members_are_named_and_a_receiver_is_no_other() {
        assert_eq!(outcomes(&judge(&Facts { shared: Vec::new(), ..facts(&[], &[], 0) })), [Ok]);
        assert_eq!(outcomes(&judge(&facts(&[7], &[7], 0))), [Ok]);
        let lines = judge(&facts(&[7, 8], &[7], 0));
        assert!(lines[0].text.contains("vlc (pid 8)") && !lines[0].text.contains("(pid 7)"), "{lines:?}");
        let remedy = "receiver run -i eth1 --share 239.1.1.1:5000";
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some(remedy)));
        assert!(judge(&facts(&[], &[], 2))[0].text.contains("2 sockets of programs that /proc does not show"));
        assert!(judge(&facts(&[], &[], 0))[0].text.contains("no program with a UDP socket"));
    }
}
