//! The subscriptions that have labels of their own, as many as the limit allows, and the sum of the others.
//!
//! A subscription keeps its labels until it is left. A place that becomes free is taken by a subscription that is
//! joined later, and never by one that was counted with the others: their counters would fall. What the others counted
//! before they were left stays in their sum, for the same reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use receiver::{SubscriptionId, SubscriptionReport};

/// The label of the sum.
pub const OTHER: &str = "other";

/// What one subscription has counted, or the others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The subscription as a user writes it, or [`OTHER`].
    pub subscription: String,
    /// Its name; empty without one.
    pub name: String,
    /// Datagrams handed over.
    pub packets: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Frames dropped because of their source; `None` if unknown.
    pub blocked: Option<u64>,
    /// Frames of unwanted sources that passed to the kernel; `None` if unknown.
    pub passed_shared: Option<u64>,
    /// Sockets of other programs that are members of the group; `None` if unknown.
    pub other_members: Option<u64>,
    /// When the latest datagram was received: nanoseconds on CLOCK_TAI.
    pub last: Option<u64>,
}

/// Counts of the unwanted frames of a group and port: subscriptions of both share them.
type Unwanted = (Option<u64>, Option<u64>);

/// Which subscriptions have labels, and what the others have counted.
#[derive(Debug)]
pub struct Labelled {
    limit: usize,
    own: BTreeSet<SubscriptionId>,
    /// The others that are joined, with their packets and bytes at the last scrape.
    others: HashMap<SubscriptionId, (u64, u64)>,
    /// The groups and ports of the others.
    unwanted: BTreeMap<(IpAddr, u16), Unwanted>,
    /// What others had counted that are left since.
    before: Series,
}

impl Labelled {
    /// Gives labels to as many subscriptions as `limit`.
    pub fn new(limit: usize) -> Self {
        let (own, others, unwanted) = (BTreeSet::new(), HashMap::new(), BTreeMap::new());
        let before = Series { subscription: OTHER.to_owned(), ..Series::default() };
        Self { limit, own, others, unwanted, before }
    }

    /// The series of these reports, which are all subscriptions that are joined, in the order of joining.
    pub fn series(
        &mut self,
        reports: &[SubscriptionReport],
        name: impl Fn(SubscriptionId) -> Option<String>,
    ) -> Vec<Series> {
        let joined: BTreeSet<SubscriptionId> = reports.iter().map(|report| report.id).collect();
        self.own.retain(|id| joined.contains(id));
        for report in reports {
            let is_new = !self.own.contains(&report.id) && !self.others.contains_key(&report.id);
            if is_new && self.own.len() < self.limit {
                self.own.insert(report.id);
            }
        }
        let (own, others): (Vec<_>, Vec<_>) = reports.iter().partition(|report| self.own.contains(&report.id));
        let mut series: Vec<Series> = own
            .into_iter()
            .map(|report| Series {
                subscription: report.subscription.to_string(),
                name: name(report.id).unwrap_or_default(),
                packets: report.packets,
                bytes: report.bytes,
                blocked: report.blocked,
                passed_shared: report.passed_shared,
                other_members: report.other_members,
                last: report.last,
            })
            .collect();
        let sum = self.sum(&others);
        if !others.is_empty() || (sum.packets, sum.blocked) != (0, None) {
            series.push(sum);
        }
        series
    }

    /// The sum over the others, with those that are left.
    fn sum(&mut self, others: &[&SubscriptionReport]) -> Series {
        let now: HashMap<SubscriptionId, (u64, u64)> =
            others.iter().map(|report| (report.id, (report.packets, report.bytes))).collect();
        for (_, (packets, bytes)) in self.others.iter().filter(|(id, _)| !now.contains_key(id)) {
            self.before.packets += packets;
            self.before.bytes += bytes;
        }
        let key = |report: &SubscriptionReport| (report.subscription.group(), report.subscription.port());
        let unwanted: BTreeMap<(IpAddr, u16), Unwanted> =
            others.iter().map(|report| (key(report), (report.blocked, report.passed_shared))).collect();
        for (_, (blocked, passed)) in self.unwanted.iter().filter(|(key, _)| !unwanted.contains_key(key)) {
            self.before.blocked = added(self.before.blocked, *blocked);
            self.before.passed_shared = added(self.before.passed_shared, *passed);
        }
        let mut sum = self.before.clone();
        for report in others {
            sum.packets += report.packets;
            sum.bytes += report.bytes;
            sum.other_members = added(sum.other_members, report.other_members);
            sum.last = sum.last.max(report.last);
        }
        for (blocked, passed) in unwanted.values() {
            sum.blocked = added(sum.blocked, *blocked);
            sum.passed_shared = added(sum.passed_shared, *passed);
        }
        // Kept for the time after the last of them is left.
        self.before.last = sum.last;
        (self.others, self.unwanted) = (now, unwanted);
        sum
    }
}

fn added(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}
