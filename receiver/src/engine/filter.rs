//! The filter as user space holds it: which subscription a (source, group, port) belongs to, or none.
//!
//! The XDP maps mirror it, and the worker checks every datagram against it once more before the consumer sees it. So
//! nothing of a source is delivered after the call that blocks it has returned, even if its frames waited in a ring.
//! The check costs one load per datagram: a worker keeps the flows that it has seen ([`FlowCache`]) until the filter's
//! epoch changes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use receiver_common::{AnyAddress, FlowKeyV4, FlowKeyV6, Port};
use rustc_hash::FxHashMap;

use crate::api::error::Error;
use crate::stats::counter::{Counter, Gauge};
use receiver_membership::{SourceFilter, Subscription};

/// The identity of a subscription of one receiver. It is never used again after `leave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SubscriptionId(pub(crate) u32);

impl SubscriptionId {
    /// A number that is unique in its receiver, counted from 0.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What one path counted for one subscription. Written by its worker alone; a cache line of its own.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct EntryCounters {
    pub packets: Counter,
    pub bytes: Counter,
    /// When the latest datagram was received: CLOCK_TAI, nanoseconds; 0 before the first.
    pub last: Gauge,
}

impl EntryCounters {
    /// Counts a datagram that was handed over.
    #[inline]
    pub fn record(&self, bytes: u64, time: u64) {
        self.packets.add(1);
        self.bytes.add(bytes);
        self.last.set(time);
    }
}

/// One subscription's place in the filter, and its counters.
#[derive(Debug)]
pub(crate) struct SubscriptionEntry {
    pub id: SubscriptionId,
    /// The IP version of its group.
    pub ipv6: bool,
    /// One for each path, in the order of [`Shared::path`](crate::engine::shared::Shared::path).
    pub counters: Box<[EntryCounters]>,
}

/// The sources of a (group, port).
#[derive(Debug)]
enum Sources {
    /// Each wanted source with its subscription.
    Include(HashMap<IpAddr, Arc<SubscriptionEntry>>),
    /// One subscription, to all sources that it does not block.
    Exclude { entry: Arc<SubscriptionEntry>, blocked: Vec<IpAddr> },
}

/// A (group, port) that has subscriptions.
#[derive(Debug)]
struct Group {
    /// The number of its counters in the XDP program.
    slot: u32,
    sources: Sources,
}

/// A subscription that [`FilterTable::insert_all`] added.
#[derive(Debug)]
pub(crate) struct Inserted {
    pub entry: Arc<SubscriptionEntry>,
    /// The group's slot.
    pub slot: u32,
    /// True if it is the first subscription of its group and port.
    pub new: bool,
}

/// All subscriptions of a receiver. Pure.
#[derive(Debug, Default)]
pub(crate) struct FilterTable {
    groups: HashMap<(IpAddr, u16), Group>,
    subscriptions: HashMap<SubscriptionId, Subscription>,
    free_slots: std::collections::VecDeque<u32>,
    slots: u32,
    next_id: u32,
}

/// The key of a flow, in the byte order of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlowKey {
    V4(FlowKeyV4),
    V6(FlowKeyV6),
}

impl FilterTable {
    /// Checks that the subscription fits beside the others.
    pub fn check(&self, asked: &Subscription) -> Result<(), Error> {
        let Some(group) = self.groups.get(&(asked.group(), asked.port())) else { return Ok(()) };
        let overlap = |id: &SubscriptionId, reason| {
            let existing = Box::new(self.subscriptions.get(id).unwrap_or(asked).clone());
            Error::Overlap { asked: Box::new(asked.clone()), existing, reason }
        };
        match (&group.sources, asked.filter()) {
            (Sources::Include(entries), SourceFilter::Include(sources)) => {
                match sources.iter().find_map(|source| entries.get(source)) {
                    Some(entry) => Err(overlap(&entry.id, "a source is in both")),
                    None => Ok(()),
                }
            }
            (Sources::Include(entries), SourceFilter::Exclude(_)) => {
                let id = entries.values().map(|entry| entry.id).min();
                Err(overlap(
                    &id.unwrap_or(SubscriptionId(0)),
                    "any-source beside source-specific on one group and port",
                ))
            }
            (Sources::Exclude { entry, .. }, SourceFilter::Exclude(_)) => {
                Err(overlap(&entry.id, "both are any-source"))
            }
            (Sources::Exclude { entry, .. }, SourceFilter::Include(_)) => {
                Err(overlap(&entry.id, "source-specific beside any-source on one group and port"))
            }
        }
    }

    /// Checks that the subscription would still fit beside the others as `to`, which has the same group, port and mode.
    pub fn check_replacement(&self, id: SubscriptionId, to: &Subscription) -> Result<(), Error> {
        let Some(Group { sources: Sources::Include(entries), .. }) = self.groups.get(&(to.group(), to.port())) else {
            return Ok(());
        };
        let other = to.filter().sources().iter().filter_map(|source| entries.get(source)).find(|other| other.id != id);
        match other.and_then(|other| self.subscriptions.get(&other.id)) {
            Some(existing) => {
                let reason = "a source is in both";
                Err(Error::Overlap { asked: Box::new(to.clone()), existing: Box::new(existing.clone()), reason })
            }
            None => Ok(()),
        }
    }

    /// Adds a subscription that passed [`FilterTable::check`]. Returns its entry, the group's slot, and true if the
    /// group is new.
    pub fn insert(&mut self, subscription: &Subscription, paths: usize) -> (Arc<SubscriptionEntry>, u32, bool) {
        let id = SubscriptionId(self.next_id);
        self.next_id += 1;
        let counters = (0..paths).map(|_| EntryCounters::default()).collect();
        let entry = Arc::new(SubscriptionEntry { id, ipv6: subscription.group().is_ipv6(), counters });
        let key = (subscription.group(), subscription.port());
        let new = !self.groups.contains_key(&key);
        if new {
            let slot = self.free_slots.pop_front().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            let sources = match subscription.filter() {
                SourceFilter::Include(_) => Sources::Include(HashMap::new()),
                SourceFilter::Exclude(_) => Sources::Exclude { entry: Arc::clone(&entry), blocked: Vec::new() },
            };
            self.groups.insert(key, Group { slot, sources });
        }
        let slot = self.groups.get(&key).map_or(0, |group| group.slot);
        self.set(id, subscription.clone(), &entry);
        (entry, slot, new)
    }

    /// Adds subscriptions in their order, all of them or none.
    ///
    /// # Errors
    /// [`Error::Overlap`] for the first that does not fit.
    pub fn insert_all(&mut self, all: &[Subscription], paths: usize) -> Result<Vec<Inserted>, Error> {
        let mut inserted: Vec<Inserted> = Vec::with_capacity(all.len());
        for subscription in all {
            if let Err(error) = self.check(subscription) {
                for Inserted { entry, .. } in inserted {
                    self.remove(entry.id);
                }
                return Err(error);
            }
            let (entry, slot, new) = self.insert(subscription, paths);
            inserted.push(Inserted { entry, slot, new });
        }
        Ok(inserted)
    }

    /// Replaces the sources of a subscription by those of `to`, which has the same group, port and mode.
    pub fn replace(&mut self, entry: &Arc<SubscriptionEntry>, to: Subscription) {
        self.set(entry.id, to, entry);
    }

    fn set(&mut self, id: SubscriptionId, to: Subscription, entry: &Arc<SubscriptionEntry>) {
        if let Some(group) = self.groups.get_mut(&(to.group(), to.port())) {
            match &mut group.sources {
                Sources::Include(entries) => {
                    // Only its own sources are visited: a group can have thousands of subscriptions.
                    for source in self.subscriptions.get(&id).iter().flat_map(|before| before.filter().sources()) {
                        entries.remove(source);
                    }
                    entries.extend(to.filter().sources().iter().map(|&source| (source, Arc::clone(entry))));
                }
                Sources::Exclude { blocked, .. } => *blocked = to.filter().sources().iter().copied().collect(),
            }
        }
        self.subscriptions.insert(id, to);
    }

    /// Removes a subscription. Returns the subscription, the group's slot, and true if it was the group's last.
    pub fn remove(&mut self, id: SubscriptionId) -> Option<(Subscription, u32, bool)> {
        let subscription = self.subscriptions.remove(&id)?;
        let key = (subscription.group(), subscription.port());
        let group = self.groups.get_mut(&key)?;
        let slot = group.slot;
        let last = match &mut group.sources {
            Sources::Include(entries) => {
                for source in subscription.filter().sources() {
                    entries.remove(source);
                }
                entries.is_empty()
            }
            Sources::Exclude { .. } => true,
        };
        if last {
            self.groups.remove(&key);
            self.free_slots.push_back(slot);
        }
        Some((subscription, slot, last))
    }

    /// The subscription as it is now.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(&id)
    }

    /// The slot of a group.
    pub fn slot(&self, group: IpAddr, port: u16) -> Option<u32> {
        self.groups.get(&(group, port)).map(|group| group.slot)
    }

    /// The largest number of slots that were ever in use at one time. All slots are below it.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// All (group, port).
    pub fn groups(&self) -> Vec<(IpAddr, u16)> {
        self.groups.keys().copied().collect()
    }

    /// All sources of a (group, port), over its subscriptions.
    pub fn group_filter(&self, group: IpAddr, port: u16) -> Option<SourceFilter> {
        Some(match &self.groups.get(&(group, port))?.sources {
            Sources::Include(entries) => SourceFilter::Include(entries.keys().copied().collect()),
            Sources::Exclude { blocked, .. } => SourceFilter::Exclude(blocked.iter().copied().collect()),
        })
    }

    /// The subscription that wants a datagram, if one does.
    pub fn resolve(&self, source: IpAddr, group: IpAddr, port: u16) -> Option<&Arc<SubscriptionEntry>> {
        match &self.groups.get(&(group, port))?.sources {
            Sources::Include(entries) => entries.get(&source),
            Sources::Exclude { entry, blocked } => (!blocked.contains(&source)).then_some(entry),
        }
    }
}

/// The table as it is shared: the control side changes it, the workers read it.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    table: RwLock<FilterTable>,
    epoch: AtomicU64,
}

impl Filter {
    /// Reads the table.
    pub fn read<R>(&self, f: impl FnOnce(&FilterTable) -> R) -> R {
        f(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the table. Once this returned, a worker that begins with a datagram judges it by the new table.
    pub fn change<R>(&self, f: impl FnOnce(&mut FilterTable) -> R) -> R {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut table);
        // Within the lock: a worker that sees the new epoch and then reads the table reads the new table.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// A number that grows with each change.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// The wanted flows of which one worker has received since the filter last changed.
#[derive(Debug, Default)]
pub(crate) struct FlowCache {
    epoch: u64,
    last: Option<(FlowKey, Arc<SubscriptionEntry>)>,
    flows: FxHashMap<FlowKey, Arc<SubscriptionEntry>>,
}

/// A cache of this many flows is emptied: an any-source group can have any number of sources.
const CACHED_FLOWS: usize = 1 << 16;

impl FlowCache {
    /// The subscription that wants this flow now, or `None`.
    #[inline]
    pub fn resolve(&mut self, filter: &Filter, key: FlowKey) -> Option<&Arc<SubscriptionEntry>> {
        let epoch = filter.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.last = None;
            self.flows.clear();
        }
        let repeated = matches!(&self.last, Some((last, _)) if *last == key);
        if !repeated {
            self.last = Some((key, self.find(filter, key)?));
        }
        self.last.as_ref().map(|(_, entry)| entry)
    }

    fn find(&mut self, filter: &Filter, key: FlowKey) -> Option<Arc<SubscriptionEntry>> {
        if let Some(entry) = self.flows.get(&key) {
            return Some(Arc::clone(entry));
        }
        let (source, group, port) = key.addresses();
        let entry = filter.read(|table| table.resolve(source, group, port).cloned())?;
        if self.flows.len() >= CACHED_FLOWS {
            self.flows.clear();
        }
        self.flows.insert(key, Arc::clone(&entry));
        Some(entry)
    }
}

impl FlowKey {
    /// From addresses of one family, and a port in host order.
    pub fn new(source: IpAddr, group: IpAddr, port: u16) -> Self {
        let port = Port::from_host(port);
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                Self::V4(FlowKeyV4 { source: wire_v4(source), group: wire_v4(group), port })
            }
            (source, group) => Self::V6(FlowKeyV6 { source: wire_v6(ipv6(source)), group: wire_v6(ipv6(group)), port }),
        }
    }

    /// Source, group and port.
    pub fn addresses(self) -> (IpAddr, IpAddr, u16) {
        match self {
            Self::V4(key) => (address_v4(key.source), address_v4(key.group), key.port.to_host()),
            Self::V6(key) => (address_v6(key.source), address_v6(key.group), key.port.to_host()),
        }
    }
}

fn wire_v4(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The address in a key of IPv6. Subscriptions are of one family: a mixed key matches no frame.
pub(crate) fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

pub(crate) fn wire_v6(address: Ipv6Addr) -> AnyAddress {
    let bits = address.to_bits();
    [((bits >> 64) as u64).to_be(), (bits as u64).to_be()]
}

/// An address from its wire-order word.
fn address_v4(word: u32) -> IpAddr {
    IpAddr::from(word.to_ne_bytes())
}

/// An address from its wire-order words.
pub(crate) fn address_v6([first, last]: AnyAddress) -> IpAddr {
    IpAddr::from(Ipv6Addr::from_bits(u128::from(u64::from_be(first)) << 64 | u128::from(u64::from_be(last))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    fn subscription(text: &str) -> Subscription {
        text.parse().expect(text)
    }

    fn key(source: [u8; 4], group: [u8; 4], port: u16) -> FlowKey {
        FlowKey::V4(FlowKeyV4 {
            source: u32::from_ne_bytes(source),
            group: u32::from_ne_bytes(group),
            port: Port::from_host(port),
        })
    }

    #[test]
    fn two_subscriptions_share_a_group_if_their_sources_differ() {
        let mut table = FilterTable::default();
        let (a, slot, new) = table.insert(&subscription("10.0.0.1@232.1.1.1:5000"), 1);
        assert!(new);
        let second = subscription("10.0.0.2@232.1.1.1:5000");
        table.check(&second).expect("fits");
        let (b, slot_b, new) = table.insert(&second, 1);
        assert!(!new && slot == slot_b);
        let group = second.group();
        assert_eq!(table.resolve([10, 0, 0, 1].into(), group, 5000).map(|m| m.id), Some(a.id));
        assert_eq!(table.resolve([10, 0, 0, 2].into(), group, 5000).map(|m| m.id), Some(b.id));
        assert!(table.resolve([10, 0, 0, 3].into(), group, 5000).is_none());
        assert!(table.resolve([10, 0, 0, 1].into(), group, 5001).is_none());
        for twice in ["10.0.0.2@232.1.1.1:5000", "10.0.0.9,10.0.0.1@232.1.1.1:5000", "!10.0.0.9@232.1.1.1:5000"] {
            assert!(matches!(table.check(&subscription(twice)), Err(Error::Overlap { .. })), "{twice}");
        }
        assert!(matches!(table.remove(a.id), Some((_, _, false))));
        assert!(matches!(table.remove(b.id), Some((_, s, true)) if s == slot));
        assert!(table.remove(b.id).is_none());
        assert!(table.check(&subscription("!10.0.0.9@232.1.1.1:5000")).is_ok());
    }

    #[test]
    fn several_are_added_in_order_or_not_at_all() {
        let mut table = FilterTable::default();
        let of = |texts: &[&str]| texts.iter().map(|text| subscription(text)).collect::<Vec<_>>();
        let good = of(&["10.0.0.1@232.1.1.1:5000", "10.0.0.2@232.1.1.1:5000", "10.0.0.1@232.1.1.2:5000"]);
        let inserted = table.insert_all(&good, 1).expect("they fit");
        assert_eq!(inserted.iter().map(|one| one.new).collect::<Vec<_>>(), [true, false, true]);
        let bad = of(&["10.0.0.3@232.1.1.1:5000", "239.1.1.1:5000", "10.0.0.3,10.0.0.4@232.1.1.1:5000"]);
        assert!(matches!(table.insert_all(&bad, 1), Err(Error::Overlap { .. })), "the last overlaps the first");
        assert_eq!((table.subscriptions.len(), table.groups.len()), (3, 2));
        assert!(table.resolve([10, 0, 0, 3].into(), [232, 1, 1, 1].into(), 5000).is_none());
        assert!(table.resolve([10, 0, 0, 2].into(), [232, 1, 1, 1].into(), 5000).is_some());
    }

    proptest! {
        /// After any sequence of changes a source belongs to the subscription that names it.
        #[test]
        fn each_source_belongs_to_who_names_it(
            steps in prop::collection::vec(
                (0_usize..8, prop::collection::btree_set(1_u8..12, 1..4), any::<bool>()),
                1..40,
            )
        ) {
            let group = IpAddr::from([232, 1, 1, 1]);
            let of = |sources: &BTreeSet<u8>| {
                let sources = sources.iter().map(|&last| IpAddr::from([10, 0, 0, last])).collect();
                Subscription::new(group, 5000, SourceFilter::Include(sources)).expect("valid")
            };
            let mut table = FilterTable::default();
            let mut model: Vec<(Arc<SubscriptionEntry>, Subscription)> = Vec::new();
            for (at, sources, leave) in steps {
                let wanted = of(&sources);
                if at >= model.len() {
                    if table.check(&wanted).is_ok() {
                        let (entry, ..) = table.insert(&wanted, 0);
                        model.push((entry, wanted));
                    }
                } else if leave {
                    let (entry, _) = model.remove(at);
                    let removed = table.remove(entry.id).map(|(_, _, last)| last);
                    prop_assert_eq!(removed, Some(model.is_empty()));
                } else if table.check_replacement(model[at].0.id, &wanted).is_ok() {
                    table.replace(&model[at].0, wanted.clone());
                    model[at].1 = wanted;
                }
                for last in 1..12 {
                    let source = IpAddr::from([10, 0, 0, last]);
                    let accepts = |wants: &Subscription| {
                        wants.filter().is_exclude() != wants.filter().sources().contains(&source)
                    };
                    let expected = model.iter().find(|(_, wants)| accepts(wants)).map(|(m, _)| m.id);
                    prop_assert_eq!(table.resolve(source, group, 5000).map(|entry| entry.id), expected);
                }
            }
        }
    }

    #[test]
    fn any_source_stands_alone() {
        let mut table = FilterTable::default();
        let (entry, ..) = table.insert(&subscription("!10.0.0.9@239.1.1.1:5001"), 1);
        let group = IpAddr::from([239, 1, 1, 1]);
        assert!(table.resolve([10, 0, 0, 9].into(), group, 5001).is_none());
        assert!(table.resolve([10, 0, 0, 8].into(), group, 5001).is_some());
        assert!(table.check(&subscription("239.1.1.1:5001")).is_err());
        assert!(table.check(&subscription("10.0.0.1@239.1.1.1:5001")).is_err());
        table.replace(&entry, subscription("!10.0.0.8@239.1.1.1:5001"));
        assert!(table.resolve([10, 0, 0, 9].into(), group, 5001).is_some());
        assert!(table.resolve([10, 0, 0, 8].into(), group, 5001).is_none());
    }

    #[test]
    fn a_cached_flow_is_forgotten_with_the_filter_it_came_from() {
        let filter = Filter::default();
        let wanted = subscription("10.0.0.1@232.1.1.1:5000");
        let (entry, ..) = filter.change(|table| table.insert(&wanted, 1));
        let mut cache = FlowCache::default();
        let flow = key([10, 0, 0, 1], [232, 1, 1, 1], 5000);
        assert_eq!(cache.resolve(&filter, flow).map(|m| m.id), Some(entry.id));
        assert_eq!(cache.resolve(&filter, flow).map(|m| m.id), Some(entry.id), "from the cache");
        assert!(cache.resolve(&filter, key([10, 0, 0, 2], [232, 1, 1, 1], 5000)).is_none());
        filter.change(|table| table.remove(entry.id));
        assert!(cache.resolve(&filter, flow).is_none());
    }
}
