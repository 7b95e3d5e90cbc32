//! One stream: its position, what is held ahead of it, and what is missing behind it. `place.rs` decides which
//! numbering a datagram belongs to; `renumber.rs` changes from one numbering to the next.

mod place;
mod renumber;

use super::config::Config;
use super::epoch::Upcoming;
use super::event::{Data, Delivery, Event, Gap, Hold, LegId, LegLoss, Payload, State, StreamId};
use super::held::{Held, HeldDatagram};
use super::lag::Arrivals;
use super::leg::{Leg, Place};
use super::media::MediaClock;
use super::ranges::Ranges;
use super::shared::{Belongs, Shared};
use super::statistics::StreamStatistics;
use crate::protocol::{Kind, Packet, StreamKey};

/// Declared gaps that are remembered for late fills.
const MAX_MISSING: usize = 1024;
/// Sweeps in a row after which a leg that stays behind is lost.
const BEHIND: u8 = 2;

#[derive(Clone, Debug)]
pub(super) struct Stream<H> {
    pub(super) id: StreamId,
    pub(super) key: StreamKey,
    pub(super) legs: Box<[Leg]>,
    pub(super) statistics: StreamStatistics,
    /// When its timer is set for.
    pub(super) armed: Option<u64>,
    started: bool,
    epoch: u32,
    epoch_since_ns: u64,
    /// Sending time of the datagram that began the epoch.
    reset_sent_ns: u64,
    newest_sent_ns: u64,
    /// The next sequence number to deliver.
    next: u64,
    /// One above the highest sequence number that is known to exist.
    horizon: u64,
    held: Held<H>,
    /// Since when the horizon is above all that arrived.
    tail_since_ns: Option<u64>,
    /// Declared gaps, open to a late fill.
    missing: Ranges,
    upcoming: Option<Upcoming<H>>,
    ended: Option<u64>,
    end_reported: bool,
    last_ns: u64,
    stale: bool,
    /// `next` at the sweep before.
    swept_next: u64,
    arrivals: Option<Arrivals>,
    media: MediaClock,
}

/// One arrival.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    leg: LegId,
    first: u64,
    end: u64,
    now_ns: u64,
}

impl<H: AsRef<[u8]> + Clone> Stream<H> {
    pub(super) fn new(id: StreamId, key: StreamKey, legs: usize, now_ns: u64) -> Self {
        Self {
            id,
            key,
            legs: vec![Leg::new(now_ns); legs].into_boxed_slice(),
            statistics: StreamStatistics::default(),
            armed: None,
            started: false,
            epoch: 0,
            epoch_since_ns: now_ns,
            reset_sent_ns: 0,
            newest_sent_ns: 0,
            next: 0,
            horizon: 0,
            held: Held::default(),
            tail_since_ns: None,
            missing: Ranges::default(),
            upcoming: None,
            ended: None,
            end_reported: false,
            last_ns: now_ns,
            stale: false,
            swept_next: 0,
            arrivals: (legs > 1).then(Arrivals::default),
            media: MediaClock::default(),
        }
    }

    pub(super) fn state(&self) -> State {
        if self.stale {
            State::Stale
        } else if self.next < self.horizon || !self.missing.is_empty() || self.upcoming.is_some() {
            State::Recovering
        } else {
            State::Live
        }
    }

    /// The counters, with the gauges of now.
    pub(super) fn snapshot(&self) -> StreamStatistics {
        let held = self.held.len() + self.upcoming.as_ref().map_or(0, |upcoming| upcoming.held.len());
        StreamStatistics { next_sequence: self.next, held: held as u64, ..self.statistics }
    }

    /// The time after which [`Stream::tick`] has something to do.
    pub(super) fn deadline(&self, config: &Config) -> Option<u64> {
        let gap = (self.next < self.horizon).then(|| self.front_gap(0).since_ns.saturating_add(config.window_ns));
        let upcoming = self.upcoming.as_ref().filter(|upcoming| !upcoming.astray).map(|upcoming| {
            let wait = if upcoming.confirmed() { config.window_ns } else { config.leg_timeout_ns };
            upcoming.since_ns.saturating_add(wait)
        });
        let missing = self.missing.first().map(|gap| recovery_end(config, gap));
        [gap, upcoming, missing].into_iter().flatten().min()
    }

    /// Takes a datagram.
    #[inline]
    pub(super) fn take<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        leg: LegId,
        now_ns: u64,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        self.statistics.datagrams += 1;
        self.last_ns = self.last_ns.max(now_ns);
        self.stale = false;
        let position = &mut self.legs[leg.index()];
        position.last_ns = now_ns;
        let follows = position.epoch == Some(self.epoch) && position.lost.is_none() && self.upcoming.is_none();
        if packet.kind == Kind::Data
            && follows
            && shared.width.extend(packet.first, position.next) == Some(position.next)
        {
            let first = position.next;
            let arrival = Arrival { leg, first, end: first.saturating_add(packet.count.into()), now_ns };
            return self.accept(shared, arrival, packet, datagram, sink);
        }
        self.take_slowly(shared, leg, now_ns, packet, datagram, sink);
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

    /// Silent legs, legs that stay behind, and staleness.
    pub(super) fn sweep<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let moved = self.next > self.swept_next;
        for index in 0..self.legs.len() {
            let leg = &mut self.legs[index];
            let id = LegId::new(index as u8);
            if leg.lost.is_none() && self.last_ns.saturating_sub(leg.last_ns) > shared.config.leg_timeout_ns {
                self.lose(id, LegLoss::Silent, sink);
                continue;
            }
            let behind = leg.epoch == Some(self.epoch) && leg.next <= self.swept_next && moved;
            leg.behind = if behind { leg.behind.saturating_add(1) } else { 0 };
            if leg.behind >= BEHIND && leg.lost.is_none() {
                self.lose(id, LegLoss::Behind, sink);
            } else if !behind && moved && leg.lost == Some(LegLoss::Behind) {
                self.regain(id, sink);
            }
        }
        self.swept_next = self.next;
        if self.started && !self.stale && now_ns.saturating_sub(self.last_ns) > shared.config.stale_ns {
            self.stale = true;
            let since_ns = self.last_ns;
            self.emit(sink, Event::Stale { since_ns });
        }
        self.tick(shared, now_ns, sink);
    }

    #[cold]
    fn lose<L>(&mut self, leg: LegId, loss: LegLoss, sink: &mut impl FnMut(Delivery<L, H>)) {
        let position = &mut self.legs[leg.index()];
        position.lost = Some(loss);
        position.statistics.outages += 1;
        self.emit(sink, Event::LegLost { leg, loss });
    }

    #[cold]
    fn regain<L>(&mut self, leg: LegId, sink: &mut impl FnMut(Delivery<L, H>)) {
        let position = &mut self.legs[leg.index()];
        (position.lost, position.behind) = (None, 0);
        self.emit(sink, Event::LegBack { leg });
    }

    #[inline]
    fn emit<L>(&self, sink: &mut impl FnMut(Delivery<L, H>), event: Event<L, H>) {
        sink(Delivery::new(self.id, self.state(), event));
    }

    /// All but a leg's next datagram.
    #[cold]
    fn take_slowly<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        leg: LegId,
        now_ns: u64,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        if self.legs[leg.index()].lost == Some(LegLoss::Silent) {
            self.regain(leg, sink);
        }
        let count = u64::from(packet.count);
        if packet.kind == Kind::Unsequenced {
            self.statistics.unsequenced += count;
            let datagram = Payload::Direct(datagram);
            let data = Data { datagram, first: 0, count: packet.count, skip: 0, leg, arrived_ns: now_ns };
            return self.emit(sink, Event::Unsequenced(data));
        }
        if packet.kind == Kind::Retransmission {
            return match shared.width.extend(packet.first, self.next) {
                Some(first) if self.started && first <= self.horizon.saturating_add(shared.config.max_jump) => {
                    let arrival = Arrival { leg, first, end: first.saturating_add(count), now_ns };
                    self.arrive(shared, arrival, Place::Ahead, datagram, sink);
                    self.settle(shared, now_ns, sink);
                }
                _ => self.drop_datagram(leg),
            };
        }
        if !self.started {
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
                if let Some(before) = self.upcoming.take() {
                    self.abandon(before);
                }
                self.upcoming = Some(Upcoming::new(origin, first, now_ns, packet.sent_ns.unwrap_or(0)));
                self.join(shared, leg, first, now_ns, packet, datagram, sink);
            }
            Belongs::Nowhere => self.drop_datagram(leg),
        }
        self.advance_epoch(shared, now_ns, sink);
    }

    fn drop_datagram(&mut self, leg: LegId) {
        self.legs[leg.index()].statistics.dropped += 1;
    }

    fn start(&mut self, leg: LegId, packet: &Packet, now_ns: u64) {
        (self.started, self.epoch_since_ns) = (true, now_ns);
        (self.next, self.horizon, self.swept_next) = (packet.first, packet.first, packet.first);
        self.statistics.first_sequence = packet.first;
        if packet.kind == Kind::Reset {
            self.reset_sent_ns = packet.sent_ns.unwrap_or(0);
        }
        for other in &mut self.legs {
            other.last_ns = now_ns;
        }
        self.legs[leg.index()].enter(self.epoch, packet.first);
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
            self.statistics.heartbeats += 1;
            self.emit(sink, Event::Heartbeat { leg, next: end });
        } else {
            self.ended = Some(first);
        }
        if end > first && end > self.legs[leg.index()].next {
            return self.accept(shared, arrival, packet, datagram, sink);
        }
        self.legs[leg.index()].skip_to(first, now_ns);
        if first > self.horizon {
            self.horizon = first;
            self.tail_since_ns.get_or_insert(now_ns);
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
        let position = &mut self.legs[leg.index()];
        let place = position.observe(first, end, now_ns);
        if let Some(sent_ns) = packet.sent_ns {
            position.sent_ns = position.sent_ns.max(sent_ns);
            self.newest_sent_ns = self.newest_sent_ns.max(sent_ns);
        }
        if let Some(time) = packet.media_time
            && first >= self.next
        {
            self.media.observe(first, time);
        }
        let quiet = self.horizon == self.next && self.missing.is_empty();
        if quiet && first == self.next && end > first {
            position.statistics.first_arrivals += end - first;
            (self.next, self.horizon) = (end, end);
            self.statistics.delivered += end - first;
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.first(first, leg, now_ns);
            }
            let (datagram, count) = (Payload::Direct(datagram), (end - first) as u32);
            self.emit(sink, Event::Data(Data { datagram, first, count, skip: 0, leg, arrived_ns: now_ns }));
        } else if quiet && end <= self.next {
            self.count_duplicate(shared, arrival);
        } else {
            self.arrive(shared, arrival, place, datagram, sink);
            self.settle(shared, now_ns, sink);
            return;
        }
        if self.ended.is_some() {
            self.settle(shared, now_ns, sink);
        }
    }

    #[inline]
    fn count_duplicate(&mut self, shared: &mut Shared<'_>, arrival: Arrival) {
        self.statistics.duplicates += 1;
        self.legs[arrival.leg.index()].statistics.duplicates += arrival.end - arrival.first;
        self.compare(shared, arrival);
    }

    /// Measures by how much a later copy was later.
    #[inline]
    fn compare(&mut self, shared: &mut Shared<'_>, arrival: Arrival) {
        let Some(arrivals) = &mut self.arrivals else { return };
        if let Some((leader, lag_ns)) = arrivals.again(arrival.first, arrival.leg, arrival.now_ns) {
            shared.legs[leader.index()].lead.record(lag_ns);
            shared.legs[arrival.leg.index()].lag.record(lag_ns);
        }
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
        self.missing.take(first, end.min(self.next), |gap| late.push(gap));
        let recovered: u64 = late.iter().map(|gap| gap.to - gap.from).sum();
        let ahead = first.max(self.next).min(end);
        let new = end - ahead - self.held.overlap(ahead, end);
        if recovered + new == 0 {
            return self.count_duplicate(shared, arrival);
        }
        let statistics = &mut self.legs[leg.index()].statistics;
        statistics.first_arrivals += recovered + new;
        statistics.duplicates += end - first - recovered - new;
        self.statistics.reordered += u64::from(place == Place::Reordered);
        self.statistics.recovered += recovered;
        self.statistics.delivered += recovered;
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.first(first, leg, now_ns);
        }
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
        self.horizon = self.horizon.max(end);
        if ahead == self.next {
            self.next = end;
            self.statistics.delivered += end - ahead;
            let count = (end - ahead) as u32;
            self.emit(sink, Event::Data(Data { datagram, first: ahead, count, skip, leg, arrived_ns: now_ns }));
        } else {
            let datagram = match datagram {
                Payload::Direct(direct) => direct.hold(),
                Payload::Held(held) => held,
            };
            let noticed_ns = self.tail_since_ns.unwrap_or(now_ns);
            let held = HeldDatagram { first: ahead, end, skip, leg, arrived_ns: now_ns, noticed_ns, datagram };
            self.held.insert(held);
            self.statistics.held_peak = self.statistics.held_peak.max(self.held.len() as u64);
        }
    }

    /// The missing range in front of what is held, or up to the horizon.
    fn front_gap(&self, now_ns: u64) -> Gap {
        match self.held.front() {
            Some(held) => Gap::new(self.next, held.first, held.noticed_ns),
            None => Gap::new(self.next, self.horizon, self.tail_since_ns.unwrap_or(now_ns)),
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
        self.deliver_held(sink);
        while self.next < self.horizon {
            let gap = self.front_gap(now_ns);
            let overflow = self.held.len() > config.held;
            let over = now_ns > gap.since_ns.saturating_add(config.window_ns);
            if !overflow && !over && !self.passed(gap.to, config.reorder) {
                break;
            }
            self.statistics.overflows += u64::from(overflow);
            self.declare(config, gap, sink);
            self.deliver_held(sink);
        }
        if self.held.end().unwrap_or(self.next) >= self.horizon {
            self.tail_since_ns = None;
        } else {
            self.tail_since_ns.get_or_insert(now_ns);
        }
        self.expire(config, now_ns, sink);
        if self.ended.is_some_and(|ended| self.next >= ended) && !self.end_reported {
            self.end_reported = true;
            self.emit(sink, Event::End { next: self.next });
        }
    }

    /// Returns true if no live leg can still fill a gap that ends at `end`.
    fn passed(&self, end: u64, reorder: u64) -> bool {
        let mut live = self.legs.iter().filter(|leg| leg.lost.is_none());
        live.all(|leg| leg.epoch == Some(self.epoch) && leg.next >= end.saturating_add(reorder))
    }

    fn deliver_held<L: Hold<Held = H>>(&mut self, sink: &mut impl FnMut(Delivery<L, H>)) {
        while let Some(held) = self.held.front().filter(|held| held.first <= self.next) {
            let end = held.end;
            let Some(mut held) = self.held.pop_front() else { return };
            if end <= self.next {
                continue;
            }
            held.trim(self.next);
            self.next = end;
            let HeldDatagram { first, skip, leg, arrived_ns, .. } = held;
            self.statistics.delivered += end - first;
            let (datagram, count) = (Payload::Held(held.datagram), (end - first) as u32);
            self.emit(sink, Event::Data(Data { datagram, first, count, skip, leg, arrived_ns }));
        }
    }

    fn declare<L>(&mut self, config: &Config, gap: Gap, sink: &mut impl FnMut(Delivery<L, H>)) {
        let missing = gap.to - gap.from;
        self.statistics.gaps += 1;
        self.statistics.missing += missing;
        self.statistics.longest_gap = self.statistics.longest_gap.max(missing);
        self.next = gap.to;
        self.missing.append(gap);
        self.emit(sink, Event::Gap(gap));
        if self.missing.len() > MAX_MISSING || config.recovery_ns == 0 {
            self.lose_gap(sink);
        }
    }

    fn lose_gap<L>(&mut self, sink: &mut impl FnMut(Delivery<L, H>)) {
        if let Some(gap) = self.missing.pop_first() {
            self.statistics.lost += gap.to - gap.from;
            self.emit(sink, Event::Lost(gap));
        }
    }

    fn expire<L>(&mut self, config: &Config, now_ns: u64, sink: &mut impl FnMut(Delivery<L, H>)) {
        while self.missing.first().is_some_and(|gap| now_ns > recovery_end(config, gap)) {
            self.lose_gap(sink);
        }
    }
}

/// Until when a declared gap is open to a late fill.
fn recovery_end(config: &Config, gap: &Gap) -> u64 {
    gap.since_ns.saturating_add(config.window_ns).saturating_add(config.recovery_ns)
}
