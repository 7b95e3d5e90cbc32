//! The control side: join, leave, block and unblock while packets flow, and the counters.
//!
//! Three places hold a filter: user space ([`crate::engine::filter`]), the XDP maps, and the kernel's memberships. The
//! order of each change loses nothing that is wanted. A source is allowed in user space first, then in the maps, and
//! the memberships change last. A source is blocked in user space first, so that the block holds when the call returns.
//! If a step fails, the steps before it are undone.

mod evidence;
mod join;
mod leave;
pub(crate) mod others;
pub(crate) mod recovery;
mod report;
mod totals;

pub(crate) use evidence::named_sources;
pub(crate) use report::TablesCheck;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use receiver_common::{FlowAction, GroupAction, Verdict};

use crate::api::config::ReceiverConfig;
use crate::api::error::Error;
use crate::api::mode::{ReceiveMode, Refused};
use crate::api::report::SubscriptionReport;
use crate::api::vlan::Vlan;
use crate::engine::filter::{FilterTable, SubscriptionEntry, SubscriptionId};
use crate::engine::link::{LinkHistory, LinkLedger};
use crate::engine::lock::lock;
use crate::engine::shared::{QueueShared, Shared};
use crate::program::{Program, SlotCounters, UnwantedCounts};
use crate::stats::host_counters::HostCounters;
use crate::stats::ledger::Ledger;
use crate::stats::queue_counters::QueueCounters;
use receiver_host::Interface;
use receiver_membership::udp::{SocketId, UdpDataSocket};
use receiver_membership::{InterfaceRef, MembershipSet, SocketEvent, SourceFilter, Subscription};

/// The number of subscriptions that are read from the filter under one lock.
const READ_AT_ONCE: usize = 64;

/// Steers one receiver.
pub(crate) struct Control {
    shared: Arc<Shared>,
    interface: Mutex<Interface>,
    mode: ReceiveMode,
    refused: Vec<Refused>,
    warnings: Mutex<Vec<String>>,
    config: ReceiverConfig,
    /// `None` if /proc or netlink cannot be read.
    host: Option<HostCounters>,
    others: others::Others,
    /// What the XDP program counts for each group and port.
    slot_counters: Option<SlotCounters>,
    /// What has happened to the link. Written by its watch.
    history: Mutex<LinkHistory>,
    /// What the kernel's tables had of the memberships when they were last read.
    tables: Mutex<Option<TablesCheck>>,
    inner: Mutex<Inner>,
}

struct Inner {
    program: Option<Program>,
    membership: MembershipSet,
    entries: HashMap<SubscriptionId, Arc<SubscriptionEntry>>,
    left: totals::Left,
    /// The slots below this have had a group. The others have counted nothing.
    slots_used: u32,
    /// What each group's slot had counted when the group got it: slots are used again.
    unwanted_before: HashMap<(IpAddr, u16), UnwantedCounts>,
    sharing: others::Sharing,
    sockets: HashMap<SocketId, Arc<UdpDataSocket>>,
    /// Sockets whose last membership has ended, but which a worker may still hold.
    leaving: Vec<Weak<UdpDataSocket>>,
    /// Datagrams that sockets dropped which are closed now.
    drops_before: u64,
    link: LinkLedger,
    lost: recovery::Lost,
    /// The interface's MTU when the AF_XDP sockets were bound, or when the program was last attached for another MTU.
    bound_mtu: u32,
    /// The AF_XDP sockets take packets over several buffers.
    several_buffers: bool,
    stopped: bool,
}

/// What a receiver consists of when it starts.
pub(crate) struct ControlParts {
    pub config: ReceiverConfig,
    pub interface: Interface,
    pub mode: ReceiveMode,
    pub refused: Vec<Refused>,
    pub warnings: Vec<String>,
    pub program: Option<Program>,
    /// The AF_XDP sockets take packets over several buffers.
    pub several_buffers: bool,
    pub membership: MembershipSet,
    pub host: Option<HostCounters>,
    pub others: others::Others,
}

impl Control {
    pub fn new(shared: Arc<Shared>, parts: ControlParts) -> Self {
        let bound_mtu = parts.interface.mtu;
        Self {
            shared,
            interface: Mutex::new(parts.interface),
            config: parts.config,
            host: parts.host,
            mode: parts.mode,
            refused: parts.refused,
            warnings: Mutex::new(parts.warnings),
            others: parts.others,
            slot_counters: parts.program.as_ref().map(Program::slot_counters),
            history: Mutex::default(),
            tables: Mutex::default(),
            inner: Mutex::new(Inner {
                program: parts.program,
                membership: parts.membership,
                entries: HashMap::new(),
                left: totals::Left::default(),
                slots_used: 0,
                unwanted_before: HashMap::new(),
                sharing: others::Sharing::default(),
                sockets: HashMap::new(),
                leaving: Vec::new(),
                drops_before: 0,
                link: LinkLedger::default(),
                lost: recovery::Lost::default(),
                bound_mtu,
                several_buffers: parts.several_buffers,
                stopped: false,
            }),
        }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn interface(&self) -> Interface {
        lock(&self.interface).clone()
    }

    pub fn has_program(&self) -> bool {
        self.mode != ReceiveMode::Socket
    }

    pub fn mode(&self) -> ReceiveMode {
        self.mode
    }

    /// Returns true if the queues have mapped rings, and not AF_XDP sockets.
    pub fn has_rings(&self) -> bool {
        self.config.has_rings(self.mode)
    }

    /// Returns true if the kernel gets each packet too.
    pub fn is_shared(&self) -> bool {
        self.config.share
    }

    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// Logs a warning and keeps it for [`Handle::warnings`](crate::Handle::warnings).
    pub fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        lock(&self.warnings).push(warning);
    }

    /// Records that the interface has another number of receive queues now.
    pub fn set_queues(&self, count: u32) {
        lock(&self.interface).queues = count;
    }

    /// The interface on which the groups are joined.
    pub fn membership_interface(&self) -> InterfaceRef {
        lock(&self.inner).membership.interface().clone()
    }

    pub fn block(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.change_sources(id, "block", Some(true), |sources| {
            sources.insert(source).then_some(()).ok_or((source, "already blocked"))
        })
    }

    pub fn unblock(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.change_sources(id, "unblock", Some(true), |sources| {
            sources.remove(&source).then_some(()).ok_or((source, "not blocked"))
        })
    }

    pub fn join_source(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.change_sources(id, "join_source", Some(false), |sources| {
            sources.insert(source).then_some(()).ok_or((source, "already joined"))
        })
    }

    pub fn leave_source(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.change_sources(id, "leave_source", Some(false), |sources| {
            sources.remove(&source).then_some(()).ok_or((source, "not joined"))
        })
    }

    pub fn set_sources(&self, id: SubscriptionId, to: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.change_sources(id, "set_sources", None, |sources| {
            *sources = to;
            Ok(())
        })
    }

    /// Replaces the sources of a subscription; the filter mode stays. `exclude`: the filter mode that the operation
    /// needs.
    fn change_sources(
        &self,
        id: SubscriptionId,
        operation: &'static str,
        exclude: Option<bool>,
        change: impl FnOnce(&mut BTreeSet<IpAddr>) -> Result<(), (IpAddr, &'static str)>,
    ) -> Result<(), Error> {
        let mut inner = self.lock()?;
        let before = self.shared.filter.read(|table| table.subscription(id).cloned());
        let (Some(before), Some(entry)) = (before, inner.entries.get(&id).cloned()) else {
            return Err(Error::UnknownSubscription { id: id.number() });
        };
        if let Some(wanted) = exclude
            && wanted != before.filter().is_exclude()
        {
            return Err(wrong_mode(before, operation));
        }
        let mut sources = before.filter().sources().clone();
        change(&mut sources).map_err(|(address, state)| Error::SourceState {
            subscription: Box::new(before.clone()),
            address,
            state,
        })?;
        let after = before.with_filter(match before.filter() {
            SourceFilter::Include(_) => SourceFilter::Include(sources),
            SourceFilter::Exclude(_) => SourceFilter::Exclude(sources),
        })?;
        self.shared.filter.read(|table| table.check_replacement(id, &after))?;
        let result = self.switch(&mut inner, &entry, &before, &after);
        if result.is_err() {
            // Undo the change. What fails now was reported by the first error.
            let _ = self.switch(&mut inner, &entry, &after, &before);
        }
        inner.spread_socket_events(&self.shared);
        drop(inner);
        self.shared.wait_for_workers();
        result
    }

    fn switch(
        &self,
        inner: &mut Inner,
        entry: &Arc<SubscriptionEntry>,
        from: &Subscription,
        to: &Subscription,
    ) -> Result<(), Error> {
        let (group, port) = (to.group(), to.port());
        self.shared.filter.change(|table| table.replace(entry, to.clone()));
        let slot = self.shared.filter.read(|table| table.slot(group, port)).unwrap_or(0);
        if let Some(program) = &mut inner.program {
            // New sources are added before old ones are removed: a source in both lists keeps its entry.
            for &source in to.filter().sources().difference(from.filter().sources()) {
                program.set_flow(source, group, port, action(to.filter(), slot))?;
            }
            for &source in from.filter().sources().difference(to.filter().sources()) {
                program.remove_flow(source, group, port);
            }
        }
        let filter = self.group_filter(group, port).unwrap_or_else(|| to.filter().clone());
        Ok(inner.membership.set_filter(group, port, &filter)?)
    }

    pub fn subscriptions(&self) -> Result<Vec<SubscriptionReport>, Error> {
        Ok(self.subscriptions_with_unwanted()?.into_iter().map(|(report, _)| report).collect())
    }

    /// Each subscription with the latest source that was not wanted, in the order of joining.
    fn subscriptions_with_unwanted(&self) -> Result<Vec<(SubscriptionReport, Option<IpAddr>)>, Error> {
        // Before the lock, which each join waits for. A group that is joined meanwhile counts from its join on.
        let slots = self.shared.filter.read(FilterTable::slots);
        let counted = self.slot_counters.as_ref().map(|counters| counters.read(slots, &self.interface().name));
        let counted = counted.transpose()?;
        let inner = lock(&self.inner);
        let mut reports = Vec::with_capacity(inner.entries.len());
        let entries: Vec<_> = inner.entries.iter().collect();
        // A worker that reads the filter waits while somebody waits to change it: so not for long.
        for some in entries.chunks(READ_AT_ONCE) {
            self.shared.filter.read(|table| {
                for &(&id, entry) in some {
                    let Some(subscription) = table.subscription(id) else { continue };
                    let (group, port) = (subscription.group(), subscription.port());
                    let Some(slot) = table.slot(group, port) else { continue };
                    let before = inner.unwanted_before.get(&(group, port)).copied().unwrap_or_default();
                    let counted = counted.as_ref().map(|all| all.get(slot as usize).copied().unwrap_or_default());
                    let unwanted = counted.map(|now| now.since(before));
                    let report = SubscriptionReport {
                        id,
                        subscription: subscription.clone(),
                        packets: entry.counters.iter().map(|path| path.packets.get()).sum(),
                        bytes: entry.counters.iter().map(|path| path.bytes.get()).sum(),
                        blocked: unwanted.map(|unwanted| unwanted.blocked),
                        passed_shared: unwanted.map(|unwanted| unwanted.passed),
                        other_members: inner.sharing.members(group),
                        last: entry.counters.iter().map(|path| path.last.get()).max().filter(|&last| last > 0),
                    };
                    let latest = unwanted.filter(|_| report.unwanted() > Some(0)).and_then(|unwanted| unwanted.latest);
                    reports.push((report, latest));
                }
            });
        }
        reports.sort_unstable_by_key(|(report, _)| report.id);
        Ok(reports)
    }

    pub fn ledger(&self) -> Result<Ledger, Error> {
        let inner = lock(&self.inner);
        let unlogged = match &inner.program {
            Some(program) => {
                // While frames arrive, the log may have no end.
                if inner.stopped {
                    program.flush_log();
                }
                program.unlogged()?
            }
            None => None,
        };
        let verdicts = match &inner.program {
            Some(program) => program.verdicts()?,
            None => [0; Verdict::COUNT],
        };
        let tap = inner.program.as_ref().map(|program| program.tap_ledger(&verdicts)).transpose()?.unwrap_or_default();
        let unbound = self.unbound_frames(&inner)?;
        let sockets = self.shared.queues.iter().map(QueueShared::ledger).collect::<Result<Vec<_>, Error>>()?;
        let counters: Vec<&QueueCounters> = self.shared.queues.iter().map(|queue| &queue.path.counters).collect();
        let path = &self.shared.kernel;
        let kernel = path.ledger(inner.drops());
        let host = self.host.as_ref().and_then(|host| host.counted(self.interface().index).ok());
        let ledger = Ledger::new(verdicts, sockets, &counters, &path.path.counters, kernel, unbound);
        Ok(ledger.with_link(inner.link).with_host(host).with_unlogged(unlogged).with_tap(tap))
    }

    /// Leaves all groups, detaches the program, and stops the workers once they have delivered what had arrived.
    pub fn shutdown(&self) -> Result<(), Error> {
        let mut inner = lock(&self.inner);
        if inner.stopped {
            return Ok(());
        }
        inner.stopped = true;
        inner.drops_before = inner.drops();
        inner.sockets.clear();
        inner.membership.leave_all();
        // The kernel path does not get these events: it reads its sockets to the end before it closes them.
        drop(inner.membership.take_events());
        let mut result = Ok(());
        if let Some(program) = &mut inner.program {
            for cell in &self.shared.queues {
                cell.close_ring();
                result = result.and(program.unset_socket(cell.queue));
            }
            result = result.and(program.detach());
        }
        self.shared.stop();
        result
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Inner>, Error> {
        let inner = lock(&self.inner);
        if inner.stopped { Err(Error::Stopped) } else { Ok(inner) }
    }

    fn group_filter(&self, group: IpAddr, port: u16) -> Option<SourceFilter> {
        self.shared.filter.read(|table| table.group_filter(group, port))
    }
}

impl Inner {
    /// Adds a subscription to the XDP maps. Its flows are added before its group: otherwise wanted frames would be
    /// dropped, or blocked ones delivered, until the flows are there. `new`: `Some` if the group and port are new;
    /// `Some(true)` if frames of unwanted sources pass to the kernel.
    fn allow(&mut self, subscription: &Subscription, slot: u32, new: Option<bool>) -> Result<(), Error> {
        let Some(program) = &mut self.program else { return Ok(()) };
        let (group, port) = (subscription.group(), subscription.port());
        if new.is_some() {
            if slot < self.slots_used {
                self.unwanted_before.insert((group, port), program.unwanted_counts(slot)?);
            }
            self.slots_used = self.slots_used.max(slot + 1);
        }
        for &source in subscription.filter().sources() {
            program.set_flow(source, group, port, action(subscription.filter(), slot))?;
        }
        if let Some(passes) = new {
            let action = match subscription.filter() {
                SourceFilter::Include(_) => GroupAction::include(slot),
                SourceFilter::Exclude(_) => GroupAction::exclude(slot),
            };
            program.set_group(group, port, action.shared(passes))?;
        }
        Ok(())
    }

    /// Removes a subscription from the XDP maps, and its group if it was the `last` one of it.
    fn forget(&mut self, subscription: &Subscription, last: bool) {
        let (group, port) = (subscription.group(), subscription.port());
        if last {
            self.unwanted_before.remove(&(group, port));
            self.sharing.forget(group, port);
        }
        let Some(program) = &mut self.program else { return };
        if last {
            program.remove_group(group, port);
        }
        for &source in subscription.filter().sources() {
            program.remove_flow(source, group, port);
        }
    }

    fn spread_socket_events(&mut self, shared: &Shared) {
        let events = self.membership.take_events();
        self.record_socket_events(&events);
        shared.kernel.report(events);
    }

    fn record_socket_events(&mut self, events: &[SocketEvent]) {
        for event in events {
            match event {
                SocketEvent::Added { id, socket } => {
                    self.sockets.insert(*id, Arc::clone(socket));
                }
                SocketEvent::Removed { id } => {
                    if let Some(socket) = self.sockets.remove(id) {
                        self.drops_before += socket.drops().map_or(0, u64::from);
                        self.leaving.push(Arc::downgrade(&socket));
                    }
                }
            }
        }
    }

    /// Datagrams that the sockets have dropped. Read from each socket now (SO_MEMINFO), so that it is exact at any
    /// time.
    fn drops(&self) -> u64 {
        self.drops_before + self.sockets.values().filter_map(|socket| socket.drops().ok()).map(u64::from).sum::<u64>()
    }
}

/// The VLAN's own interface, if the host has one.
pub(crate) fn membership_interface(interface: &Interface, vlan: Option<Vlan>) -> Result<Option<InterfaceRef>, Error> {
    let Some(vlan) = vlan else { return Ok(None) };
    Ok(interface
        .vlan_interface([Some(vlan.outer()), vlan.inner()].into_iter().flatten())?
        .map(|(index, name)| InterfaceRef::new(index, name)))
}

fn action(filter: &SourceFilter, slot: u32) -> FlowAction {
    if filter.is_exclude() { FlowAction::block(slot) } else { FlowAction::accept(slot) }
}

fn wrong_mode(subscription: Subscription, operation: &'static str) -> Error {
    let (mode, remedy) = match subscription.filter() {
        SourceFilter::Include(_) => ("source-specific", "use join_source, leave_source or set_sources"),
        SourceFilter::Exclude(_) => ("any-source", "use block, unblock or set_sources"),
    };
    Error::WrongFilterMode { subscription: Box::new(subscription), mode, operation, remedy }
}
