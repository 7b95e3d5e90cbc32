//! From the configuration to open sockets, packets in time, and the report.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use receiver_feed::protocol::{Protocol, StreamKey};

use super::build::{Builder, Counts, Draft, Sizes};
use super::config::FeedConfig;
use super::exit::Exit;
use super::plan::{Planned, Planner};
use super::queue::Queue;
use super::report::{FeedSent, LegSent, StreamSent};
use super::span::Span;
use crate::error::SendError;
use crate::impair::Fate;
use crate::link::Link;
use crate::probe::now_ns;
use crate::random::{Purpose, Random};
use crate::schedule::{LONGEST_SLEEP, MAX_BEHIND, Schedule};

/// Messages that are made before packets leave, without a rate.
const BURST: u64 = 64;
/// Messages that are made at once after a delay.
const CATCH_UP: u64 = 256;
/// A full queue of the kernel is waited for this long after a stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// A feed that is ready to be sent: all is checked, and every socket is open.
#[derive(Debug)]
#[must_use = "nothing is sent before `run`"]
pub struct FeedSender {
    config: FeedConfig,
    builder: Box<dyn Builder>,
    sizes: Sizes,
    planner: Planner,
    legs: Vec<Leg>,
    streams: Vec<Stream>,
    first: u64,
    retries: u64,
}

#[derive(Debug)]
struct Leg {
    exit: Exit,
    queue: Queue,
    lost: u64,
    reordered: u64,
    duplicates: u64,
    heartbeats: u64,
}

#[derive(Debug)]
struct Stream {
    key: StreamKey,
    /// When its last packet was made.
    last_ns: u64,
}

/// The time of one turn of the loop.
#[derive(Clone, Copy)]
struct Now {
    /// Since the start.
    elapsed: Duration,
    ns: u64,
    utc_ns: u64,
    tai_ns: u64,
}

impl Now {
    fn since(start: Instant) -> Self {
        let elapsed = start.elapsed();
        let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { elapsed, ns: elapsed.as_nanos() as u64, utc_ns: utc.as_nanos() as u64, tai_ns: now_ns() }
    }
}

impl FeedSender {
    /// Checks the configuration, then the interface, then opens the sockets, all in the network namespace of the
    /// calling thread. Sources that the interface does not own and VLAN tags need CAP_NET_RAW.
    ///
    /// # Errors
    /// Any [`SendError`] but [`SendError::Send`].
    pub fn new(config: FeedConfig) -> Result<Self, SendError> {
        let builder = config.checked()?;
        let limits = builder.limits();
        let link = Link::find(&config.interface)?;
        link.require_carrier()?;
        let (span, packing) = (config.size(&limits), config.packing(&limits));
        let longest = limits.longest(packing, span);
        let leg = |(number, leg)| {
            let exit = Exit::open(&config, &link, leg, longest)?;
            let queue = Queue::new(config.seed, number, &leg.impairment);
            Ok(Leg { exit, queue, lost: 0, reordered: 0, duplicates: 0, heartbeats: 0 })
        };
        let legs = config.legs.iter().enumerate().map(leg).collect::<Result<Vec<Leg>, SendError>>()?;
        // Another run must have other sessions, so that a receiver does not take it for the past of this one.
        let session = config.session.unwrap_or_else(|| RandomState::new().build_hasher().finish() as u32);
        let stream = |number| Stream { key: builder.key(number, session), last_ns: 0 };
        let sizes = Sizes { random: Random::new(config.seed, Purpose::Size, 0), span, packing };
        let sequence = if limits.counts == Counts::Messages { packing } else { Span::one(1) };
        Ok(Self {
            planner: Planner::new(&config, sequence, sizes),
            streams: (0..config.streams).map(stream).collect(),
            first: config.first_sequence.unwrap_or(limits.sequence.0),
            builder,
            sizes,
            legs,
            config,
            retries: 0,
        })
    }

    /// Sends until the count, the duration or `stop` ends it, and reports what was sent. Reads `stop` at least every
    /// 0.1 s.
    ///
    /// # Errors
    /// [`SendError::Send`] if the kernel refuses for another reason than a full queue.
    pub fn run(mut self, stop: &AtomicBool) -> Result<FeedSent, SendError> {
        let start = Instant::now();
        let mut schedule = (self.config.rate > 0).then(|| Schedule::new(self.config.rate, 1, 1));
        let (mut stopped_at, mut last, mut ended, mut incomplete) = (None, Duration::ZERO, false, false);
        while !incomplete {
            let now = Now::since(start);
            if stopped_at.is_none() && self.planner.left() > 0 && stop.load(Ordering::Relaxed) {
                stopped_at = Some(now.elapsed);
            }
            let is_over = stopped_at.is_some() || self.is_over(now.elapsed);
            if is_over && self.planner.left() > 0 {
                self.make(now, None);
            } else if !is_over {
                let due = schedule.as_mut().map_or(BURST, |schedule| schedule.due(now.elapsed)).min(CATCH_UP);
                let made = self.make(now, Some(due));
                if let Some(schedule) = &mut schedule {
                    schedule.sent(made);
                }
            }
            if self.planner.left() == 0 {
                if !std::mem::replace(&mut ended, true) {
                    self.end(now);
                }
            } else {
                self.keep_alive(now);
            }
            let gives_up = || stopped_at.is_some_and(|at| start.elapsed() > at + PATIENCE);
            let before = self.packets();
            incomplete = !self.send(now, &gives_up)?;
            if self.packets() > before {
                last = start.elapsed();
            }
            if ended && self.legs.iter().all(|leg| leg.queue.is_empty()) {
                break;
            }
            self.sleep(start.elapsed(), schedule.as_ref());
        }
        let slipped = schedule.map_or(0, |schedule| schedule.slipped());
        Ok(FeedSent { slipped, stopped: stopped_at.is_some(), incomplete, ..self.report(last.as_secs_f64()) })
    }

    fn packets(&self) -> u64 {
        self.legs.iter().map(|leg| leg.exit.packets).sum()
    }

    /// Returns true if the time is over. At a rate the duration is a count, which a slow sender does not reach in time.
    fn is_over(&self, elapsed: Duration) -> bool {
        let grace = if self.config.rate > 0 { MAX_BEHIND } else { Duration::ZERO };
        self.config.duration.is_some_and(|duration| elapsed >= duration.saturating_add(grace))
    }

    /// Makes messages, as far as there is room for their packets, or the last ones. Returns how many.
    fn make(&mut self, now: Now, messages: Option<u64>) -> u64 {
        let Self { planner, legs, streams, builder, sizes, first, .. } = self;
        let before = planner.left();
        // Each message completes one packet of a leg at most, which is there twice at most.
        let room = legs.iter().map(|leg| leg.queue.room()).min().unwrap_or(0) as u64 / 2;
        let mut packet = |packet: Planned| {
            let (leg, stream) = (&mut legs[packet.leg], &mut streams[packet.stream]);
            stream.last_ns = now.ns;
            match packet.fate {
                Fate::Lost => {
                    leg.lost += 1;
                    return;
                }
                Fate::HeldBack => leg.reordered += 1,
                Fate::Twice => leg.duplicates += 1,
                Fate::Sent => {}
            }
            let draft = Draft {
                key: stream.key,
                stream: packet.stream as u32,
                first: first.wrapping_add(packet.position),
                position: packet.position,
                count: packet.count,
                offset: packet.offset,
                utc_ns: now.utc_ns,
                tai_ns: now.tai_ns,
                sizes,
            };
            let mut bytes = leg.queue.buffer();
            bytes.resize(leg.exit.headroom(), 0);
            builder.data(&mut bytes, &draft);
            leg.exit.complete(&mut bytes);
            leg.queue.push(now.ns, packet.stream, packet.fate, bytes);
            if packet.is_last {
                leg.queue.end(now.ns, packet.stream);
            }
        };
        match messages {
            Some(messages) => planner.advance(messages.min(room), &mut packet),
            None => planner.finish(&mut packet),
        }
        before.saturating_sub(planner.left())
    }

    /// Ends each stream on each leg.
    fn end(&mut self, now: Now) {
        for stream in 0..self.streams.len() {
            for leg in 0..self.legs.len() {
                self.beat(now, leg, stream, true);
            }
        }
    }

    /// Sends a heartbeat where nothing was sent for a while.
    fn keep_alive(&mut self, now: Now) {
        let Some(every) = self.config.heartbeat else { return };
        let every = every.as_nanos() as u64;
        for stream in 0..self.streams.len() {
            if now.ns.saturating_sub(self.streams[stream].last_ns) < every {
                continue;
            }
            self.streams[stream].last_ns = now.ns;
            for leg in 0..self.legs.len() {
                self.beat(now, leg, stream, false);
            }
        }
    }

    /// A heartbeat, or the end of the session.
    fn beat(&mut self, now: Now, number: usize, stream: usize, is_end: bool) {
        let Self { planner, legs, streams, builder, sizes, first, .. } = self;
        let leg = &mut legs[number];
        let (position, was_lost) = planner.next(number, stream);
        // A heartbeat may repeat the last sequence number, which must not undo a loss.
        if position == 0 || was_lost {
            return;
        }
        let draft = Draft {
            key: streams[stream].key,
            stream: stream as u32,
            first: first.wrapping_add(position),
            position,
            count: 0,
            offset: 0,
            utc_ns: now.utc_ns,
            tai_ns: now.tai_ns,
            sizes,
        };
        let mut bytes = leg.queue.buffer();
        bytes.resize(leg.exit.headroom(), 0);
        let is_made = if is_end { builder.end(&mut bytes, &draft) } else { builder.heartbeat(&mut bytes, &draft) };
        if is_made {
            leg.heartbeats += 1;
            leg.exit.complete(&mut bytes);
            leg.queue.push_aside(now.ns, bytes);
        }
    }

    /// Sends what is due on each leg. Returns false if it gave up.
    fn send(&mut self, now: Now, gives_up: &dyn Fn() -> bool) -> Result<bool, SendError> {
        for leg in &mut self.legs {
            let Leg { exit, queue, .. } = leg;
            if !exit.send(queue, now.ns, &self.config.interface, &mut self.retries, gives_up)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sleeps until there is something to do.
    fn sleep(&self, elapsed: Duration, schedule: Option<&Schedule>) {
        let due = self.legs.iter().filter_map(|leg| leg.queue.due_ns()).min().map(Duration::from_nanos);
        let is_making = self.planner.left() > 0;
        let made = match schedule {
            _ if !is_making => None,
            // Packets that are due within 0.1 ms leave together.
            Some(schedule) => Some(schedule.next((self.config.rate / 10_000).clamp(1, BURST) as usize)),
            None if self.legs.iter().all(|leg| leg.queue.room() >= 2) => return,
            None => None,
        };
        let next = due.into_iter().chain(made).min().unwrap_or(Duration::MAX);
        let time = next.saturating_sub(elapsed).min(LONGEST_SLEEP).min(self.config.heartbeat.unwrap_or(Duration::MAX));
        if !time.is_zero() {
            thread::sleep(time);
        }
    }

    fn report(&self, elapsed_seconds: f64) -> FeedSent {
        let (planner, config) = (&self.planner, &self.config);
        let legs = self.legs.iter().zip(&config.legs).enumerate().map(|(number, (leg, of))| {
            let gaps = || (0..self.streams.len()).map(|stream| planner.lost_on(number, stream));
            LegSent {
                source: leg.exit.source,
                group: of.group,
                port: of.port,
                way: leg.exit.way(),
                packets: leg.exit.packets,
                bytes: leg.exit.bytes,
                heartbeats: leg.heartbeats,
                lost: leg.lost,
                missing: gaps().map(|gaps| gaps.missing).sum(),
                gaps: gaps().map(|gaps| gaps.gaps).sum(),
                longest_gap: gaps().map(|gaps| gaps.longest).max().unwrap_or(0),
                reordered: leg.reordered,
                duplicates: leg.duplicates,
            }
        });
        let streams = self.streams.iter().enumerate().map(|(number, stream)| {
            let (made, lost) = (planner.made(number), planner.lost(number));
            let range = |range: &(u64, u64)| (self.first.wrapping_add(range.0), self.first.wrapping_add(range.1 - 1));
            StreamSent {
                stream: config.protocol.stream_name(stream.key),
                messages: made,
                first_sequence: self.first,
                next_sequence: self.first.wrapping_add(made),
                missing: lost.missing,
                gaps: lost.gaps,
                longest_gap: lost.longest,
                missing_ranges: lost.listed.iter().map(range).collect(),
            }
        });
        let (legs, streams): (Vec<LegSent>, Vec<StreamSent>) = (legs.collect(), streams.collect());
        let sum = |count: fn(&StreamSent) -> u64| streams.iter().map(count).sum::<u64>();
        let messages = sum(|stream| stream.messages);
        FeedSent {
            interface: config.interface.clone(),
            feed: config.protocol.name(),
            seed: config.seed,
            messages,
            missing: sum(|stream| stream.missing),
            gaps: sum(|stream| stream.gaps),
            elapsed_seconds,
            messages_per_second: if elapsed_seconds > 0.0 { messages as f64 / elapsed_seconds } else { 0.0 },
            rate: config.rate,
            slipped: 0,
            retries: self.retries,
            stopped: false,
            incomplete: false,
            legs,
            streams,
        }
    }
}
