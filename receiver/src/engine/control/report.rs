//! What users read while the receiver runs, beside the counters of subscriptions and the ledger: queues, link,
//! memberships.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use super::Control;
use crate::api::error::Error;
use crate::api::membership_report::MembershipReport;
use crate::api::queue_report::QueueReport;
use crate::engine::link::{LinkChange, LinkHistory};
use crate::engine::lock::lock;
use receiver_membership::tables::IgmpVersion;

/// What the kernel's tables had of the memberships at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablesCheck {
    /// Groups of which the kernel had less than was joined, and which are not known to be lost.
    pub missing: u64,
    pub igmp: Option<IgmpVersion>,
    pub older_igmp: bool,
    /// Until when an older MLD querier is taken to be on the link.
    pub older_mld: Option<Instant>,
    pub at: SystemTime,
}

impl Control {
    pub fn queues(&self) -> Result<Vec<QueueReport>, Error> {
        let report = |queue: &crate::engine::shared::QueueShared| {
            Ok(QueueReport::new(queue.queue, queue.path.counters.read(), queue.ledger()?))
        };
        self.shared.queues.iter().map(report).collect()
    }

    pub fn link_history(&self) -> LinkHistory {
        lock(&self.history).clone()
    }

    /// Records what has happened to the link.
    pub fn record_change(&self, change: LinkChange, count: u64) {
        lock(&self.history).record(change, count, SystemTime::now());
    }

    /// Records what the kernel's tables have of the memberships.
    pub fn record_tables(&self, check: TablesCheck) {
        *lock(&self.tables) = Some(check);
    }

    pub fn memberships(&self) -> MembershipReport {
        let check = *lock(&self.tables);
        let inner = lock(&self.inner);
        let groups: BTreeSet<IpAddr> = inner.membership.memberships().map(|(group, ..)| group).collect();
        let lost = groups.iter().filter(|group| inner.lost.has(**group)).count() as u64;
        MembershipReport {
            interface: inner.membership.interface().name.clone(),
            joined: inner.membership.memberships().len() as u64,
            groups: groups.len() as u64,
            sockets: inner.membership.sockets().len() as u64,
            missing: check.map(|check| (check.missing + lost).min(groups.len() as u64)),
            igmp: check.and_then(|check| check.igmp),
            older_igmp: check.is_some_and(|check| check.older_igmp),
            older_mld: check.and_then(|check| check.older_mld).is_some_and(|until| Instant::now() < until),
            checked: check.map(|check| check.at),
        }
    }
}
