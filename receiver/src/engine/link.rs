//! Follows the link: the interface goes down and up, leaves and comes back, is made again, or loses a part of the
//! receiver. A thread notices it by netlink and by a check every half second, has [`Control`] restore what is missing,
//! and records how long it took. The same thread makes all other regular checks, so that the receiver wakes up twice a
//! second at most: those for other programs, and those of the kernel's tables.
//!
//! A link that goes down keeps all parts of the receiver, and the kernel reports the groups again by itself. A device
//! that is deleted, or moves to another network namespace, takes the AF_XDP sockets and the memberships with it,
//! although the old descriptors stay open without an error. It can come back with the same index. Only netlink's
//! messages and a check of each part reveal that. An IP version can go alone, with its memberships. No message reports
//! that somebody detached the program, and not every kernel reports another number of receive queues (`ethtool -L`):
//! hence the regular check.

mod detachments;
mod families;
mod history;
mod outage;
mod rate;
mod warnings;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::detachments::{Answer, Detachments};
use self::families::FamilyOutages;
pub(crate) use self::families::FamilyOver;
pub use self::history::{LinkChange, LinkCount, LinkHistory};
pub use self::outage::LinkLedger;
use self::outage::Outages;
pub(crate) use self::outage::Over;
use self::rate::Rate;
use crate::api::error::Error;
use crate::engine::control::recovery::Mtu;
use crate::engine::control::{Control, TablesCheck};
use crate::engine::shared::Shared;
use receiver_host::{Families, Interface, InterfaceError, LinkEvent, LinkEvents, LinkState};
use receiver_membership::querier::{Compatibility, Warning, compatibility};

/// The time between two checks: what no message reports is noticed within a second.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The time between two reads of the packet rate, for the estimate of missed packets, and of the kernel's tables; and
/// between two checks for other programs.
const SECOND: Duration = Duration::from_secs(1);
/// The time from a failed attempt to the next one, during [`EAGER`].
const RETRY: Duration = Duration::from_millis(100);
/// How long the same failure is retried at that rate; then every [`CHECK_INTERVAL`].
const EAGER: Duration = Duration::from_secs(3);
/// How long the kernel's tables are read every [`RETRY`] after memberships were restored. Linux can lose the sources of
/// an IPv6 group that is joined while its device comes up (seen with 6.18).
const SETTLING: Duration = Duration::from_secs(2);
/// How long an older querier that was noticed is taken to be on the link (RFC 3810, section 9.12, with its defaults).
const OLDER_QUERIER: Duration = Duration::from_secs(260);
/// The largest number of reads of netlink before a state counts, while messages keep coming.
const ROUNDS: usize = 16;

/// Starts to watch the link, in the calling thread's network namespace. The watch ends with the receiver. Its thread
/// calls `first` before it does anything.
pub(crate) fn watch(control: &Arc<Control>, first: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let known = control.interface();
    let operation = "watch the link by netlink";
    let failed = |source| InterfaceError::Kernel { name: known.name.clone(), operation, source };
    let events = LinkEvents::subscribe().map_err(failed)?;
    let carrier_downs = LinkState::read(known.index)?.and_then(|state| state.carrier_downs);
    let watch = Watch {
        shared: Arc::clone(control.shared()),
        control: Arc::downgrade(control),
        events,
        outages: Outages::new(carrier_downs),
        families: FamilyOutages::default(),
        suspect: [false; 2],
        detachments: Detachments::default(),
        gone: false,
        usable: true,
        older_mld: None,
        complete: Instant::now(),
        settled: known.clone(),
        parts_alone: false,
        failure: None,
        settling: None,
        missing_groups: BTreeSet::new(),
        rate: Rate::default(),
        sampled: None,
        others: Instant::now(),
        tables: None,
        reported: Vec::new(),
    };
    let run = move || {
        first();
        watch.run();
    };
    std::thread::Builder::new().name("receiver-link".into()).spawn(run).map_err(failed)?;
    Ok(())
}

struct Watch {
    shared: Arc<Shared>,
    control: Weak<Control>,
    events: LinkEvents,
    outages: Outages,
    families: FamilyOutages,
    /// A message reported that IPv4, or IPv6, was gone: for good, for a moment, or because of a new name.
    suspect: [bool; 2],
    detachments: Detachments,
    /// The device is gone: a device that has its index now is another one.
    gone: bool,
    /// The link could receive when it was last seen.
    usable: bool,
    /// Until when an older MLD querier is taken to be on the link.
    older_mld: Option<Instant>,
    /// When all parts were last seen to be complete.
    complete: Instant,
    /// The interface as it was then.
    settled: Interface,
    /// The link is up, and the outage is that of the program or the sockets alone.
    parts_alone: bool,
    /// Why the receiver cannot be restored, and since when. The same cause is reported once.
    failure: Option<(String, Instant)>,
    /// Until when memberships that were restored are checked more often.
    settling: Option<Instant>,
    /// The groups that were missing in the kernel's tables at the last check.
    missing_groups: BTreeSet<IpAddr>,
    /// The rate of delivered packets, and when the counters were last read.
    rate: Rate,
    sampled: Option<Instant>,
    /// When the last check for other programs began.
    others: Instant,
    /// What the kernel's tables had of older queriers, when, and how long it took to read them.
    tables: Option<(Compatibility, Instant, Duration)>,
    /// The warnings of queriers that were reported. Each is reported once while it lasts.
    reported: Vec<String>,
}

impl Watch {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            if let Err(error) = self.wait() {
                tracing::warn!("the link and other programs are no longer watched: {error}");
                return;
            }
            let Some(control) = self.control.upgrade() else { return };
            if let Err(error) = self.check(&control)
                && !self.shared.is_stopped()
            {
                self.report_failure(&control, &error);
            }
            if !self.outages.is_away() {
                self.take_sample(&control);
                self.check_tables(&control);
            }
            if self.others.elapsed() >= SECOND {
                self.others = Instant::now();
                control.check_others();
            }
        }
    }

    /// Waits for a message, the next check, or the next attempt.
    fn wait(&self) -> Result<(), rustix::io::Errno> {
        let timeout = Timespec::try_from(self.pause()).ok();
        let mut fds = [
            PollFd::from_borrowed_fd(self.shared.stop_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The time to wait if no message comes.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let hopeless = self.failure.as_ref().is_some_and(|(_, since)| now.duration_since(*since) > EAGER);
        if let Some(rest) = self.detachments.waiting(now) {
            rest.min(CHECK_INTERVAL)
        } else if (self.outages.is_away() && !hopeless) || self.is_settling() {
            RETRY
        } else {
            CHECK_INTERVAL
        }
    }

    /// Reads netlink's messages and the link's state, and restores what is missing.
    fn check(&mut self, control: &Control) -> Result<(), Error> {
        let mut state = None;
        let mut is_newest = false;
        for _ in 0..ROUNDS {
            // A state that no message follows is newer than all messages.
            if !self.follow_messages(control)? && state.is_some() {
                is_newest = true;
                break;
            }
            state = Some(self.read_state(control)?);
        }
        let Some(state) = state.flatten() else {
            self.outages.begin(Instant::now(), self.rate.per_second());
            self.outages.set_usable(false);
            return Ok(());
        };
        let usable = state.interface.is_usable();
        if is_newest && !self.gone {
            self.observe(control, &state.interface.name, usable, state.carrier_downs);
        }
        if !usable {
            self.outages.begin(Instant::now(), self.rate.per_second());
        }
        self.outages.set_usable(usable);
        self.record_usable(control, usable);
        if usable { self.recover(control, &state) } else { Ok(()) }
    }

    /// Records the link's state at a time after all states that were recorded before.
    fn observe(&mut self, control: &Control, name: &str, usable: bool, carrier_downs: Option<u32>) {
        let was_away = self.outages.is_away();
        self.outages.observe(usable, carrier_downs, self.rate.per_second());
        // Who reads that the link went down finds that the outage has begun.
        self.record_usable(control, usable);
        if self.outages.is_away() && !was_away {
            tracing::warn!("{name}: the link went away");
        }
        self.parts_alone &= usable;
    }

    /// Records that the link goes down or comes up.
    fn record_usable(&mut self, control: &Control, usable: bool) {
        if std::mem::replace(&mut self.usable, usable) != usable {
            control.record_change(if usable { LinkChange::Up } else { LinkChange::Down }, 1);
        }
    }

    /// Follows the messages of netlink that have come. Returns true if there were any.
    fn follow_messages(&mut self, control: &Control) -> Result<bool, Error> {
        let operation = "read netlink's messages";
        let failed = |source| InterfaceError::Kernel { name: control.interface().name, operation, source };
        let events = self.events.take().map_err(failed)?;
        let any = !events.is_empty();
        for event in events {
            self.follow(control, event)?;
        }
        Ok(any)
    }

    /// Follows one message of netlink.
    fn follow(&mut self, control: &Control, event: LinkEvent) -> Result<(), Error> {
        let (interface, joined) = (control.interface(), control.membership_interface().index);
        match event {
            LinkEvent::Changed { index, usable, carrier_downs } if index == interface.index && !self.gone => {
                self.observe(control, &interface.name, usable, carrier_downs);
            }
            // It can also be a device that replaced one, and on which the receiver was not completely restored.
            LinkEvent::Gone { index, moved } if index == interface.index => {
                self.lose_device(control, &interface, moved)?;
            }
            LinkEvent::Gone { index, .. } if index == joined => {
                control.lose_family(false)?;
                control.lose_family(true)?;
            }
            LinkEvent::FamilyGone { index, ipv6 } if index == joined => self.suspect[usize::from(ipv6)] = true,
            // The state that is read next, and the tables, have what the lost messages reported.
            LinkEvent::Overrun => tracing::debug!("{}: messages of netlink were lost", interface.name),
            _ => {}
        }
        Ok(())
    }

    fn lose_device(&mut self, control: &Control, interface: &Interface, moved: bool) -> Result<(), Error> {
        if !self.gone {
            control.record_change(if moved { LinkChange::Moved } else { LinkChange::Gone }, 1);
            tracing::warn!("{}: the interface is gone", interface.name);
        }
        self.parts_alone = false;
        self.outages.begin(Instant::now(), self.rate.per_second());
        self.detachments.end_pause();
        self.suspect = [false; 2];
        self.gone = true;
        control.release_device()
    }

    /// Reads the interface's state: by its index, so that a new name makes no difference, until it is gone; then by
    /// name.
    fn read_state(&mut self, control: &Control) -> Result<Option<LinkState>, Error> {
        let known = control.interface();
        if !self.gone {
            match LinkState::read(known.index)? {
                Some(state) => {
                    if state.interface.name != known.name {
                        tracing::info!("{} is called {} now", known.name, state.interface.name);
                        control.rename(&state.interface.name);
                        control.record_change(LinkChange::Renamed, 1);
                    }
                    return Ok(Some(state));
                }
                None => {
                    // The message of its leaving has more.
                    self.follow_messages(control)?;
                    if !self.gone {
                        self.lose_device(control, &known, false)?;
                    }
                }
            }
        }
        match Interface::lookup(&known.name) {
            Ok(interface) => Ok(LinkState::read(interface.index)?),
            Err(InterfaceError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Restores the receiver on a link that is up, and records the outage.
    fn recover(&mut self, control: &Control, state: &LinkState) -> Result<(), Error> {
        let known = control.interface();
        let name = &state.interface.name;
        let (joined, families) = control.joined_families(state)?;
        self.resolve_suspicions(control, families)?;
        let back = self.check_families(control, &joined.name, state.interface.mtu, families)?;
        let missing = control.missing(state)?;
        if (missing.program || missing.sockets) && !self.outages.is_away() {
            if missing.program {
                control.record_change(LinkChange::Detached, 1);
                self.report_detached(control, name);
            } else {
                control.record_change(LinkChange::Unbound, 1);
                control.warn(format!("{name}: the AF_XDP sockets were unbound; the receiver binds new ones"));
            }
            // Until now the streams may have taken the kernel path: the estimate of missed packets is 0.
            self.outages.begin(self.complete, 0.0);
            self.parts_alone = true;
        }
        self.outages.set_usable(true);
        let is_waiting = self.detachments.waiting(Instant::now()).is_some();
        if missing != Default::default() || state.interface.index != known.index {
            control.restore(state, !is_waiting)?;
            self.settling = missing.memberships.then(|| Instant::now() + SETTLING);
        }
        self.end_family_outages(control, back);
        if is_waiting {
            return Ok(());
        }
        if missing.program && !self.gone {
            self.detachments.attached(Instant::now());
            control.record_change(LinkChange::Attached, 1);
        }
        if self.gone {
            self.gone = false;
            control.record_change(LinkChange::Back, 1);
            self.outages.change_device(state.carrier_downs);
        }
        if state.interface.queues != self.settled.queues {
            control.record_change(LinkChange::QueuesChanged, 1);
            self.report_queues(control, self.settled.queues, &state.interface);
            self.settled.queues = state.interface.queues;
        }
        if state.interface.mtu != self.settled.mtu {
            self.follow_mtu(control, state)?;
            control.record_change(LinkChange::MtuChanged, 1);
        }
        self.failure = None;
        self.complete = Instant::now();
        let is_new = state.interface.index != self.settled.index;
        self.settled = state.interface.clone();
        let was_away = self.outages.is_away();
        let Some(over) = self.outages.end() else { return Ok(()) };
        control.record_outages(over);
        self.rate.restart();
        let how = if is_new { " under a new index" } else { "" };
        let (away, recovery) = (over.away.as_secs_f64(), over.recovery.as_secs_f64());
        if !was_away {
            // No state showed them, the kernel's count of lost carriers did.
            control.record_change(LinkChange::Down, over.count);
            control.record_change(LinkChange::Up, over.count);
            tracing::warn!("{name}: the link went away and came back at once, {} times", over.count);
        } else if std::mem::take(&mut self.parts_alone) {
            tracing::warn!("{name}: the receiver is on the link again, after {away:.3} s");
        } else {
            tracing::warn!("{name}: the link is back{how}; away for {away:.3} s, recovered in {recovery:.3} s");
        }
        Ok(())
    }

    /// Reports what keeps the receiver from being restored, once for each cause.
    fn report_failure(&mut self, control: &Control, error: &Error) {
        let cause = match error {
            // The processes that hold it change with each fork.
            Error::XdpOccupied { program, .. } => format!("program {program}"),
            Error::QueueTaken { queue, .. } => format!("queue {queue}"),
            other => other.to_string(),
        };
        if self.failure.as_ref().is_none_or(|(before, _)| *before != cause) {
            let name = control.interface().name;
            control.warn(format!("{name}: the receiver cannot recover on the link and keeps trying: {error}"));
            self.failure = Some((cause, Instant::now()));
        }
    }

    fn report_detached(&mut self, control: &Control, name: &str) {
        match self.detachments.detached(Instant::now()) {
            Answer::AtOnce => control.warn(warnings::detached(name)),
            Answer::FirstPause(_) => control.warn(warnings::detached_again(name)),
            Answer::Pause(pause) => {
                let seconds = pause.as_secs();
                tracing::info!("{name}: the XDP program was detached again; it is attached in {seconds} s")
            }
        }
    }

    fn report_queues(&self, control: &Control, before: u32, interface: &Interface) {
        control.set_queues(interface.queues);
        let served: Vec<u32> =
            self.shared.queues.iter().filter(|cell| cell.is_served()).map(|cell| cell.queue).collect();
        let end = if control.has_rings() { "mapped ring" } else { "AF_XDP socket" };
        if let Some(warning) = warnings::queues(&interface.name, before, interface.queues, &served, end) {
            control.warn(warning);
        }
    }

    /// Resolves messages of IP versions that are gone. Memberships are lost with the version, also if it is back
    /// already. A new name causes the same messages, but no membership is lost. What the tables do not show yet is left
    /// for the next check.
    fn resolve_suspicions(&mut self, control: &Control, families: Families) -> Result<(), Error> {
        for ipv6 in [false, true] {
            if !std::mem::take(&mut self.suspect[usize::from(ipv6)]) {
                continue;
            }
            if !families.has(ipv6) {
                control.lose_family(ipv6)?;
                continue;
            }
            match self.lose_missing(control, ipv6)? {
                Some(true) => self.lose_family(control, ipv6),
                Some(false) => {}
                None => self.suspect[usize::from(ipv6)] = true,
            }
        }
        Ok(())
    }

    /// Begins an outage of one IP version, or goes on with it.
    fn lose_family(&mut self, control: &Control, ipv6: bool) {
        if !self.families.is_away(ipv6) {
            control.record_change(if ipv6 { LinkChange::Ipv6Gone } else { LinkChange::Ipv4Gone }, 1);
        }
        self.families.begin(ipv6, self.received(control, ipv6), Instant::now());
    }

    /// Has the groups of one IP version joined again that the kernel's tables lack. Returns true if there are any, and
    /// `None` if the tables do not show it.
    fn lose_missing(&self, control: &Control, ipv6: bool) -> Result<Option<bool>, Error> {
        let Some(mut groups) = control.groups_missing_in_tables() else { return Ok(None) };
        groups.retain(|group| group.is_ipv6() == ipv6);
        if !groups.is_empty() {
            // What changes while the files are read can be missing once.
            let Some(again) = control.groups_missing_in_tables() else { return Ok(None) };
            groups.retain(|group| again.contains(group));
        }
        let is_missing = !groups.is_empty();
        control.lose_groups(groups)?;
        Ok(Some(is_missing))
    }

    /// Adapts to a new MTU, as far as the program, the sockets and the driver allow.
    fn follow_mtu(&self, control: &Control, state: &LinkState) -> Result<(), Error> {
        let (name, mtu) = (&state.interface.name, state.interface.mtu);
        match control.follow_mtu(state)? {
            Mtu::Fits => {}
            Mtu::Followed => tracing::info!("{name} has an MTU of {mtu} now; longer packets come over several buffers"),
            Mtu::KernelPath(fits) => control.warn(warnings::beyond_frames(name, mtu, fits)),
            Mtu::TooLong => control.warn(warnings::too_long(name, mtu, control.single_buffer_mtu())),
        }
        Ok(())
    }

    /// Reports an IP version that is away, if a subscription needs it. Returns true for IPv4, and for IPv6, if it is
    /// back.
    fn check_families(
        &mut self,
        control: &Control,
        joined: &str,
        mtu: u32,
        families: Families,
    ) -> Result<[bool; 2], Error> {
        let mut back = [false; 2];
        for ipv6 in [false, true] {
            let away = warnings::family(joined, ipv6, mtu, families).filter(|_| control.has_family(ipv6));
            match away {
                Some(warning) => {
                    self.lose_family(control, ipv6);
                    if self.families.is_new(ipv6, &warning) {
                        control.warn(warning);
                    }
                }
                None if self.families.is_away(ipv6) => {
                    back[usize::from(ipv6)] = true;
                    // Linux itself joins the groups again when IPv6 is enabled again, but it can lose some.
                    self.lose_missing(control, ipv6)?;
                }
                None => {}
            }
        }
        Ok(back)
    }

    /// Ends the outages of IP versions that are back and whose groups are joined.
    fn end_family_outages(&mut self, control: &Control, back: [bool; 2]) {
        for (ipv6, version) in [(false, "IPv4"), (true, "IPv6")] {
            if back[usize::from(ipv6)]
                && let Some(over) = self.families.end(ipv6, self.received(control, ipv6), Instant::now())
            {
                control.record_family_outage(over);
                control.record_change(if ipv6 { LinkChange::Ipv6Back } else { LinkChange::Ipv4Back }, 1);
                let (joined, seconds) = (control.membership_interface(), over.away.as_secs_f64());
                tracing::warn!("{joined}: {version} is back after {seconds:.3} s, and its groups are joined");
            }
        }
    }

    /// Datagrams of one IP version that were delivered.
    fn received(&self, control: &Control, ipv6: bool) -> u64 {
        control.totals_by_family()[usize::from(ipv6)].packets
    }

    fn is_settling(&self) -> bool {
        self.settling.is_some_and(|until| Instant::now() < until)
    }

    /// Reads the kernel's tables, for memberships that are missing and for an older querier. The tables are long if
    /// many groups are joined: reading them takes at most a hundredth of the time.
    fn check_tables(&mut self, control: &Control) {
        let settling = self.is_settling();
        if let Some((_, asked, took)) = &self.tables
            && asked.elapsed() < (if settling { RETRY / 2 } else { SECOND }).max(*took * 100)
        {
            return;
        }
        let start = Instant::now();
        let missing_now = control.groups_missing_in_tables();
        let mut twice = BTreeSet::new();
        if let Some(mut missing) = missing_now.clone() {
            missing.retain(|group| !self.families.is_away(group.is_ipv6()));
            // A membership that changes while the files are read can be missing once.
            twice = missing.intersection(&self.missing_groups).copied().collect();
            self.missing_groups = missing;
        }
        if let (Some(first), Ok(())) = (twice.first(), control.lose_groups(twice.clone())) {
            let (interface, count) = (control.membership_interface(), twice.len());
            let lost = format!(
                "{interface}: the kernel no longer has {count} of the groups that were joined, {first} among them; the \
                 receiver joins them again"
            );
            // It is part of a recovery that was reported.
            if settling {
                tracing::info!("{lost}")
            } else {
                control.warn(lost)
            }
            control.record_change(LinkChange::MembershipsLost, 1);
            self.settling = Some(Instant::now() + SETTLING);
        }
        let Ok(now) = compatibility(&control.membership_interface()) else { return };
        let found = now.warnings(self.tables.as_ref().map(|(before, ..)| before));
        self.record_tables(control, missing_now, &now, &found);
        let warnings: Vec<_> = found.iter().map(ToString::to_string).collect();
        for warning in warnings.iter().filter(|warning| !self.reported.contains(warning)) {
            control.warn(warning.clone());
        }
        self.reported = warnings;
        self.tables = Some((now, Instant::now(), start.elapsed()));
    }

    fn record_tables(
        &mut self,
        control: &Control,
        missing: Option<BTreeSet<IpAddr>>,
        now: &Compatibility,
        found: &[Warning],
    ) {
        if found.iter().any(|warning| matches!(warning, Warning::MldForced { .. } | Warning::MldV1 { .. })) {
            self.older_mld = Some(Instant::now() + OLDER_QUERIER);
        }
        let (igmp, older_mld) = (now.igmp, self.older_mld);
        control.record_tables(TablesCheck { missing, igmp, older_mld, at: SystemTime::now() });
    }

    fn take_sample(&mut self, control: &Control) {
        let now = Instant::now();
        if self.sampled.is_some_and(|then| now.duration_since(then) < SECOND) {
            return;
        }
        self.sampled = Some(now);
        let delivered = |number| self.shared.path(number).counters.delivered.get();
        let total = (0..self.shared.path_count()).map(delivered).sum();
        self.rate.sample(total, now);
        self.families.sample(control.totals_by_family().map(|of| of.packets), now);
    }
}
