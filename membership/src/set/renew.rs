//! Memberships that the kernel has lost although their sockets are open: how they are found in its tables, and joined
//! again.
//!
//! The kernel ends all memberships of a device that is deleted or leaves the network namespace, and those of one family
//! if the device loses it (IPv6 below an MTU of 1,280). The sockets are not notified, and their filters still read as
//! joined. When the device or the family comes back, even under the same index, nothing is joined on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{MembershipSet, SourceFilter};
use crate::error::{MembershipError, Operation};
use crate::tables::{KernelGroup, KernelTables};

impl MembershipSet {
    /// The groups of which the kernel's tables hold less than this set has joined. Another program that joined the same
    /// group can hide a loss.
    pub fn missing_from(&self, tables: &KernelTables) -> BTreeSet<IpAddr> {
        let held: BTreeMap<IpAddr, &KernelGroup> =
            tables.on(self.interface.index).map(|group| (group.group, group)).collect();
        let states = || self.sockets.values().flat_map(|slot| slot.memberships.states());
        let named: BTreeSet<IpAddr> =
            states().filter(|(_, state)| !state.filter().sources().is_empty()).map(|(group, _)| group).collect();
        let is_hidden =
            [false, true].map(|ipv6| tables.hides_sources(self.interface.index, ipv6, |group| named.contains(&group)));
        let mut sockets = BTreeMap::<IpAddr, u64>::new();
        let mut missing = BTreeSet::new();
        for (group, state) in states() {
            let count = sockets.entry(group).or_default();
            *count += 1;
            let complete = held.get(&group).is_some_and(|held| {
                held.users >= *count
                    && match state.filter() {
                        SourceFilter::Include(sources) => {
                            is_hidden[usize::from(group.is_ipv6())]
                                || sources.iter().all(|source| held.includes(*source))
                        }
                        SourceFilter::Exclude(_) => true,
                    }
            });
            if !complete {
                missing.insert(group);
            }
        }
        missing
    }

    /// The groups of [`MembershipSet::missing_from`] of which only the sources are missing, with all their sources,
    /// while the tables show no source of this interface at all. The kernel has lost the sources, or hides them: when a
    /// link comes up, the kernel joins 224.0.0.1 again, and then shows no sources of the interface
    /// (`igmp_mcf_get_first`). The kernel's route look-up for received packets distinguishes the two for IPv4, so that
    /// the groups are of IPv4 alone.
    pub fn unshown_by(&self, tables: &KernelTables) -> BTreeMap<IpAddr, BTreeSet<IpAddr>> {
        if tables.shows_sources(self.interface.index, false) {
            return BTreeMap::new();
        }
        let members = self.members();
        let is_held = |group: &KernelGroup| members.get(&group.group).is_some_and(|count| group.users >= *count);
        let held: BTreeSet<IpAddr> =
            tables.on(self.interface.index).filter(|group| is_held(group)).map(|group| group.group).collect();
        let mut unshown = BTreeMap::<IpAddr, BTreeSet<IpAddr>>::new();
        for (group, state) in self.sockets.values().flat_map(|slot| slot.memberships.states()) {
            if let SourceFilter::Include(sources) = state.filter()
                && group.is_ipv4()
                && held.contains(&group)
            {
                unshown.entry(group).or_default().extend(sources);
            }
        }
        unshown
    }

    /// The number of this set's sockets that are members of each group.
    pub fn members(&self) -> HashMap<IpAddr, u64> {
        let mut members = HashMap::new();
        for (group, _) in self.sockets.values().flat_map(|slot| slot.memberships.states()) {
            *members.entry(group).or_default() += 1;
        }
        members
    }

    /// Ends what the sockets still hold of these groups, which the kernel has lost: it would refuse another join. The
    /// states of this set stay, and [`MembershipSet::renew`] joins the groups again.
    pub fn abandon(&mut self, groups: &BTreeSet<IpAddr>) {
        // The latest first, as in `leave_all`.
        for slot in self.sockets.values_mut().rev() {
            let here: Vec<_> =
                slot.memberships.states().map(|(group, _)| group).filter(|group| groups.contains(group)).collect();
            for group in here {
                slot.memberships.abandon(group);
            }
        }
    }

    /// Joins these groups again on the sockets that have them. To be called while the interface is up: Linux loses the
    /// sources of a group that is left and joined while the interface is down, once it comes up (`igmpv3_del_delrec`).
    ///
    /// # Errors
    /// The groups that the kernel refused, to be tried again, and its first answer. The others are joined.
    pub fn renew(&mut self, groups: &BTreeSet<IpAddr>) -> Result<(), (BTreeSet<IpAddr>, MembershipError)> {
        let mut failed: Option<(BTreeSet<IpAddr>, MembershipError)> = None;
        let ids: Vec<_> = self.sockets.keys().copied().collect();
        for id in ids {
            let Some(slot) = self.sockets.get(&id) else { continue };
            let port = slot.memberships.socket().port();
            let here: Vec<IpAddr> =
                slot.memberships.states().map(|(group, _)| group).filter(|group| groups.contains(group)).collect();
            for group in here {
                let Some(Err(error)) = self.sockets.get_mut(&id).map(|slot| slot.memberships.renew(group)) else {
                    continue;
                };
                let reason = self.reason(error, group);
                let error = self.error(Operation::Join, group, port, None, reason);
                failed.get_or_insert_with(|| (BTreeSet::new(), error)).0.insert(group);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The groups of one family that are joined.
    pub fn groups(&self, ipv6: bool) -> BTreeSet<IpAddr> {
        self.memberships.keys().map(|(group, _)| *group).filter(|group| group.is_ipv6() == ipv6).collect()
    }

    /// Changes the interface's name in error messages: the interface was renamed.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.interface.name);
    }
}
