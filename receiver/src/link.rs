//! Link life: the interface goes down and up, leaves and comes back, is made again, or loses what the receiver has on it. A
//! thread notices by netlink and by a look each second, has [`Control`] put back what is missing, and records how long it
//! took.
//!
//! A link that only goes down keeps all of it (the kernel reports the groups again by itself). One that is deleted, or moves
//! to another network namespace, takes the AF_XDP sockets and the memberships with it, although the old descriptors stay
//! open and say nothing. Its index does not tell: it can come back with the same one. What tells are netlink's messages, and
//! each part when it is asked. No message tells of a program that somebody detached, and not every kernel of another number
//! of receive queues (`ethtool -L`): that is what the look is for.

mod events;
mod outage;
mod warnings;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::events::{Event, Events};
pub use self::outage::LinkLedger;
use self::outage::Outages;
pub(crate) use self::outage::Over;
use crate::control::Control;
use crate::error::Error;
use crate::interface::{Interface, Look};
use crate::ledger::QueueCounters;
use crate::membership::querier::{Compatibility, compatibility};
use crate::shared::Shared;

/// How often a look is taken at the link, and at the packet rate for the estimate of what an outage cost.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failed try to put things back the next one comes.
const RETRY: Duration = Duration::from_millis(100);
/// How long after memberships were put back the kernel's tables are looked at each [`RETRY`]. Linux can lose the sources of
/// an IPv6 group that is joined while its device comes up (seen with 6.18).
const SETTLING: Duration = Duration::from_secs(2);
/// How often messages are taken in before a look counts, where they keep coming.
const ROUNDS: usize = 16;

/// Begins to watch, in the calling thread's network namespace. The watch ends with the receiver.
pub(crate) fn watch(control: &Arc<Control>) -> Result<(), Error> {
    let known = control.interface();
    let failed = |source| Error::Interface { name: known.name.clone(), doing: "watch the link by netlink", source };
    let events = Events::subscribe().map_err(failed)?;
    let carrier_downs = Look::at(known.index)?.and_then(|look| look.carrier_downs);
    let watch = Watch {
        shared: Arc::clone(control.shared()),
        control: Arc::downgrade(control),
        events,
        outages: Outages::new(carrier_downs),
        gone: false,
        complete: Instant::now(),
        failure: None,
        family_away: [None, None],
        settling: None,
        missing_groups: BTreeSet::new(),
        sample: None,
        rate: 0.0,
        tables: None,
        told: Vec::new(),
    };
    std::thread::Builder::new().name("receiver-link".into()).spawn(move || watch.run()).map_err(failed)?;
    Ok(())
}

struct Watch {
    shared: Arc<Shared>,
    control: Weak<Control>,
    events: Events,
    outages: Outages,
    /// The device went: what has its index now, if anything, is another one.
    gone: bool,
    /// When all was last seen to be in its place.
    complete: Instant,
    /// Why things could not be put back: not told again while it lasts.
    failure: Option<String>,
    /// Why IPv4 and IPv6 are away, as was told.
    family_away: [Option<String>; 2],
    /// Until when memberships that were put back are looked at more often.
    settling: Option<Instant>,
    /// What the last look missed in the kernel's tables.
    missing_groups: BTreeSet<IpAddr>,
    /// Packets handed over, and when that was read.
    sample: Option<(u64, Instant)>,
    rate: f64,
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
                self.take_sample();
                self.look_at_tables(&control);
            }
        }
    }

    /// Waits for a message, the next look, or the next try.
    fn wait(&self) -> Result<(), rustix::io::Errno> {
        let timeout = if self.outages.is_away() || self.is_settling() { RETRY } else { LOOK };
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [
            PollFd::from_borrowed_fd(self.shared.stop_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes in what netlink tells, looks at the link, and puts back what is missing.
    fn check(&mut self, control: &Control) -> Result<(), Error> {
        let mut look = None;
        for _ in 0..ROUNDS {
            let failed = |source| Error::Interface {
                name: control.interface().name,
                doing: "hear of the link by netlink",
                source,
            };
            let events = self.events.take().map_err(failed)?;
            // A look that no message follows is newer than all that was told.
            if events.is_empty() && look.is_some() {
                break;
            }
            for event in events {
                self.follow(control, event)?;
            }
            look = Some(self.look(control)?);
        }
        let Some(look) = look.flatten() else {
            self.outages.begin(Instant::now(), self.rate);
            self.outages.look(false);
            return Ok(());
        };
        if !look.interface.is_usable() {
            if !self.outages.is_away() {
                tracing::warn!("{}: the link went away", look.interface.name);
            }
            self.outages.begin(Instant::now(), self.rate);
            self.outages.look(false);
            return Ok(());
        }
        self.outages.look(true);
        self.put_back(control, &look)
    }

    /// One message of netlink.
    fn follow(&mut self, control: &Control, event: Event) -> Result<(), Error> {
        let (interface, joined) = (control.interface(), control.membership_interface().index);
        match event {
            Event::Changed { index, usable, carrier_downs } if index == interface.index && !self.gone => {
                let was_away = self.outages.is_away();
                self.outages.observe(usable, carrier_downs, self.rate);
                if self.outages.is_away() && !was_away {
                    tracing::warn!("{}: the link went away", interface.name);
                }
            }
            Event::Gone { index } if index == interface.index && !self.gone => self.lose_device(control, &interface)?,
            Event::Gone { index } if index == joined => {
                control.lose_family(false)?;
                control.lose_family(true)?;
            }
            Event::FamilyGone { index, ipv6 } if index == joined => control.lose_family(ipv6)?,
            Event::Overrun if !self.gone => {
                if let Some(look) = Look::at(interface.index)? {
                    self.outages.observe(look.interface.is_usable(), look.carrier_downs, self.rate);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn lose_device(&mut self, control: &Control, interface: &Interface) -> Result<(), Error> {
        tracing::warn!("{}: the interface is gone", interface.name);
        self.outages.begin(Instant::now(), self.rate);
        self.gone = true;
        control.let_go()
    }

    /// The interface as it is now: by its index, so that a new name makes no difference, until it is gone; then by its name.
    fn look(&mut self, control: &Control) -> Result<Option<Look>, Error> {
        let known = control.interface();
        if !self.gone {
            match Look::at(known.index)? {
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
            Ok(interface) => Look::at(interface.index),
            Err(Error::UnknownInterface { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link is there: makes everything as it was, and records the outage.
    fn put_back(&mut self, control: &Control, look: &Look) -> Result<(), Error> {
        let known = control.interface();
        let name = &look.interface.name;
        self.look_at_families(control, look)?;
        let missing = control.missing(look)?;
        if missing.program || missing.sockets {
            if !self.outages.is_away() {
                control.warn(format!(
                    "{name}: {} by somebody else; the receiver puts it back",
                    if missing.program { "the XDP program was detached" } else { "the AF_XDP sockets were unbound" }
                ));
                // Until now the streams may have come by the kernel path: nothing is estimated to be missed.
                self.outages.begin(self.complete, 0.0);
            }
            self.outages.look(true);
        }
        if missing != Default::default() || look.interface.index != known.index {
            control.restore(look)?;
            self.settling = missing.memberships.then(|| Instant::now() + SETTLING);
        }
        if self.gone {
            self.gone = false;
            self.outages.change_device(look.carrier_downs);
        }
        if look.interface.queues != known.queues {
            self.report_queues(control, known.queues, &look.interface);
        }
        if look.interface.mtu != known.mtu && control.set_mtu(look.interface.mtu) {
            control.warn(warnings::too_long(name, look.interface.mtu, control.single_buffer_mtu()));
        }
        self.failure = None;
        self.complete = Instant::now();
        let was_away = self.outages.is_away();
        let Some(over) = self.outages.end() else { return Ok(()) };
        control.record_outages(over);
        self.sample = None;
        let how = if look.interface.index != known.index { " under a new index" } else { "" };
        match was_away {
            true => tracing::warn!(
                "{name}: the link is back{how}; away for {:.3} s, put back in {:.3} s",
                over.away.as_secs_f64(),
                over.recovery.as_secs_f64()
            ),
            false => tracing::warn!("{name}: the link went away and came back at once, {} times", over.count),
        }
        Ok(())
    }

    /// Reports what keeps the receiver from being put back, once.
    fn report_failure(&mut self, control: &Control, error: &Error) {
        let text = error.to_string();
        if self.failure.as_ref() != Some(&text) {
            control.warn(format!(
                "{}: the receiver can not be put back on the link, and tries again: {text}",
                control.interface().name
            ));
            self.failure = Some(text);
        }
    }

    fn report_queues(&self, control: &Control, before: u32, interface: &Interface) {
        control.set_queues(interface.queues);
        let served: Vec<u32> =
            self.shared.cells.iter().filter(|cell| cell.is_served()).map(|cell| cell.queue).collect();
        if let Some(warning) = warnings::queues(&interface.name, before, interface.queues, &served) {
            control.warn(warning);
        }
    }

    /// Reports an IP version that went or came back, if a subscription needs it.
    fn look_at_families(&mut self, control: &Control, look: &Look) -> Result<(), Error> {
        let families = control.joined_families(look)?;
        let joined = control.membership_interface();
        for (told, ipv6) in self.family_away.iter_mut().zip([false, true]) {
            let away =
                warnings::family(&joined.name, ipv6, look.interface.mtu, families).filter(|_| control.has_family(ipv6));
            if away == *told {
                continue;
            }
            match &away {
                Some(warning) => control.warn(warning.clone()),
                None => {
                    tracing::warn!("{joined}: {} is back, and so are its groups", if ipv6 { "IPv6" } else { "IPv4" })
                }
            }
            *told = away;
        }
        Ok(())
    }

    fn is_settling(&self) -> bool {
        self.settling.is_some_and(|until| Instant::now() < until)
    }

    /// Looks into the kernel's tables for memberships that are missing and for an older querier. The tables are long where
    /// many groups are joined: the time to read them is kept below a hundredth.
    fn look_at_tables(&mut self, control: &Control) {
        let settling = self.is_settling();
        if let Some((_, asked, took)) = &self.tables
            && asked.elapsed() < (if settling { RETRY / 2 } else { LOOK }).max(*took * 100)
        {
            return;
        }
        let start = Instant::now();
        // What changes while the files are read can be missing once.
        let missing = control.groups_missing_in_tables();
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

    fn take_sample(&mut self) {
        let delivered = |counters: &QueueCounters| counters.delivered.load(std::sync::atomic::Ordering::Relaxed);
        let total = self.shared.cells.iter().map(|cell| delivered(&cell.counters)).sum::<u64>()
            + delivered(&self.shared.kernel.counters);
        let now = Instant::now();
        if let Some((before, then)) = self.sample {
            let seconds = now.duration_since(then).as_secs_f64();
            if seconds < LOOK.as_secs_f64() / 2.0 {
                return;
            }
            self.rate = total.saturating_sub(before) as f64 / seconds;
        }
        self.sample = Some((total, now));
    }
}
