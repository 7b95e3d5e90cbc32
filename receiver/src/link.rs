//! Link life: the interface goes down and up, or is deleted and made again under a new index. Noticed by netlink; what the
//! kernel forgot is put back: the program, the sockets, the memberships. How long it took is booked.
//!
//! A link that only goes down keeps all of it (the kernel reports the groups again by itself). One that is deleted takes
//! the program, the AF_XDP sockets and the memberships with it, although the old descriptors stay open and say nothing.
//!
//! Another number of receive queues (`ethtool -L`) is looked for once a second, as not every kernel tells of it. The kernel
//! keeps the queues that have a socket; frames of the others take the kernel path, so that nothing is lost but speed.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::Control;
use crate::error::Error;
use crate::interface::Interface;
use crate::ledger::QueueCounters;
use crate::membership::querier::{Compatibility, compatibility};
use crate::shared::Shared;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (include/uapi/linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// How often the packet rate is looked at, for the estimate of what an outage cost.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long after a failed try to put things back the next one comes.
const RETRY: Duration = Duration::from_millis(100);

/// What link changes cost. Durations are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLedger {
    /// How often the link went away.
    pub outages: u64,
    /// How long it was away, in all, until packets could be received again.
    pub outage_milliseconds: u64,
    /// Of that, from the link's return until everything was put back.
    pub recovery_milliseconds: u64,
    /// The packet rate before each outage times its length: what it may have cost. An estimate; test streams tell exactly.
    pub missed_estimate: u64,
}

/// Where the link is.
#[derive(Debug)]
enum State {
    Up,
    /// Since when, the packet rate before, and since when it is back but not all is put back.
    Away {
        since: Instant,
        rate: f64,
        back: Option<Instant>,
    },
}

/// Begins to watch, in the calling thread's network namespace. The watch ends with the receiver.
pub(crate) fn watch(control: &Arc<Control>) -> Result<(), Error> {
    let shared = Arc::clone(control.shared());
    let weak = Arc::downgrade(control);
    let failed =
        |source| Error::Interface { name: control.interface().name, doing: "watch the link by netlink", source };
    let socket = subscribe().map_err(failed)?;
    std::thread::Builder::new()
        .name("receiver-link".into())
        .spawn(move || {
            Watch {
                shared,
                control: weak,
                socket,
                state: State::Up,
                sample: None,
                rate: 0.0,
                querier: None,
                told: Vec::new(),
            }
            .run()
        })
        .map_err(failed)?;
    Ok(())
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

struct Watch {
    shared: Arc<Shared>,
    control: Weak<Control>,
    socket: Socket,
    state: State,
    /// Packets handed over, and when that was read.
    sample: Option<(u64, Instant)>,
    rate: f64,
    /// What the kernel said of older queriers, when, and how long it took to ask.
    querier: Option<(Compatibility, Instant, Duration)>,
    /// What was told of that: not again while it lasts.
    told: Vec<String>,
}

impl Watch {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            let changed = match self.wait() {
                Ok(changed) => changed,
                Err(error) => {
                    tracing::warn!("the link is no longer watched: {error}");
                    return;
                }
            };
            let Some(control) = self.control.upgrade() else { return };
            if changed || matches!(self.state, State::Away { .. }) {
                self.check(&control);
            } else {
                self.take_sample();
                look_at_queues(&control);
                self.ask_for_queriers(&control);
            }
        }
    }

    /// Waits for news of any link, the next sample, or the next try. Tells whether there was news.
    fn wait(&self) -> io::Result<bool> {
        let timeout = match self.state {
            State::Up => SAMPLE,
            State::Away { .. } => RETRY,
        };
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [
            PollFd::from_borrowed_fd(self.shared.stop_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut changed = false;
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                // News was lost because too much came: look all the same.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn check(&mut self, control: &Arc<Control>) {
        let known = control.interface();
        let now = Interface::lookup(&known.name).ok();
        let usable = now.filter(|now| now.up && now.carrier);
        match (&mut self.state, usable) {
            (State::Up, Some(now)) if now.index == known.index => {}
            (State::Up, now) => {
                tracing::warn!("{}: the link went away", known.name);
                self.state =
                    State::Away { since: Instant::now(), rate: self.rate, back: now.as_ref().map(|_| Instant::now()) };
                if let Some(now) = now {
                    self.put_back(control, &known, now);
                }
            }
            (State::Away { back, .. }, Some(now)) => {
                back.get_or_insert_with(Instant::now);
                self.put_back(control, &known, now);
            }
            (State::Away { back, .. }, None) => *back = None,
        }
    }

    /// The link is there: makes everything as it was, and books the outage.
    fn put_back(&mut self, control: &Arc<Control>, known: &Interface, now: Interface) {
        let State::Away { since, rate, back } = self.state else { return };
        let recreated = now.index != known.index;
        let lost_program = control.has_program() && now.xdp_program.is_none();
        if (recreated || lost_program)
            && let Err(error) = control.relink(&now)
        {
            tracing::warn!("{}: the link is back, but not yet the receiver: {error}", known.name);
            return;
        }
        let away = since.elapsed();
        let recovery = back.map_or(Duration::ZERO, |back| back.elapsed());
        control.book_outage(away, recovery, (rate * away.as_secs_f64()) as u64);
        let how = if recreated { " under a new index" } else { "" };
        tracing::warn!(
            "{}: the link is back{how}; away for {:.3} s, put back in {:.3} s",
            known.name,
            away.as_secs_f64(),
            recovery.as_secs_f64()
        );
        self.state = State::Up;
        self.sample = None;
    }

    /// Tells of an older querier on the link once it shows. The kernel's tables are long where many groups are joined: the
    /// time to read them is kept below a hundredth.
    fn ask_for_queriers(&mut self, control: &Control) {
        if let Some((_, asked, took)) = &self.querier
            && asked.elapsed() < SAMPLE.max(*took * 100)
        {
            return;
        }
        let start = Instant::now();
        let Ok(now) = compatibility(&control.membership_interface()) else { return };
        let warnings: Vec<_> =
            now.warnings(self.querier.as_ref().map(|(before, ..)| before)).iter().map(ToString::to_string).collect();
        for warning in warnings.iter().filter(|warning| !self.told.contains(warning)) {
            control.warn(warning.clone());
        }
        self.told = warnings;
        self.querier = Some((now, Instant::now(), start.elapsed()));
    }

    fn take_sample(&mut self) {
        let delivered = |counters: &QueueCounters| counters.delivered.load(std::sync::atomic::Ordering::Relaxed);
        let total = self.shared.cells.iter().map(|cell| delivered(&cell.counters)).sum::<u64>()
            + delivered(&self.shared.kernel.counters);
        let now = Instant::now();
        if let Some((before, then)) = self.sample {
            let seconds = now.duration_since(then).as_secs_f64();
            if seconds < SAMPLE.as_secs_f64() / 2.0 {
                return;
            }
            self.rate = total.saturating_sub(before) as f64 / seconds;
        }
        self.sample = Some((total, now));
    }
}

/// Tells of a changed number of receive queues.
fn look_at_queues(control: &Control) {
    let known = control.interface();
    let Some(now) = known.queues_now().filter(|now| *now != known.queues) else { return };
    control.set_queues(now);
    let cells = &control.shared().cells;
    let served: Vec<u32> = cells.iter().filter(|cell| cell.is_served()).map(|cell| cell.queue).collect();
    if let Some(news) = queue_news(&known.name, known.queues, now, &served) {
        control.warn(news);
    }
}

/// What a change of the number of queues means for a receiver with sockets on these; nothing for one without.
fn queue_news(name: &str, before: u32, now: u32, served: &[u32]) -> Option<String> {
    let there = served.iter().filter(|&&queue| queue < now).count();
    if served.is_empty() {
        return None;
    }
    let change = format!("{name} has {now} receive queues now, {before} before");
    Some(match (served.len() - there, now as usize - there) {
        (0, 0) => format!("{change}; each has its AF_XDP socket"),
        (0, others) => format!(
            "{change}; {others} have no AF_XDP socket, and what comes there takes the slower kernel path: start the receiver \
             anew to serve them, or steer the streams (`ethtool -X`, `ethtool -N`)"
        ),
        (gone, _) => format!(
            "{change}; {gone} of those that had an AF_XDP socket are gone, and their streams come by the other queues: start \
             the receiver anew to serve them as they are"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::queue_news;

    #[test]
    fn a_changed_number_of_queues_is_told_with_what_it_means() {
        let news = |before, now, served: &[u32]| queue_news("eth7", before, now, served).unwrap_or_default();
        assert!(news(1, 4, &[0]).starts_with("eth7 has 4 receive queues now, 1 before; 3 have no AF_XDP socket"));
        assert!(news(4, 2, &[0, 1]).ends_with("each has its AF_XDP socket"));
        assert!(news(4, 2, &[0, 3]).contains("1 of those that had an AF_XDP socket are gone"));
        assert_eq!(queue_news("eth7", 4, 2, &[]), None, "mode socket has nothing to do with queues");
    }
}
