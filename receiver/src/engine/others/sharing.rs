//! Which programs use the groups and ports of this receiver, by the kernel's tables; what has changed since the last
//! check; and the messages about it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::policy::DropUnwanted;
use super::process::Process;
use super::udp_table::UdpSocket;
use crate::api::evidence::MOST_NAMED;

/// The largest number of changes that one receiver reports: programs that come and go for weeks do not fill the memory.
const MOST_REPORTED: usize = 100;

/// Who uses a group and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    /// A process that has a socket.
    Process(Process),
    /// A socket of a process that `/proc` does not show, by the id of the user that made it.
    Hidden(u32),
    /// Nobody with a UDP socket: a program that forwards, raw sockets, or the kernel itself.
    NoSocket,
}

/// Groups and ports, by who uses them.
pub(crate) type Uses = BTreeMap<User, BTreeSet<(IpAddr, u16)>>;

/// A change of who uses what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Who.
    pub user: User,
    /// True if the use began, false if it ended.
    pub began: bool,
    /// Which groups and ports.
    pub keys: Vec<(IpAddr, u16)>,
}

/// Who uses which of these groups and ports, which other programs have joined. `sockets` are the UDP sockets on these
/// ports that are not this receiver's, `processes` those that have a socket, by its inode. Linear where each socket is
/// bound to a group; sockets bound to a port alone count once for each user.
pub(crate) fn uses(
    joined: &BTreeSet<(IpAddr, u16)>,
    sockets: &[UdpSocket],
    processes: &HashMap<u64, Vec<Process>>,
) -> Uses {
    let mut by_port = HashMap::<u16, HashSet<IpAddr>>::new();
    for &(group, port) in joined {
        by_port.entry(port).or_default().insert(group);
    }
    let mut users = BTreeMap::<(IpAddr, u16), BTreeSet<User>>::new();
    for socket in sockets {
        let users = users.entry((socket.address, socket.port)).or_default();
        match processes.get(&socket.inode).map(Vec::as_slice) {
            None | Some([]) => drop(users.insert(User::Hidden(socket.user))),
            Some(some) => users.extend(some.iter().cloned().map(User::Process)),
        }
    }
    let (mut uses, mut used) = (Uses::new(), HashSet::<(IpAddr, u16)>::new());
    for ((address, port), users) in users {
        let Some(groups) = by_port.get(&port) else { continue };
        let keys: Vec<(IpAddr, u16)> = match address.is_unspecified() {
            // An IPv6 socket that is not for IPv6 alone takes IPv4 groups, too.
            true => {
                groups.iter().filter(|group| address.is_ipv6() || group.is_ipv4()).map(|&group| (group, port)).collect()
            }
            false => groups.get(&address).map(|&group| (group, port)).into_iter().collect(),
        };
        used.extend(&keys);
        for user in users.into_iter().filter(|_| !keys.is_empty()) {
            uses.entry(user).or_default().extend(&keys);
        }
    }
    let unused: BTreeSet<_> = joined.iter().filter(|key| !used.contains(*key)).copied().collect();
    if !unused.is_empty() {
        uses.insert(User::NoSocket, unused);
    }
    uses
}

/// The uses that were reported.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    uses: Uses,
    changes: usize,
}

impl Reported {
    /// Returns what has changed since the last call. After 100 changes it returns none; `true` marks the last one.
    pub fn changes(&mut self, now: Uses) -> (Vec<Change>, bool) {
        let mut changes = Vec::new();
        let users: BTreeSet<&User> = self.uses.keys().chain(now.keys()).collect();
        let none = BTreeSet::new();
        for user in users {
            let (before, after) = (self.uses.get(user).unwrap_or(&none), now.get(user).unwrap_or(&none));
            for (began, keys) in [(true, after.difference(before)), (false, before.difference(after))] {
                let keys: Vec<_> = keys.copied().collect();
                if !keys.is_empty() {
                    changes.push(Change { user: user.clone(), began, keys });
                }
            }
        }
        self.uses = now;
        // A user without a socket causes no warning, and is not counted.
        let before = self.changes;
        changes.retain(|change| {
            self.changes += usize::from(change.user != User::NoSocket);
            change.user == User::NoSocket || self.changes <= MOST_REPORTED
        });
        (changes, before < MOST_REPORTED && self.changes >= MOST_REPORTED)
    }
}

impl Change {
    /// The message about the change.
    pub fn text(&self, interface: &str, policy: DropUnwanted, share: bool) -> String {
        let keys = &self.keys;
        let named: Vec<String> =
            keys.iter().take(MOST_NAMED).map(|&(group, port)| SocketAddr::new(group, port).to_string()).collect();
        let more = match keys.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let keys = format!("{}{more} on {interface}", named.join(", "));
        let user = match &self.user {
            User::Process(process) => process.to_string(),
            User::Hidden(user) => format!("a program of user {user}, which /proc does not show,"),
            User::NoSocket if self.began => {
                return format!(
                    "the groups of {keys} have another member, and no other program has a UDP socket for group and port"
                );
            }
            User::NoSocket => {
                return format!("the groups of {keys} have no other member without a UDP socket any more");
            }
        };
        if !self.began {
            return format!("{user} no longer uses {keys}");
        }
        if share {
            return format!("{user} uses {keys} too, and gets its packets as well: they are shared");
        }
        let unwanted = match policy {
            DropUnwanted::Always => {
                "Frames of the sources that this receiver does not want are dropped: it is set to drop them always"
            }
            DropUnwanted::UnlessShared | DropUnwanted::Never => {
                "Frames of the sources that this receiver does not want pass to the kernel"
            }
        };
        format!(
            "{user} uses {keys} too, and gets nothing of what this receiver takes there: XDP takes the frames \
             before the kernel's sockets can. {unwanted}. To serve both, let this receiver share its packets, or run \
             this receiver in mode socket, or have the other program take its data from this receiver"
        )
    }
}

/// The message that replaces all changes after the last one.
pub(crate) fn last_report() -> String {
    format!("{MOST_REPORTED} changes of other programs' use of the groups were reported; no more will be")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn process(pid: u32) -> Process {
        Process { pid, name: "other".to_owned() }
    }

    fn socket(address: &str, port: u16, inode: u64) -> UdpSocket {
        UdpSocket { address: ip(address), port, user: 1000, inode }
    }

    #[test]
    fn sockets_use_the_groups_that_they_can_receive() {
        let joined = [(ip("232.1.1.1"), 5000), (ip("232.1.1.2"), 5000), (ip("ff3e::1"), 5000), (ip("232.1.1.1"), 5001)];
        let sockets = [
            socket("232.1.1.1", 5000, 1),
            socket("0.0.0.0", 5000, 2),
            socket("::", 5000, 3),
            socket("10.0.0.100", 5001, 4),
            socket("0.0.0.0", 5002, 5),
        ];
        let processes = [(1, vec![process(11)]), (2, vec![process(12), process(13)]), (3, vec![])].into();
        let uses = uses(&joined.into(), &sockets, &processes);
        let expected: Uses = [
            (User::Process(process(11)), [joined[0]].into()),
            (User::Process(process(12)), [joined[0], joined[1]].into()),
            (User::Process(process(13)), [joined[0], joined[1]].into()),
            (User::Hidden(1000), [joined[0], joined[1], joined[2]].into()),
            (User::NoSocket, [joined[3]].into()),
        ]
        .into();
        assert_eq!(uses, expected);
    }

    #[test]
    fn words_name_group_program_and_remedy() {
        let keys: Vec<_> = (1..=10).map(|n| (IpAddr::from([232, 1, 1, n]), 5000)).collect();
        let change = |user, began, count: usize| Change { user, began, keys: keys[..count].to_vec() };
        let one = change(User::Process(process(11)), true, 1).text("eth7", DropUnwanted::UnlessShared, false);
        for part in ["other (pid 11) uses 232.1.1.1:5000 on eth7 too", "pass to the kernel", "mode socket"] {
            assert!(one.contains(part), "{part}: {one}");
        }
        let always = change(User::Hidden(7), true, 10).text("eth7", DropUnwanted::Always, false);
        for part in
            ["a program of user 7, which /proc does not show, uses", "232.1.1.8:5000 and 2 more on eth7", "always"]
        {
            assert!(always.contains(part), "{part}: {always}");
        }
        let ended = change(User::Process(process(11)), false, 1).text("eth7", DropUnwanted::UnlessShared, false);
        assert_eq!(ended, "other (pid 11) no longer uses 232.1.1.1:5000 on eth7");
        let shared = change(User::Process(process(11)), true, 1).text("eth7", DropUnwanted::Never, true);
        assert_eq!(
            shared,
            "other (pid 11) uses 232.1.1.1:5000 on eth7 too, and gets its packets as well: they are shared"
        );
    }

    #[test]
    fn reports_have_an_end() {
        let mut reported = Reported::default();
        let uses: Uses = [(User::Process(process(11)), [(ip("232.1.1.1"), 5000)].into())].into();
        let mut count = 0;
        let mut marks = 0;
        for round in 0..1000 {
            let (changes, is_last) = reported.changes(if round % 2 == 0 { uses.clone() } else { Uses::new() });
            count += changes.len();
            marks += usize::from(is_last);
        }
        assert_eq!((count, marks), (MOST_REPORTED, 1));
    }

    proptest! {
        /// Applying the changes to what was known gives what is known now, and each is reported once.
        #[test]
        fn changes_are_the_difference(checks in prop::collection::vec(
            prop::collection::btree_map(0u32..4, prop::collection::btree_set(0u8..6, 1..4), 0..4), 1..12,
        )) {
            let (mut reported, mut model) = (Reported::default(), Uses::new());
            for check in checks {
                let key = |n| (IpAddr::from([232, 1, 1, n]), 5000);
                let user = |pid| User::Process(process(pid));
                let now: Uses = check
                    .into_iter()
                    .map(|(pid, keys)| (user(pid), keys.into_iter().map(key).collect()))
                    .collect();
                let (changes, _) = reported.changes(now.clone());
                for change in changes {
                    let keys = model.entry(change.user).or_default();
                    for key in change.keys {
                        let is_new = if change.began { keys.insert(key) } else { keys.remove(&key) };
                        prop_assert!(is_new);
                    }
                }
                model.retain(|_, keys| !keys.is_empty());
                if reported.changes <= MOST_REPORTED {
                    prop_assert_eq!(&model, &now);
                }
                prop_assert!(reported.changes(now).0.is_empty());
            }
        }
    }
}
