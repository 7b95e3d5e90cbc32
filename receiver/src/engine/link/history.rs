//! What has happened to the link, as users see it: how often, and when.

use std::collections::VecDeque;
use std::time::SystemTime;

/// The number of latest changes that are kept.
const RECENT: usize = 64;

/// Something that happened to the link, or to a part of the receiver on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkChange {
    /// The link can no longer receive: it is set down, or has lost its carrier.
    Down,
    /// The link can receive again.
    Up,
    /// The interface was deleted.
    Gone,
    /// The interface moved to another network namespace.
    Moved,
    /// An interface of the same name is there again, and the receiver is on it.
    Back,
    /// The interface has another name.
    Renamed,
    /// Another program or user detached the XDP program.
    Detached,
    /// The receiver attached its XDP program again.
    Attached,
    /// AF_XDP sockets lost their device while the link was up. The receiver binds new ones.
    Unbound,
    /// IPv4 left the interface, and its memberships with it.
    Ipv4Gone,
    /// IPv4 is back, and its groups are joined.
    Ipv4Back,
    /// IPv6 left the interface, and its memberships with it.
    Ipv6Gone,
    /// IPv6 is back, and its groups are joined.
    Ipv6Back,
    /// The kernel no longer had groups that were joined. The receiver joins them again.
    MembershipsLost,
    /// The interface has another number of receive queues.
    QueuesChanged,
    /// The interface has another MTU.
    MtuChanged,
}

impl LinkChange {
    /// Every change.
    pub const ALL: [Self; 16] = [
        Self::Down,
        Self::Up,
        Self::Gone,
        Self::Moved,
        Self::Back,
        Self::Renamed,
        Self::Detached,
        Self::Attached,
        Self::Unbound,
        Self::Ipv4Gone,
        Self::Ipv4Back,
        Self::Ipv6Gone,
        Self::Ipv6Back,
        Self::MembershipsLost,
        Self::QueuesChanged,
        Self::MtuChanged,
    ];

    /// Its name in metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::Back => "back",
            Self::Renamed => "renamed",
            Self::Detached => "detached",
            Self::Attached => "attached",
            Self::Unbound => "unbound",
            Self::Ipv4Gone => "ipv4_gone",
            Self::Ipv4Back => "ipv4_back",
            Self::Ipv6Gone => "ipv6_gone",
            Self::Ipv6Back => "ipv6_back",
            Self::MembershipsLost => "memberships_lost",
            Self::QueuesChanged => "queues_changed",
            Self::MtuChanged => "mtu_changed",
        }
    }
}

/// How often a change has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCount {
    /// The change.
    pub change: LinkChange,
    /// How often it has happened since the start.
    pub count: u64,
    /// When it was last noticed; `None` if it has not happened.
    pub last: Option<SystemTime>,
}

/// What has happened to the link since the start. Changes are noticed within a second; netlink reports most of them at
/// once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkHistory {
    counts: [(u64, Option<SystemTime>); LinkChange::ALL.len()],
    recent: VecDeque<(SystemTime, LinkChange)>,
    is_down: bool,
    is_gone: bool,
}

impl LinkHistory {
    /// Each change with its count, also those that have not happened.
    pub fn counts(&self) -> impl Iterator<Item = LinkCount> + '_ {
        LinkChange::ALL.into_iter().zip(self.counts).map(|(change, (count, last))| LinkCount { change, count, last })
    }

    /// How often a change has happened.
    pub fn count(&self, change: LinkChange) -> u64 {
        self.counts[change as usize].0
    }

    /// The latest 64 changes, the oldest first, each with the time when it was noticed.
    pub fn recent(&self) -> impl ExactSizeIterator<Item = (SystemTime, LinkChange)> + '_ {
        self.recent.iter().copied()
    }

    /// Returns true if the link can receive.
    pub fn is_up(&self) -> bool {
        !self.is_down && !self.is_gone
    }

    /// Records that something has happened `count` times.
    pub(crate) fn record(&mut self, change: LinkChange, count: u64, now: SystemTime) {
        let (total, last) = &mut self.counts[change as usize];
        *total += count;
        *last = Some(now);
        match change {
            LinkChange::Down => self.is_down = true,
            LinkChange::Up => self.is_down = false,
            LinkChange::Gone | LinkChange::Moved => self.is_gone = true,
            LinkChange::Back => self.is_gone = false,
            _ => {}
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, change));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_counted_under_its_own_name() {
        let mut history = LinkHistory::default();
        for (at, change) in (1..).zip(LinkChange::ALL) {
            history.record(change, at, SystemTime::UNIX_EPOCH);
        }
        let counts: Vec<_> = history.counts().map(|one| (one.change, one.count)).collect();
        assert_eq!(counts, LinkChange::ALL.into_iter().zip(1..).collect::<Vec<_>>());
        let names: std::collections::BTreeSet<_> = LinkChange::ALL.map(LinkChange::name).into_iter().collect();
        assert_eq!(names.len(), LinkChange::ALL.len());
        for change in LinkChange::ALL {
            assert_eq!(serde_json::to_value(change).expect("a name"), change.name());
        }
    }

    #[test]
    fn the_link_is_up_when_it_is_there_and_not_down() {
        let mut history = LinkHistory::default();
        let mut after = |change| {
            history.record(change, 1, SystemTime::UNIX_EPOCH);
            history.is_up()
        };
        assert!(!after(LinkChange::Down));
        assert!(after(LinkChange::Up));
        assert!(!after(LinkChange::Moved));
        assert!(after(LinkChange::Back));
    }

    #[test]
    fn the_latest_changes_are_kept() {
        let mut history = LinkHistory::default();
        for _ in 0..RECENT {
            history.record(LinkChange::Down, 1, SystemTime::UNIX_EPOCH);
        }
        history.record(LinkChange::Up, 1, SystemTime::UNIX_EPOCH);
        assert_eq!(history.recent().len(), RECENT);
        assert_eq!(history.recent().last(), Some((SystemTime::UNIX_EPOCH, LinkChange::Up)));
    }
}
