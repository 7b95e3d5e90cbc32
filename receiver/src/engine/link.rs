//! Link life: the interface goes down and up, leaves and comes back, is made again, or loses what the receiver has on
//! it. A thread notices by netlink and by a look each half second, has [`Control`] put back what is missing, and
//! records how long it took.
//!
//! A link that only goes down keeps all of it (the kernel reports the groups again by itself). One that is deleted, or
//! moves to another network namespace, takes the AF_XDP sockets and the memberships with it, although the old
//! descriptors stay open and say nothing. Its index does not tell: it can come back with the same one. What tells are
//! netlink's messages, and each part when it is asked. An IP version can go alone, with its memberships. No message
//! tells of a program that somebody detached, and not every kernel of another number of receive queues (`ethtool -L`):
//! that is what the look is for.

mod detachments;
mod families;
mod outage;
mod rate;
mod warnings;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::detachments::{Answer, Detachments};
use self::families::FamilyOutages;
pub(crate) use self::families::FamilyOver;
pub use self::outage::LinkLedger;
use self::outage::Outages;
pub(crate) use self::outage::Over;
use self::rate::Rate;
use crate::api::error::Error;
use crate::engine::control::Control;
use crate::engine::control::recovery::Mtu;
use crate::engine::shared::Shared;
use receiver_host::{Families, Interface, InterfaceError, LinkEvent, LinkEvents, LinkState};
use receiver_membership::querier::{Compatibility, compatibility};

/// How often a look is taken at the link: what no message tells is noticed within a second.
const LOOK: Duration = Duration::from_millis(500);
/// How often the packet rate is read, for the estimate of what an outage cost, and the kernel's tables.
const SECOND: Duration = Duration::from_secs(1);
/// How long after a failed try to put things back the next one comes, for the time of [`EAGER`].
const RETRY: Duration = Duration::from_millis(100);
/// How long the same failure is tried at that pace; then each [`LOOK`].
const EAGER: Duration = Duration::from_secs(3);
/// How long after memberships were put back the kernel's tables are looked at each [`RETRY`]. Linux can lose the
/// sources of an IPv6 group that is joined while its device comes up (seen with 6.18).
const SETTLING: Duration = Duration::from_secs(2);
/// How often messages are taken in before a look counts, where they keep coming.
const ROUNDS: usize = 16;

/// Begins to watch, in the calling thread's network namespace. The watch ends with the receiver.
pub(crate) fn watch(control: &Arc<Control>) -> Result<(), Error> {
    let known = control.interface();
    let operation = "watch the link by netlink";
    let failed = |source| InterfaceError::Kernel { name: known.name.clone(), operation, source };
    let events = LinkEvents::subscribe().map_err(failed)?;
    let carrier_downs = LinkState::read(known.index)?.and_then(|look| look.carrier_downs);
    let watch = Watch {
        shared: Arc::clone(control.shared()),
        control: Arc::downgrade(control),
        events,
        outages: Outages::new(carrier_downs),
        families: FamilyOutages::default(),
        suspect: [false; 2],
        detachments: Detachments::default(),
        gone: false,
        complete: Instant::now(),
        settled: known.clone(),
        parts_alone: false,
        failure: None,
        settling: None,
        missing_groups: BTreeSet::new(),
        rate: Rate::default(),
        sampled: None,
        tables: None,
        told: Vec::new(),
    };
    std::thread::Builder::new().name("receiver-link".into()).spawn(move || watch.run()).map_err(failed)?;
    Ok(())
}

struct Watch {
    shared: Arc<Shared>,
    control: Weak<Control>,
    events: LinkEvents,
    outages: Outages,
    families: FamilyOutages,
    /// A message told that IPv4 or IPv6 was gone: for good, for a moment, or because of a new name.
    suspect: [bool; 2],
    detachments: Detachments,
    /// The device went: what has its index now, if anything, is another one.
    gone: bool,
    /// When all was last seen to be in its place.
    complete: Instant,
    /// The interface as it was then.
    settled: Interface,
    /// The link is there, and the outage is that of the program or the sockets alone.
    parts_alone: bool,
    /// Why things cannot be put back, and since when: not reported again while it lasts.
    failure: Option<(String, Instant)>,
    /// Until when memberships that were put back are looked at more often.
    settling: Option<Instant>,
    /// What the last look missed in the kernel's tables.
    missing_groups: BTreeSet<IpAddr>,
    /// Of packets handed over, and when it was last read.
    rate: Rate,
    sampled: Option<Instant>,
    /// What the kernel said of older queriers, when, and how long it took to read its tables.
    tables: Option<(Compatibility, Instant, Duration)>,
    /// What was told of queriers: not again while it lasts.
    told: Vec<String>,
}

impl Watch {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            if let Err(error) = self.wait() {
                tracing::warn!("the link is no longer watched: {error}");
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
                self.look_at_tables(&control);
            }
        }
    }

    /// Waits for a message, the next look, or the next try.
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

    /// How long to wait if no message comes.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let hopeless = self.failure.as_ref().is_some_and(|(_, since)| now.duration_since(*since) > EAGER);
        if let Some(rest) = self.detachments.waiting(now) {
            rest.min(LOOK)
        } else if (self.outages.is_away() && !hopeless) || self.is_settling() {
            RETRY
        } else {
            LOOK
        }
    }

    /// Takes in what netlink tells, looks at the link, and puts back what is missing.
    fn check(&mut self, control: &Control) -> Result<(), Error> {
        let mut look = None;
        let mut is_newest = false;
        for _ in 0..ROUNDS {
            let operation = "read netlink's messages";
            let failed = |source| InterfaceError::Kernel { name: control.interface().name, operation, source };
            let events = self.events.take().map_err(failed)?;
            // A look that no message follows is newer than all that was told.
            if events.is_empty() && look.is_some() {
                is_newest = true;
                break;
            }
            for event in events {
                self.follow(control, event)?;
            }
            look = Some(self.look(control)?);
        }
        let Some(look) = look.flatten() else {
            self.outages.begin(Instant::now(), self.rate.per_second());
            self.outages.look(false);
            return Ok(());
        };
        if is_newest && !self.gone {
            self.observe(&look.interface.name, look.interface.is_usable(), look.carrier_downs);
        }
        if !look.interface.is_usable() {
            self.outages.begin(Instant::now(), self.rate.per_second());
            self.outages.look(false);
            return Ok(());
        }
        self.outages.look(true);
        self.put_back(control, &look)
    }

    /// The link was like this at a time after all others that were observed.
    fn observe(&mut self, name: &str, usable: bool, carrier_downs: Option<u32>) {
        let was_away = self.outages.is_away();
        self.outages.observe(usable, carrier_downs, self.rate.per_second());
        if self.outages.is_away() && !was_away {
            tracing::warn!("{name}: the link went away");
        }
        self.parts_alone &= usable;
    }

    /// One message of netlink.
    fn follow(&mut self, control: &Control, event: LinkEvent) -> Result<(), Error> {
        let (interface, joined) = (control.interface(), control.membership_interface().index);
        match event {
            LinkEvent::Changed { index, usable, carrier_downs } if index == interface.index && !self.gone => {
                self.observe(&interface.name, usable, carrier_downs);
            }
            // Also one that took the place of a device that was gone, and that the receiver was not wholly put on.
            LinkEvent::Gone { index } if index == interface.index => self.lose_device(control, &interface)?,
            LinkEvent::Gone { index } if index == joined => {
                control.lose_family(false)?;
                control.lose_family(true)?;
            }
            LinkEvent::FamilyGone { index, ipv6 } if index == joined => self.suspect[usize::from(ipv6)] = true,
            // What the lost messages told is in the look that follows, and in the tables.
            LinkEvent::Overrun => tracing::debug!("{}: messages of netlink were lost", interface.name),
            _ => {}
        }
        Ok(())
    }

    fn lose_device(&mut self, control: &Control, interface: &Interface) -> Result<(), Error> {
        if !self.gone {
            tracing::warn!("{}: the interface is gone", interface.name);
        }
        self.parts_alone = false;
        self.outages.begin(Instant::now(), self.rate.per_second());
        self.detachments.end_pause();
        self.suspect = [false; 2];
        self.gone = true;
        control.let_go()
    }

    /// The interface as it is now: by its index, so that a new name makes no difference, until it is gone; then by its
    /// name.
    fn look(&mut self, control: &Control) -> Result<Option<LinkState>, Error> {
        let known = control.interface();
        if !self.gone {
            match LinkState::read(known.index)? {
                Some(look) => {
                    if look.interface.name != known.name {
                        tracing::info!("{} is called {} now", known.name, look.interface.name);
                        control.rename(&look.interface.name);
                    }
                    return Ok(Some(look));
                }
                None => self.lose_device(control, &known)?,
            }
        }
        match Interface::lookup(&known.name) {
            Ok(interface) => Ok(LinkState::read(interface.index)?),
            Err(InterfaceError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The link is there: makes everything as it was, and records the outage.
    fn put_back(&mut self, control: &Control, look: &LinkState) -> Result<(), Error> {
        let known = control.interface();
        let name = &look.interface.name;
        let (joined, families) = control.joined_families(look)?;
        self.settle_suspicion(control, families)?;
        let back = self.look_at_families(control, &joined.name, look.interface.mtu, families)?;
        let missing = control.missing(look)?;
        if (missing.program || missing.sockets) && !self.outages.is_away() {
            if missing.program {
                self.report_detached(control, name);
            } else {
                control.warn(format!("{name}: the AF_XDP sockets were unbound; the receiver binds new ones"));
            }
            // Until now the streams may have come by the kernel path: nothing is estimated to be missed.
            self.outages.begin(self.complete, 0.0);
            self.parts_alone = true;
        }
        self.outages.look(true);
        let is_waiting = self.detachments.waiting(Instant::now()).is_some();
        if missing != Default::default() || look.interface.index != known.index {
            control.restore(look, !is_waiting)?;
            self.settling = missing.memberships.then(|| Instant::now() + SETTLING);
        }
        self.end_family_outages(control, back);
        if is_waiting {
            return Ok(());
        }
        if missing.program && !self.gone {
            self.detachments.attached(Instant::now());
        }
        if self.gone {
            self.gone = false;
            self.outages.change_device(look.carrier_downs);
        }
        if look.interface.queues != self.settled.queues {
            self.report_queues(control, self.settled.queues, &look.interface);
            self.settled.queues = look.interface.queues;
        }
        if look.interface.mtu != self.settled.mtu {
            self.follow_mtu(control, look)?;
        }
        self.failure = None;
        self.complete = Instant::now();
        let is_new = look.interface.index != self.settled.index;
        self.settled = look.interface.clone();
        let was_away = self.outages.is_away();
        let Some(over) = self.outages.end() else { return Ok(()) };
        control.record_outages(over);
        self.rate.restart();
        let how = if is_new { " under a new index" } else { "" };
        let (away, recovery) = (over.away.as_secs_f64(), over.recovery.as_secs_f64());
        if !was_away {
            tracing::warn!("{name}: the link went away and came back at once, {} times", over.count);
        } else if std::mem::take(&mut self.parts_alone) {
            tracing::warn!("{name}: the receiver is on the link again, after {away:.3} s");
        } else {
            tracing::warn!("{name}: the link is back{how}; away for {away:.3} s, put back in {recovery:.3} s");
        }
        Ok(())
    }

    /// Reports what keeps the receiver from being put back, once.
    fn report_failure(&mut self, control: &Control, error: &Error) {
        let cause = match error {
            // Which processes hold it changes with each fork.
            Error::XdpOccupied { program, .. } => format!("program {program}"),
            Error::QueueTaken { queue, .. } => format!("queue {queue}"),
            other => other.to_string(),
        };
        if self.failure.as_ref().is_none_or(|(before, _)| *before != cause) {
            let name = control.interface().name;
            control.warn(format!("{name}: the receiver cannot be put back on the link, and keeps trying: {error}"));
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
        if let Some(warning) = warnings::queues(&interface.name, before, interface.queues, &served) {
            control.warn(warning);
        }
    }

    /// Finds out what the messages of gone IP versions meant: memberships are lost with the version, also if it is back
    /// already. A new name takes none away, although it makes the same messages.
    fn settle_suspicion(&mut self, control: &Control, families: Families) -> Result<(), Error> {
        for ipv6 in [false, true] {
            if !std::mem::take(&mut self.suspect[usize::from(ipv6)]) {
                continue;
            }
            if !families.has(ipv6) {
                control.lose_family(ipv6)?;
            } else if self.lose_missing(control, ipv6)? {
                self.families.begin(ipv6, self.received(control, ipv6), Instant::now());
            }
        }
        Ok(())
    }

    /// Has what the kernel's tables lack of one IP version joined again. Returns true if that is anything.
    fn lose_missing(&self, control: &Control, ipv6: bool) -> Result<bool, Error> {
        let missing = control.groups_missing_in_tables();
        let groups: BTreeSet<_> = missing.into_iter().filter(|group| group.is_ipv6() == ipv6).collect();
        let is_missing = !groups.is_empty();
        control.lose_groups(groups)?;
        Ok(is_missing)
    }

    /// Longer packets are received as far as the program, the sockets and the driver allow.
    fn follow_mtu(&self, control: &Control, look: &LinkState) -> Result<(), Error> {
        let (name, mtu) = (&look.interface.name, look.interface.mtu);
        match control.follow_mtu(look)? {
            Mtu::Fits => {}
            Mtu::Followed => tracing::info!("{name} has an MTU of {mtu} now; longer packets come over several buffers"),
            Mtu::TooLong => control.warn(warnings::too_long(name, mtu, control.single_buffer_mtu())),
        }
        Ok(())
    }

    /// Reports an IP version that is away, if a subscription needs it. Returns those that are back, IPv4 and IPv6.
    fn look_at_families(
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
                    self.families.begin(ipv6, self.received(control, ipv6), Instant::now());
                    if self.families.is_new(ipv6, &warning) {
                        control.warn(warning);
                    }
                }
                None if self.families.is_away(ipv6) => {
                    back[usize::from(ipv6)] = true;
                    // Linux joins the groups of an IPv6 that was disabled again by itself. This is for what it has
                    // lost.
                    self.lose_missing(control, ipv6)?;
                }
                None => {}
            }
        }
        Ok(back)
    }

    /// These IP versions are there, and their groups are joined.
    fn end_family_outages(&mut self, control: &Control, back: [bool; 2]) {
        for (ipv6, version) in [(false, "IPv4"), (true, "IPv6")] {
            if back[usize::from(ipv6)]
                && let Some(over) = self.families.end(ipv6, self.received(control, ipv6), Instant::now())
            {
                control.record_family_outage(over);
                let (joined, seconds) = (control.membership_interface(), over.away.as_secs_f64());
                tracing::warn!("{joined}: {version} is back after {seconds:.3} s, and its groups are joined");
            }
        }
    }

    /// Datagrams of one IP version that were handed over.
    fn received(&self, control: &Control, ipv6: bool) -> u64 {
        control.delivered_by_family()[usize::from(ipv6)]
    }

    fn is_settling(&self) -> bool {
        self.settling.is_some_and(|until| Instant::now() < until)
    }

    /// Looks into the kernel's tables for memberships that are missing and for an older querier. The tables are long
    /// where many groups are joined: the time to read them is kept below a hundredth.
    fn look_at_tables(&mut self, control: &Control) {
        let settling = self.is_settling();
        if let Some((_, asked, took)) = &self.tables
            && asked.elapsed() < (if settling { RETRY / 2 } else { SECOND }).max(*took * 100)
        {
            return;
        }
        let start = Instant::now();
        // What changes while the files are read can be missing once.
        let mut missing = control.groups_missing_in_tables();
        missing.retain(|group| !self.families.is_away(group.is_ipv6()));
        let twice: BTreeSet<_> = missing.intersection(&self.missing_groups).copied().collect();
        self.missing_groups = missing;
        if let (Some(first), Ok(())) = (twice.first(), control.lose_groups(twice.clone())) {
            let (interface, count) = (control.membership_interface(), twice.len());
            let lost = format!(
                "{interface}: the kernel no longer has {count} of the groups that were joined, {first} among them; the \
                 receiver joins them again"
            );
            // Part of a recovery that was reported.
            if settling {
                tracing::info!("{lost}")
            } else {
                control.warn(lost)
            }
            self.settling = Some(Instant::now() + SETTLING);
        }
        let Ok(now) = compatibility(&control.membership_interface()) else { return };
        let warnings: Vec<_> =
            now.warnings(self.tables.as_ref().map(|(before, ..)| before)).iter().map(ToString::to_string).collect();
        for warning in warnings.iter().filter(|warning| !self.told.contains(warning)) {
            control.warn(warning.clone());
        }
        self.told = warnings;
        self.tables = Some((now, Instant::now(), start.elapsed()));
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
        self.families.sample(control.delivered_by_family(), now);
    }
}
