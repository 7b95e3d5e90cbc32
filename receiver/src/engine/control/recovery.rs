//! Restores what a receiver lost with its link: the XDP program, the AF_XDP sockets, the memberships.
//!
//! Each of them is checked, since the interface's index proves nothing: a device that left the network namespace and
//! came back, or that was made again, can have its old index.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use receiver_common::Verdict;

use super::{Control, Inner, membership_interface};
use crate::api::error::Error;
use crate::engine::link::{FamilyOver, Over};
use crate::engine::lock::lock;
use crate::engine::mode_selection::{
    ModeSelection, attach_for, publish, ring_mtu, single_buffer_mtu, take_several_buffers,
};
use crate::engine::shared::QueueShared;
use crate::program::{Attach, Buffers};
use receiver_host::{Families, Interface, LinkState};
use receiver_membership::tables::KernelTables;
use receiver_membership::{InterfaceRef, MembershipSet};

/// What is no longer on the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The XDP program.
    pub program: bool,
    /// The AF_XDP socket of a queue that is served and that the interface has.
    pub sockets: bool,
    /// Memberships that can be joined again.
    pub memberships: bool,
}

/// What a changed MTU means for longer packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mtu {
    /// They fit the buffers in use.
    Fits,
    /// They take several buffers from now on.
    Followed,
    /// They do not fit the frames of the mapped rings, which hold those of an MTU of up to this: they take the kernel
    /// path.
    KernelPath(u32),
    /// They do not fit one buffer, and the sockets or the driver do not support more: they are dropped.
    TooLong,
}

/// What is known to be lost and not yet restored.
#[derive(Default)]
pub(super) struct Lost {
    /// Groups that the kernel has dropped.
    groups: BTreeSet<IpAddr>,
    /// True for IPv4, and for IPv6, if groups may not be joined on this interface yet.
    unjoined: [bool; 2],
    /// The last time that all AF_XDP sockets were replaced.
    rebind: Option<Rebind>,
}

impl Lost {
    /// Returns true if the kernel has dropped this group.
    pub fn has(&self, group: IpAddr) -> bool {
        self.groups.contains(&group)
    }
}

/// A replacement of all AF_XDP sockets.
struct Rebind {
    /// Frames that the program had redirected before it.
    redirected: u64,
    /// For each queue, [`QueueShared::changes`] once the worker has changed to its new socket; `None` where it keeps
    /// its socket.
    changes: Vec<Option<u64>>,
    /// Frames that were lost in replacements before this one.
    unbound_before: u64,
}

impl Control {
    /// Returns what is missing on the interface in this state.
    pub fn missing(&self, state: &LinkState) -> Result<Missing, Error> {
        let joined = self.joined_on(&state.interface)?;
        let families = self.families(&joined, state)?;
        let mut inner = self.lock()?;
        let program = match &mut inner.program {
            Some(program) => !state.xdp_programs.contains(&program.id()?),
            None => false,
        };
        let sockets = self.unbound(&state.interface).next().is_some();
        let lost = &inner.lost;
        let memberships = joined.index != inner.membership.interface().index
            || lost.groups.iter().any(|group| families.has(group.is_ipv6()))
            || [false, true].into_iter().any(|ipv6| lost.unjoined[usize::from(ipv6)] && families.has(ipv6));
        Ok(Missing { program, sockets, memberships })
    }

    /// Releases a device that has gone: detaches the program from it, wherever it is now, and ends the memberships of
    /// the sockets on it. Later, that would end memberships on a new device with the same index.
    pub fn release_device(&self) -> Result<(), Error> {
        let mut inner = self.lock()?;
        if let Some(program) = &mut inner.program {
            for cell in &self.shared.queues {
                program.unset_socket(cell.queue)?;
            }
            // If the device was deleted, the kernel has detached it.
            let _ = program.detach();
        }
        drop(inner);
        self.lose_family(false)?;
        self.lose_family(true)
    }

    /// Records that the interface has lost its memberships of one IP version: they are to be joined again.
    pub fn lose_family(&self, ipv6: bool) -> Result<(), Error> {
        let mut inner = self.lock()?;
        let groups = inner.membership.groups(ipv6);
        inner.lose(groups);
        Ok(())
    }

    /// The groups of which the kernel's tables hold less than was joined, without those that are known to be lost.
    /// `None` if the tables cannot be read, or if this receiver changed a subscription while they were read: they then
    /// hold neither what was joined before nor what is joined now.
    pub fn groups_missing_in_tables(&self) -> Option<BTreeSet<IpAddr>> {
        // Under the lock no change is under way, and each change moves the epoch.
        let epoch = self.lock().map(|_inner| self.shared.filter.epoch()).ok()?;
        let tables = KernelTables::read().ok()?;
        let (mut missing, unshown, interface) = {
            let inner = self.lock().ok()?;
            let missing = inner.membership.missing_from(&tables).difference(&inner.lost.groups).copied().collect();
            (missing, inner.membership.unshown_by(&tables), inner.membership.interface().index)
        };
        self.keep_lost(&mut missing, &unshown, interface);
        // Asking the kernel takes a while, too.
        let inner = self.lock().ok()?;
        (self.shared.filter.epoch() == epoch && inner.membership.interface().index == interface).then_some(missing)
    }

    /// Removes the groups whose sources the tables do not show, and all of which the kernel still accepts. To leave and
    /// join such a group would interrupt its stream.
    fn keep_lost(&self, missing: &mut BTreeSet<IpAddr>, unshown: &BTreeMap<IpAddr, BTreeSet<IpAddr>>, interface: u32) {
        let Some(host) = &self.host else { return };
        let is_accepted = |group: Ipv4Addr, source: &IpAddr| match source {
            IpAddr::V4(source) => host.refuses(*source, group, interface).is_ok_and(|refuses| !refuses),
            IpAddr::V6(_) => false,
        };
        missing.retain(|group| match (group, unshown.get(group)) {
            (IpAddr::V4(v4), Some(sources)) => !sources.iter().all(|source| is_accepted(*v4, source)),
            _ => true,
        });
    }

    /// Records that the kernel has lost these groups: they are to be joined again.
    pub fn lose_groups(&self, groups: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.lock()?.lose(groups);
        Ok(())
    }

    /// Restores what is missing on the interface; the program and its sockets only if `program` is true. What is there
    /// is not changed.
    ///
    /// # Errors
    /// The first part that could not be restored; the other parts were.
    pub fn restore(&self, state: &LinkState, program: bool) -> Result<(), Error> {
        let joined = self.joined_on(&state.interface)?;
        let families = self.families(&joined, state)?;
        let mut inner = self.lock()?;
        let program = if program { self.restore_program(&mut inner, state) } else { Ok(()) };
        let memberships = self.restore_memberships(&mut inner, joined, families);
        *lock(&self.interface) = state.interface.clone();
        let shared = self.share(&mut inner).map(drop);
        program.and(memberships).and(shared)
    }

    fn restore_program(&self, inner: &mut Inner, state: &LinkState) -> Result<(), Error> {
        let (Some(program), Some(attach)) = (&mut inner.program, attach_for(self.mode)) else { return Ok(()) };
        let unbound: Vec<&QueueShared> = self.unbound(&state.interface).collect();
        for cell in self.shared.queues.iter().filter(|cell| !cell.is_bound()) {
            program.unset_socket(cell.queue)?;
        }
        if !state.xdp_programs.contains(&program.id()?) {
            // The link is gone with the old interface, or an earlier attempt detached it.
            let _ = program.detach();
            // Sockets that stay accept packets of the size that they were bound for.
            let stay = unbound.is_empty() && !inner.several_buffers;
            let mtu = if stay { inner.bound_mtu } else { state.interface.mtu };
            let mut interface = state.interface.clone();
            interface.mtu = mtu;
            ModeSelection { interface: &interface, config: &self.config }.attach_entry(program, attach)?;
            inner.bound_mtu = mtu;
        }
        if unbound.is_empty() {
            return Ok(());
        }
        let selection = ModeSelection { interface: &state.interface, config: &self.config };
        let queues: Vec<u32> = unbound.iter().map(|cell| cell.queue).collect();
        let sockets = selection.bind(self.mode, &queues)?;
        // Read before the first of them receives: frames that were redirected until now were for sockets that are gone.
        let redirected = program.verdicts()?[Verdict::Redirected as usize];
        publish(program, &sockets)?;
        inner.bound_mtu = state.interface.mtu;
        inner.several_buffers = take_several_buffers(&sockets);
        let unbound_before = self.unbound_frames(inner)?;
        let stays = self.shared.queues.iter().any(|cell| cell.is_bound());
        let mut changes = vec![None; self.shared.queues.len()];
        for (queue, socket) in sockets {
            let monitor = socket.monitor()?;
            if let Some(index) = self.shared.queues.iter().position(|cell| cell.queue == queue) {
                changes[index] = Some(self.shared.queues[index].replace(socket, monitor));
            }
        }
        if !stays {
            inner.lost.rebind = Some(Rebind { redirected, changes, unbound_before });
        }
        Ok(())
    }

    fn restore_memberships(&self, inner: &mut Inner, joined: InterfaceRef, families: Families) -> Result<(), Error> {
        if joined.index != inner.membership.interface().index {
            let new = MembershipSet::new(joined, self.config.membership());
            let mut old = std::mem::replace(&mut inner.membership, new);
            old.leave_all();
            let gone = old.take_events();
            inner.record_socket_events(&gone);
            self.shared.kernel.report(gone);
            inner.lost.groups.clear();
            inner.lost.unjoined = [true; 2];
        }
        let mut result = Ok(());
        let (can, cannot) = std::mem::take(&mut inner.lost.groups).into_iter().partition(|g| families.has(g.is_ipv6()));
        inner.lost.groups = cannot;
        if let Err((groups, error)) = inner.membership.renew(&can) {
            inner.lost.groups.extend(groups);
            result = Err(error.into());
        }
        for ipv6 in [false, true].into_iter().filter(|ipv6| families.has(*ipv6)) {
            if std::mem::take(&mut inner.lost.unjoined[usize::from(ipv6)])
                && let Err(error) = self.join_missing(inner, ipv6)
            {
                inner.lost.unjoined[usize::from(ipv6)] = true;
                result = Err(error);
            }
        }
        inner.spread_socket_events(&self.shared);
        result
    }

    /// Joins the groups of one family that are not joined yet.
    fn join_missing(&self, inner: &mut Inner, ipv6: bool) -> Result<(), Error> {
        let mut result = Ok(());
        for (group, port) in self.shared.filter.read(crate::engine::filter::FilterTable::groups) {
            if group.is_ipv6() == ipv6
                && !inner.membership.state(group, port).is_member()
                && let Some(filter) = self.group_filter(group, port)
            {
                result = result.and(inner.membership.join(group, port, &filter).map_err(Error::from));
            }
        }
        result
    }

    /// Records the interface's new name.
    pub fn rename(&self, name: &str) {
        let mut inner = lock(&self.inner);
        let mut interface = lock(&self.interface);
        if inner.membership.interface().index == interface.index {
            inner.membership.rename(name);
        }
        if let Some(program) = &mut inner.program {
            program.rename(name);
        }
        name.clone_into(&mut interface.name);
    }

    /// Adapts to the interface's new MTU. If packets may now need several buffers, and did not before, the program for
    /// such packets replaces the other one in the driver. In the network stack either program accepts them.
    ///
    /// # Errors
    /// The program could not be attached: it is missing then.
    pub fn follow_mtu(&self, state: &LinkState) -> Result<Mtu, Error> {
        let mut inner = self.lock()?;
        let followed = self.fit_mtu(&mut inner, state)?;
        lock(&self.interface).mtu = state.interface.mtu;
        let fits = inner.program.as_ref().and_then(|program| program.ring_frame_size()).map(ring_mtu);
        Ok(match (followed, fits) {
            (Mtu::Fits | Mtu::Followed, Some(fits)) if state.interface.mtu > fits => Mtu::KernelPath(fits),
            _ => followed,
        })
    }

    fn fit_mtu(&self, inner: &mut Inner, state: &LinkState) -> Result<Mtu, Error> {
        let selection = |interface| ModeSelection { interface, config: &self.config };
        let mut before = state.interface.clone();
        before.mtu = inner.bound_mtu;
        let (Some(program), Some(attach)) = (&mut inner.program, attach_for(self.mode)) else { return Ok(Mtu::Fits) };
        if !selection(&state.interface).is_multi_buffer() || selection(&before).is_multi_buffer() {
            return Ok(Mtu::Fits);
        }
        if !inner.several_buffers {
            return Ok(Mtu::TooLong);
        }
        if attach == Attach::Native && program.buffers() == Buffers::One {
            // Until it is attached again, frames take the kernel path.
            program.detach()?;
            // The state after the detachment.
            let mut interface = state.interface.clone();
            interface.xdp_program = None;
            selection(&interface).attach_entry(program, attach)?;
            if program.buffers() == Buffers::One {
                return Ok(Mtu::TooLong);
            }
        }
        inner.bound_mtu = state.interface.mtu;
        Ok(Mtu::Followed)
    }

    /// The largest MTU whose packets are sure to fit one buffer.
    pub fn single_buffer_mtu(&self) -> u32 {
        single_buffer_mtu(self.config.frame_size)
    }

    /// Returns true if there is a subscription of the family.
    pub fn has_family(&self, ipv6: bool) -> bool {
        self.shared
            .filter
            .read(crate::engine::filter::FilterTable::groups)
            .iter()
            .any(|(group, _)| group.is_ipv6() == ipv6)
    }

    /// The interface on which the groups are to be joined, and its IP versions.
    pub fn joined_families(&self, state: &LinkState) -> Result<(InterfaceRef, Families), Error> {
        let joined = self.joined_on(&state.interface)?;
        let families = self.families(&joined, state)?;
        Ok((joined, families))
    }

    /// Records outages of the link.
    pub fn record_outages(&self, over: Over) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let link = &mut lock(&self.inner).link;
        link.outages += over.count;
        link.outage_milliseconds += milliseconds(over.away);
        link.recovery_milliseconds += milliseconds(over.recovery);
        link.missed_estimate += over.missed;
    }

    /// Records an outage of one IP version.
    pub fn record_family_outage(&self, over: FamilyOver) {
        let link = &mut lock(&self.inner).link;
        let (outages, milliseconds) = match over.ipv6 {
            false => (&mut link.ipv4_outages, &mut link.ipv4_outage_milliseconds),
            true => (&mut link.ipv6_outages, &mut link.ipv6_outage_milliseconds),
        };
        *outages += 1;
        // An outage that is shorter than the unit still counts.
        *milliseconds += u64::try_from(over.away.as_millis()).unwrap_or(u64::MAX).max(1);
        link.missed_estimate += over.missed;
    }

    /// The interface on which the groups are to be joined: the VLAN's own, if there is one.
    fn joined_on(&self, interface: &Interface) -> Result<InterfaceRef, Error> {
        let own = || InterfaceRef::new(interface.index, &interface.name);
        Ok(membership_interface(interface, self.config.vlan)?.unwrap_or_else(own))
    }

    fn families(&self, joined: &InterfaceRef, state: &LinkState) -> Result<Families, Error> {
        if joined.index == state.interface.index {
            return Ok(state.families);
        }
        Ok(LinkState::read(joined.index)?.map(|state| state.families).unwrap_or_default())
    }

    /// The queues that a worker serves and that the interface has, but whose socket is gone.
    fn unbound(&self, interface: &Interface) -> impl Iterator<Item = &QueueShared> {
        let queues = interface.queues;
        self.shared.queues.iter().filter(move |cell| cell.is_served() && cell.queue < queues && !cell.is_bound())
    }

    /// Frames that were redirected to sockets whose device had gone. The kernel drops them without counting them.
    pub(super) fn unbound_frames(&self, inner: &Inner) -> Result<u64, Error> {
        let Some(rebind) = &inner.lost.rebind else { return Ok(0) };
        let mut arrived = 0;
        for (cell, changes) in self.shared.queues.iter().zip(&rebind.changes) {
            let _unchanging = lock(&cell.replacement);
            arrived += match changes {
                Some(changes) if cell.changes.get() < *changes => {
                    // The worker has not yet read the old socket to the end.
                    return Ok(rebind.unbound_before);
                }
                Some(_) => cell.arrived_before.get(),
                None => cell.ledger()?.arrived(cell.path.counters.taken.get()),
            };
        }
        Ok(rebind.redirected.saturating_sub(arrived).max(rebind.unbound_before))
    }
}

impl Inner {
    /// Ends the memberships of these groups, once: on a new device with the old index, they could be another program's.
    fn lose(&mut self, groups: BTreeSet<IpAddr>) {
        self.membership.abandon(&groups.difference(&self.lost.groups).copied().collect());
        self.lost.groups.extend(groups);
    }
}
