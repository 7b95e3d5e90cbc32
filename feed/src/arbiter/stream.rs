//! One stream: its position, what is held ahead of it, and what is missing behind it. `place.rs` decides which
//! numbering a datagram belongs to; `renumber.rs` changes from one numbering to the next.

mod place;
mod renumber;

use super::config::Config;
use super::cursor::{Cursor, LegCursor};
use super::epoch::Upcoming;
use super::event::{Data, Delivery, Event, Gap, Hold, LegId, LegLoss, Payload, State, StreamId};
use super::held::{Held, HeldDatagram};
use super::lag::Sampled;
use super::leg::{Leg, Place};
use super::media::MediaClock;
use super::ranges::Ranges;
use super::shared::{Belongs, Shared};
use super::statistics::StreamStatistics;
use crate::protocol::{Kind, Packet};

/// Declared gaps that are remembered for late fills.
const MAX_MISSING: usize = 1024;
/// Sweeps in a row after which a leg that stays behind is lost.
const BEHIND: u8 = 2;

/// One stream: what each datagram touches, and the rest.
#[derive(Debug)]
pub(super) struct Stream<'a, H> {
    pub(super) id: StreamId,
    pub(super) cursor: &'a mut Cursor,
    /// One per leg.
    pub(super) legs: &'a mut [LegCursor],
    /// The next sequence number to deliver, at the sweep before.
    pub(super) swept_next: &'a mut u64,
    pub(super) rest: &'a mut Rest<H>,
}

/// What is rarely needed of a stream.
#[derive(Clone, Debug)]
pub(super) struct Rest<H> {
    pub(super) legs: Box<[Leg]>,
    /// Without what the legs' cursors tallied.
    statistics: StreamStatistics,
    /// When its timer is set for.
    pub(super) armed: Option<u64>,
    started: bool,
    epoch_since_ns: u64,
    /// Sending time of the datagram that began the epoch.
    reset_sent_ns: u64,
    held: Held<H>,
    /// What heartbeats have announced beyond all that arrived.
    tail: Option<Tail>,
    /// Declared gaps, open to a late fill.
    missing: Ranges,
    upcoming: Option<Upcoming<H>>,
    ended: Option<u64>,
    end_reported: bool,
    stale: bool,
    media: MediaClock,
}

// What the documentation of the arbiter promises.
const _: () = assert!(size_of::<Rest<bytes::Bytes>>() <= 512 && size_of::<Leg>() <= 116);

/// What is missing at the end, where nothing later has arrived.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// When it was noticed.
    since_ns: u64,
    /// One above the last sequence number that was announced then. What is announced later is waited for anew once
    /// this has come.
    end: u64,
}

/// One arrival.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    leg: LegId,
    first: u64,
    end: u64,
    now_ns: u64,
}

impl<H> Rest<H> {
    pub(super) fn new(legs: usize, now_ns: u64) -> Self {
        Self {
            legs: vec![Leg::default(); legs].into_boxed_slice(),
            statistics: StreamStatistics::default(),
            armed: None,
            started: false,
            epoch_since_ns: now_ns,
            reset_sent_ns: 0,
            held: Held::default(),
            tail: None,
            missing: Ranges::default(),
            upcoming: None,
            ended: None,
            end_reported: false,
            stale: false,
            media: MediaClock::default(),
        }
    }

    pub(super) fn state(&self, cursor: &Cursor) -> State {
        if self.stale {
            State::Stale
        } else if cursor.next < cursor.horizon || !self.missing.is_empty() || self.upcoming.is_some() {
            State::Recovering
        } else {
            State::Live
        }
    }

    /// The counters, with the gauges of now.
    pub(super) fn snapshot(&self, cursor: &Cursor, legs: &[LegCursor]) -> StreamStatistics {
        let held = self.held.len() + self.upcoming.as_ref().map_or(0, |upcoming| upcoming.held.len());
        let mut statistics = StreamStatistics { next_sequence: cursor.next, held: held as u64, ..self.statistics };
        for leg in legs {
            statistics.datagrams += leg.tally.datagrams;
            statistics.delivered += leg.tally.delivered;
            statistics.duplicates += leg.tally.copies;
        }
        statistics
    }
}

impl<H: AsRef<[u8]> + Clone> Stream<'_, H> {
    pub(super) fn state(&self) -> State {
        self.rest.state(self.cursor)
    }

    /// When the last datagram arrived, on any leg.
    fn last_ns(&self) -> u64 {
        self.legs.iter().map(|leg| leg.last_ns).max().unwrap_or(0)
    }

    /// Returns true if the next datagram concerns the cursors alone.
    pub(super) fn is_plain(&self) -> bool {
        let Rest { started, stale, upcoming, ended, media, .. } = &*self.rest;
        let steady = *started && !*stale && upcoming.is_none() && ended.is_none() && !media.awaits_first();
        steady && self.cursor.next == self.cursor.horizon
    }

    /// The time after which [`Stream::tick`] has something to do.
    pub(super) fn deadline(&self, config: &Config) -> Option<u64> {
        let gap = self.front_gap(false).map(|gap| gap.since_ns.saturating_add(config.window_ns));
        let upcoming = self.rest.upcoming.as_ref().filter(|upcoming| !upcoming.astray).map(|upcoming| {
            let wait = if upcoming.confirmed() { config.window_ns } else { config.leg_timeout_ns };
            upcoming.since_ns.saturating_add(wait)
        });
        let missing = self.rest.missing.first().map(|gap| recovery_end(config, gap));
        [gap, upcoming, missing].into_iter().flatten().min()
    }

    /// Gaps whose time is over, and new numberings.
    pub(super) fn tick<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        self.settle(shared, now_ns, sink);
        self.advance_epoch(shared, now_ns, sink);
        self.expire(shared.config, now_ns, sink);
    }

    /// Silent legs, legs that stay behind, and staleness. Returns true if more than the legs was concerned. Of a plain
    /// stream it reads the cursors alone.
    pub(super) fn sweep<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) -> bool {
        let (moved, last_ns) = (self.cursor.next > *self.swept_next, self.last_ns());
        for index in 0..self.legs.len() {
            let cursor = &mut self.legs[index];
            let id = LegId::new(index as u8);
            if cursor.lost.is_none() && last_ns.saturating_sub(cursor.last_ns) > shared.config.leg_timeout_ns {
                self.lose(id, LegLoss::Silent, sink);
                continue;
            }
            let behind = cursor.epoch == Some(self.cursor.epoch) && cursor.next <= *self.swept_next && moved;
            // A leg that has fallen silent is not behind: it is lost as silent once its time is over.
            let sends = now_ns.saturating_sub(cursor.last_ns) <= shared.config.sweep_ns();
            cursor.behind = if behind { cursor.behind.saturating_add(u8::from(sends)) } else { 0 };
            if cursor.behind >= BEHIND && cursor.lost.is_none() {
                self.lose(id, LegLoss::Behind, sink);
            } else if !behind && moved && cursor.lost == Some(LegLoss::Behind) {
                self.regain(id, sink);
            }
        }
        *self.swept_next = self.cursor.next;
        if self.cursor.plain
            && self.cursor.state == State::Live
            && now_ns.saturating_sub(last_ns) <= shared.config.stale_ns
        {
            return false;
        }
        if self.rest.started && !self.rest.stale && now_ns.saturating_sub(last_ns) > shared.config.stale_ns {
            self.rest.stale = true;
            self.emit(sink, Event::Stale { since_ns: last_ns });
        }
        self.tick(shared, now_ns, sink);
        true
    }

    #[cold]
    fn lose<L>(&mut self, leg: LegId, loss: LegLoss, sink: &mut impl FnMut(Delivery<L, H>)) {
        self.legs[leg.index()].lost = Some(loss);
        self.rest.legs[leg.index()].statistics.outages += 1;
        self.emit(sink, Event::LegLost { leg, loss });
    }

    #[cold]
    fn regain<L>(&mut self, leg: LegId, sink: &mut impl FnMut(Delivery<L, H>)) {
        (self.legs[leg.index()].lost, self.legs[leg.index()].behind) = (None, 0);
        self.emit(sink, Event::LegBack { leg });
    }

    #[inline]
    fn emit<L>(&self, sink: &mut impl FnMut(Delivery<L, H>), event: Event<L, H>) {
        sink(Delivery::new(self.id, self.state(), event));
    }

    /// Takes a datagram that [`Cursor::take`] did not.
    #[cold]
    #[inline(never)]
    pub(super) fn take<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        leg: LegId,
        now_ns: u64,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        self.rest.statistics.datagrams += 1;
        self.rest.stale = false;
        let cursor = &mut self.legs[leg.index()];
        cursor.last_ns = cursor.last_ns.max(now_ns);
        let count = u64::from(packet.count);
        let follows = cursor.epoch == Some(self.cursor.epoch) && cursor.lost.is_none() && self.rest.upcoming.is_none();
        if follows && packet.kind == Kind::Data && shared.width.extend(packet.first, cursor.next) == Some(cursor.next) {
            let arrival = Arrival { leg, first: cursor.next, end: cursor.next.saturating_add(count), now_ns };
            return self.accept(shared, arrival, packet, datagram, sink);
        }
        if cursor.lost == Some(LegLoss::Silent) {
            self.regain(leg, sink);
        }
        if packet.kind == Kind::Unsequenced {
            self.rest.statistics.unsequenced += count;
            let datagram = Payload::Direct(datagram);
            let data = Data { datagram, first: 0, count: packet.count, skip: 0, leg, arrived_ns: now_ns };
            return self.emit(sink, Event::Unsequenced(data));
        }
        if packet.kind == Kind::Retransmission {
            return match shared.width.extend(packet.first, self.cursor.next) {
                Some(first)
                    if self.rest.started && first <= self.cursor.horizon.saturating_add(shared.config.max_jump) =>
                {
                    let arrival = Arrival { leg, first, end: first.saturating_add(count), now_ns };
                    self.arrive(shared, arrival, Place::Ahead, datagram, sink);
                    self.settle(shared, now_ns, sink);
                }
                _ => self.drop_datagram(leg),
            };
        }
        if !self.rest.started {
            self.start(leg, packet, now_ns);
        }
        let belongs = self.belongs(shared, leg, packet, now_ns);
        match belongs {
            Belongs::Current(first) => {
                self.enter_current(leg, first, sink);
                let end = first.saturating_add(count);
                let arrival = Arrival { leg, first, end, now_ns };
                match packet.kind {
                    Kind::Heartbeat | Kind::End => self.heartbeat(shared, arrival, packet, datagram, sink),
                    _ => self.accept(shared, arrival, packet, datagram, sink),
                }
            }
            Belongs::Upcoming(first) => self.join(shared, leg, first, now_ns, packet, datagram, sink),
            Belongs::New(origin, first) => {
                // Two numberings may come if a reset follows another while a leg has seen neither.
                if self.rest.upcoming.as_ref().is_some_and(|before| before.confirmed()) {
                    self.begin_epoch(shared, now_ns, sink);
                } else if let Some(before) = self.rest.upcoming.take() {
                    self.abandon(before);
                }
                self.rest.upcoming = Some(Upcoming::new(origin, first, now_ns, packet.sent_ns.unwrap_or(0)));
                self.join(shared, leg, first, now_ns, packet, datagram, sink);
            }
            Belongs::Nowhere => self.drop_datagram(leg),
        }
        self.advance_epoch(shared, now_ns, sink);
    }

    fn drop_datagram(&mut self, leg: LegId) {
        self.rest.legs[leg.index()].statistics.dropped += 1;
    }

    fn start(&mut self, leg: LegId, packet: &Packet, now_ns: u64) {
        (self.rest.started, self.rest.epoch_since_ns) = (true, now_ns);
        (self.cursor.next, self.cursor.horizon, *self.swept_next) = (packet.first, packet.first, packet.first);
        self.rest.statistics.first_sequence = packet.first;
        if packet.kind == Kind::Reset {
            self.rest.reset_sent_ns = packet.sent_ns.unwrap_or(0);
        }
        for other in self.legs.iter_mut() {
            other.last_ns = now_ns;
        }
        let (cursor, rest) = (&mut self.legs[leg.index()], &mut self.rest.legs[leg.index()]);
        rest.enter(cursor, self.cursor.epoch, packet.first);
    }

    fn heartbeat<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        arrival: Arrival,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Arrival { leg, first, end, now_ns } = arrival;
        if packet.kind == Kind::Heartbeat {
            self.rest.statistics.heartbeats += 1;
            self.emit(sink, Event::Heartbeat { leg, next: end });
        } else {
            self.rest.ended = Some(first);
        }
        let (cursor, rest) = (&mut self.legs[leg.index()], &mut self.rest.legs[leg.index()]);
        if end > first && end > cursor.next {
            return self.accept(shared, arrival, packet, datagram, sink);
        }
        rest.skip_to(cursor, first, now_ns);
        if first > self.cursor.horizon {
            self.cursor.horizon = first;
            self.rest.tail.get_or_insert(Tail { since_ns: now_ns, end: first });
        }
        self.settle(shared, now_ns, sink);
    }

    /// A datagram of the current numbering.
    #[inline]
    fn accept<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        arrival: Arrival,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Arrival { leg, first, end, now_ns } = arrival;
        let (position, rest) = (&mut self.legs[leg.index()], &mut self.rest.legs[leg.index()]);
        let place = rest.observe(position, first, end, now_ns);
        if let Some(sent_ns) = packet.sent_ns {
            position.sent_ns = position.sent_ns.max(sent_ns);
            self.cursor.newest_sent_ns = self.cursor.newest_sent_ns.max(sent_ns);
        }
        if let Some(time) = packet.media_time
            && first >= self.cursor.next
        {
            self.rest.media.observe(first, time);
        }
        let quiet = self.cursor.horizon == self.cursor.next && self.rest.missing.is_empty();
        if quiet && first == self.cursor.next && end > first {
            rest.statistics.first_arrivals += end - first;
            (self.cursor.next, self.cursor.horizon) = (end, end);
            self.rest.statistics.delivered += end - first;
            self.arrived_first(shared, arrival);
            let (datagram, count) = (Payload::Direct(datagram), (end - first) as u32);
            self.emit(sink, Event::Data(Data { datagram, first, count, skip: 0, leg, arrived_ns: now_ns }));
        } else if quiet && end <= self.cursor.next {
            self.count_duplicate(shared, arrival);
        } else {
            self.arrive(shared, arrival, place, datagram, sink);
            self.settle(shared, now_ns, sink);
            return;
        }
        if self.rest.ended.is_some() {
            self.settle(shared, now_ns, sink);
        }
    }

    #[inline]
    fn count_duplicate(&mut self, shared: &mut Shared<'_>, arrival: Arrival) {
        self.rest.statistics.duplicates += 1;
        self.rest.legs[arrival.leg.index()].statistics.duplicates += arrival.end - arrival.first;
        shared.compare(self.sampled(arrival), arrival.leg, arrival.now_ns);
    }

    fn arrived_first(&self, shared: &mut Shared<'_>, arrival: Arrival) {
        if let Some(arrivals) = &mut shared.arrivals {
            arrivals.first(self.sampled(arrival), arrival.leg, arrival.now_ns);
        }
    }

    fn sampled(&self, arrival: Arrival) -> Sampled {
        Sampled { stream: self.id, epoch: self.cursor.epoch.get(), sequence: arrival.first }
    }

    /// Sorts a datagram into what is missing, expected and held. What is expected next is delivered; [`Stream::settle`]
    /// has to follow.
    fn arrive<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        arrival: Arrival,
        place: Place,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Arrival { leg, first, end, now_ns } = arrival;
        let mut late = Vec::new();
        self.rest.missing.take(first, end.min(self.cursor.next), |gap| late.push(gap));
        let recovered: u64 = late.iter().map(|gap| gap.to - gap.from).sum();
        let ahead = first.max(self.cursor.next).min(end);
        let new = end - ahead - self.rest.held.overlap(ahead, end);
        if recovered + new == 0 {
            return self.count_duplicate(shared, arrival);
        }
        let statistics = &mut self.rest.legs[leg.index()].statistics;
        statistics.first_arrivals += recovered + new;
        statistics.duplicates += end - first - recovered - new;
        self.rest.statistics.reordered += u64::from(place == Place::Reordered);
        self.rest.statistics.recovered += recovered;
        self.rest.statistics.delivered += recovered;
        self.arrived_first(shared, arrival);
        let mut parts = late.len() + usize::from(new > 0);
        let mut datagram = Some(Payload::Direct(datagram));
        // The last part takes the datagram itself. The parts before it, which are rare, take clones of a held one.
        let mut part = || {
            parts -= 1;
            match datagram.take() {
                Some(last) if parts == 0 => Some(last),
                Some(Payload::Direct(direct)) => {
                    let held = direct.hold();
                    datagram = Some(Payload::Held(held.clone()));
                    Some(Payload::Held(held))
                }
                Some(Payload::Held(held)) => {
                    datagram = Some(Payload::Held(held.clone()));
                    Some(Payload::Held(held))
                }
                None => None,
            }
        };
        for gap in late {
            let Some(datagram) = part() else { break };
            let (count, skip) = ((gap.to - gap.from) as u32, (gap.from - first) as u32);
            let data = Data { datagram, first: gap.from, count, skip, leg, arrived_ns: now_ns };
            self.emit(sink, Event::Recovered(data));
        }
        if new == 0 {
            return;
        }
        let Some(datagram) = part() else { return };
        let skip = (ahead - first) as u32;
        self.cursor.horizon = self.cursor.horizon.max(end);
        if ahead == self.cursor.next {
            self.cursor.next = end;
            self.rest.statistics.delivered += end - ahead;
            let count = (end - ahead) as u32;
            self.emit(sink, Event::Data(Data { datagram, first: ahead, count, skip, leg, arrived_ns: now_ns }));
        } else {
            let datagram = match datagram {
                Payload::Direct(direct) => direct.hold(),
                Payload::Held(held) => held,
            };
            let noticed_ns = self.rest.tail.map_or(now_ns, |tail| tail.since_ns);
            let held = HeldDatagram { first: ahead, end, skip, leg, arrived_ns: now_ns, noticed_ns, datagram };
            self.rest.held.insert(held);
            self.rest.statistics.held_peak = self.rest.statistics.held_peak.max(self.rest.held.len() as u64);
        }
    }

    /// The missing range in front of what is held, or what was announced and did not come: all of it if `is_over`.
    fn front_gap(&self, is_over: bool) -> Option<Gap> {
        let Cursor { next, horizon, .. } = *self.cursor;
        if let Some(held) = self.rest.held.front() {
            return Some(Gap::new(next, held.first, held.noticed_ns));
        }
        let tail = self.rest.tail?;
        Some(Gap::new(next, if is_over { horizon } else { tail.end }, tail.since_ns))
    }

    fn look_at_tail(&mut self, now_ns: u64) {
        let arrived = self.rest.held.end().unwrap_or(self.cursor.next);
        if arrived >= self.cursor.horizon {
            self.rest.tail = None;
        } else if self.rest.tail.is_none_or(|tail| arrived >= tail.end) {
            self.rest.tail = Some(Tail { since_ns: now_ns, end: self.cursor.horizon });
        }
    }

    /// Delivers what can be delivered, and declares the gaps that nobody will fill.
    fn settle<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let config = shared.config;
        loop {
            self.deliver_held(sink);
            self.look_at_tail(now_ns);
            let Some(gap) = self.front_gap(self.passed(self.cursor.horizon, config.reorder)) else { break };
            let overflow = self.rest.held.len() > config.held;
            let over = now_ns > gap.since_ns.saturating_add(config.window_ns);
            if !overflow && !over && !self.passed(gap.to, config.reorder) {
                break;
            }
            self.rest.statistics.overflows += u64::from(overflow);
            self.declare(config, gap, sink);
        }
        self.expire(config, now_ns, sink);
        if self.rest.ended.is_some_and(|ended| self.cursor.next >= ended) && !self.rest.end_reported {
            self.rest.end_reported = true;
            self.emit(sink, Event::End { next: self.cursor.next });
        }
    }

    /// Returns true if no live leg can still fill a gap that ends at `end`.
    fn passed(&self, end: u64, reorder: u64) -> bool {
        let mut live = self.legs.iter().filter(|leg| leg.lost.is_none());
        live.all(|leg| leg.epoch == Some(self.cursor.epoch) && leg.next >= end.saturating_add(reorder))
    }

    fn deliver_held<L: Hold<Held = H>>(&mut self, sink: &mut impl FnMut(Delivery<L, H>)) {
        while let Some(held) = self.rest.held.front().filter(|held| held.first <= self.cursor.next) {
            let end = held.end;
            let Some(mut held) = self.rest.held.pop_front() else { return };
            if end <= self.cursor.next {
                continue;
            }
            held.trim(self.cursor.next);
            self.cursor.next = end;
            let HeldDatagram { first, skip, leg, arrived_ns, .. } = held;
            self.rest.statistics.delivered += end - first;
            let (datagram, count) = (Payload::Held(held.datagram), (end - first) as u32);
            self.emit(sink, Event::Data(Data { datagram, first, count, skip, leg, arrived_ns }));
        }
    }

    fn declare<L>(&mut self, config: &Config, gap: Gap, sink: &mut impl FnMut(Delivery<L, H>)) {
        let missing = gap.to - gap.from;
        self.rest.statistics.gaps += 1;
        self.rest.statistics.missing += missing;
        self.rest.statistics.longest_gap = self.rest.statistics.longest_gap.max(missing);
        self.cursor.next = gap.to;
        self.rest.missing.append(gap);
        self.emit(sink, Event::Gap(gap));
        if self.rest.missing.len() > MAX_MISSING || config.recovery_ns == 0 {
            self.lose_gap(sink);
        }
    }

    fn lose_gap<L>(&mut self, sink: &mut impl FnMut(Delivery<L, H>)) {
        if let Some(gap) = self.rest.missing.pop_first() {
            self.rest.statistics.lost += gap.to - gap.from;
            self.emit(sink, Event::Lost(gap));
        }
    }

    fn expire<L>(&mut self, config: &Config, now_ns: u64, sink: &mut impl FnMut(Delivery<L, H>)) {
        while self.rest.missing.first().is_some_and(|gap| now_ns > recovery_end(config, gap)) {
            self.lose_gap(sink);
        }
    }
}

/// Until when a declared gap is open to a late fill.
fn recovery_end(config: &Config, gap: &Gap) -> u64 {
    gap.since_ns.saturating_add(config.window_ns).saturating_add(config.recovery_ns)
}
