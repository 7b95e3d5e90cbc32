//! The arbiter of a feed: finds the stream of a datagram, and keeps the timers of all streams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::config::Config;
use super::cursor::{Cursor, LegCursor, Taken};
use super::event::{Data, Delivery, Event, Hold, LegId, Payload, State, StreamId};
use super::index::Index;
use super::lag::{Arrivals, Sampled};
use super::media::MediaClock;
use super::shared::Shared;
use super::statistics::{LegStatistics, StreamLegStatistics, StreamStatistics};
use super::stream::{Rest, Stream};
use crate::protocol::{Kind, Packet, ParseError, Protocol, SequenceWidth, StreamKey};

/// Streams that one look for silent legs goes over. With more, the looks follow each other the faster, so that none
/// takes long.
const SWEEP: usize = 256;

/// A stream, and what it shares with the others: borrowed apart.
macro_rules! parts {
    ($arbiter:ident, $at:expr) => {{
        let Arbiter { cursors, leg_cursors, swept, rests, config, restarts, width, legs, arrivals, .. } = $arbiter;
        let (at, count) = ($at, legs.len());
        let own = &mut leg_cursors[at * count..(at + 1) * count];
        let (id, cursor) = (StreamId(at as u32), &mut cursors[at]);
        let stream = Stream { id, cursor, legs: own, swept_next: &mut swept[at], rest: &mut rests[at] };
        (stream, Shared { config, legs, arrivals: arrivals.as_mut(), restarts: *restarts, width: *width })
    }};
}

/// Sequences all streams of a feed, from any number of legs.
///
/// `P` is the protocol, `H` what a held datagram is, such as `Bytes`. In-order datagrams pass through: they are neither
/// copied nor held, and nothing is allocated for them. Times are nanoseconds of any clock. The caller passes the
/// arrival time of each datagram, and calls [`Arbiter::poll`] by [`Arbiter::next_deadline`] so that gaps are declared
/// when nothing arrives.
///
/// # Cost
/// A datagram in order, or a copy of one, touches one cache line of its stream, one of its leg and a word of the index,
/// whatever the number of streams: some 20 ns on a current server while the cache holds these. While a gap is open to a
/// late fill, copies cost about twice as much.
///
/// A stream takes about 600 bytes, and 180 more for each leg, until a gap makes it hold datagrams or remember ranges.
/// With two legs or more the arbiter itself takes 96 KiB for the sample of arrivals. Silent legs are looked for in 256
/// streams at a time, so that no call goes over all of them.
#[derive(Clone, Debug)]
pub struct Arbiter<P, H> {
    protocol: P,
    config: Config,
    width: SequenceWidth,
    restarts: bool,
    index: Index,
    /// One per stream.
    cursors: Vec<Cursor>,
    /// As many as there are legs, per stream.
    leg_cursors: Vec<LegCursor>,
    /// One per stream: what the last sweep found.
    swept: Vec<u64>,
    /// One per stream.
    rests: Vec<Rest<H>>,
    /// The newest stream of each channel, where sessions succeed each other.
    newest: FxHashMap<u64, StreamId>,
    /// The stream of the datagram before: bursts of one stream need no look-up.
    last: usize,
    legs: Box<[LegStatistics]>,
    /// `None` with one leg, which has nothing to compare with.
    arrivals: Option<Arrivals>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    next_sweep_ns: Option<u64>,
    /// The stream that the next sweep begins with.
    sweep_at: usize,
    /// [`Arbiter::next_deadline`]; the end of time if there is none.
    due_ns: u64,
}

impl<P: Protocol, H: AsRef<[u8]> + Clone> Arbiter<P, H> {
    /// An arbiter without streams.
    #[must_use]
    pub fn new(protocol: P, config: Config) -> Self {
        let width = protocol.width();
        Self {
            width,
            // A session with 64-bit numbers never goes back: a new one takes its place.
            restarts: !(protocol.sessions_succeed() && width == SequenceWidth::Bits64),
            protocol,
            index: Index::default(),
            cursors: Vec::new(),
            leg_cursors: Vec::new(),
            swept: Vec::new(),
            rests: Vec::new(),
            newest: FxHashMap::default(),
            last: 0,
            legs: vec![LegStatistics::default(); config.legs].into_boxed_slice(),
            arrivals: (config.legs > 1).then(Arrivals::default),
            timers: BinaryHeap::new(),
            next_sweep_ns: None,
            sweep_at: 0,
            due_ns: u64::MAX,
            config,
        }
    }

    /// Takes a datagram that arrived on `leg` at `now_ns`, and hands out what follows from it. Legs beyond the
    /// configured number count as the last one.
    ///
    /// # Errors
    /// The datagram is malformed. It is counted and changes nothing.
    #[inline]
    pub fn push<L: Hold<Held = H>>(
        &mut self,
        leg: LegId,
        now_ns: u64,
        datagram: L,
        sink: impl FnMut(Delivery<L, H>),
    ) -> Result<(), ParseError> {
        self.take(leg, now_ns, datagram, false, sink)
    }

    /// Takes a datagram that did not come by a leg's own way: the answer to a request, or a packet that
    /// [`FecDecoder`](crate::fec::FecDecoder) made again. It fills gaps, and changes nothing about the leg's position
    /// and what that leg lost.
    ///
    /// # Errors
    /// As [`Arbiter::push`].
    pub fn push_retransmission<L: Hold<Held = H>>(
        &mut self,
        leg: LegId,
        now_ns: u64,
        datagram: L,
        sink: impl FnMut(Delivery<L, H>),
    ) -> Result<(), ParseError> {
        self.take(leg, now_ns, datagram, true, sink)
    }

    #[inline]
    fn take<L: Hold<Held = H>>(
        &mut self,
        leg: LegId,
        now_ns: u64,
        datagram: L,
        retransmission: bool,
        mut sink: impl FnMut(Delivery<L, H>),
    ) -> Result<(), ParseError> {
        if self.due_ns <= now_ns {
            self.poll(now_ns, &mut sink);
        }
        let leg = if leg.index() < self.legs.len() { leg } else { LegId::new((self.legs.len() - 1) as u8) };
        self.legs[leg.index()].datagrams += 1;
        let mut packet = match self.protocol.parse(datagram.as_ref()) {
            Ok(packet) => packet,
            Err(error) => {
                self.legs[leg.index()].malformed += 1;
                return Err(error);
            }
        };
        if retransmission && packet.kind == Kind::Data {
            packet.kind = Kind::Retransmission;
        }
        let at = match self.cursors.get(self.last) {
            Some(cursor) if cursor.key == packet.stream => self.last,
            _ => match self.index.find(&packet.stream, |at| self.cursors[at as usize].key == packet.stream) {
                Some(at) => at as usize,
                None => match self.add(leg, now_ns, &packet, &mut sink) {
                    Some(at) => at,
                    None => return Ok(()),
                },
            },
        };
        self.last = at;
        let cursor = &mut self.cursors[at];
        let leg_cursor = &mut self.leg_cursors[at * self.legs.len() + leg.index()];
        // One RTP packet in many is remembered with its time.
        let is_sample = packet.media_time.is_some() && MediaClock::wants(leg_cursor.next);
        let taken = if is_sample { None } else { cursor.take(leg_cursor, self.width, now_ns, &packet) };
        let Some(taken) = taken else {
            let (mut stream, mut shared) = parts!(self, at);
            stream.take(&mut shared, leg, now_ns, &packet, datagram, &mut sink);
            self.arm(at, now_ns);
            return Ok(());
        };
        let (stream, epoch, state) = (StreamId(at as u32), cursor.epoch.get(), cursor.state);
        match taken {
            Taken::InOrder(first) => {
                if let Some(arrivals) = &mut self.arrivals {
                    arrivals.first(Sampled { stream, epoch, sequence: first }, leg, now_ns);
                }
                let (datagram, count) = (Payload::Direct(datagram), (cursor.next - first) as u32);
                let data = Data { datagram, first, count, skip: 0, leg, arrived_ns: now_ns };
                sink(Delivery::new(stream, state, Event::Data(data)));
            }
            Taken::Copy(sequence) => {
                let Self { config, legs, arrivals, restarts, width, .. } = self;
                let arrivals = arrivals.as_mut();
                let mut shared = Shared { config, legs, arrivals, restarts: *restarts, width: *width };
                shared.compare(Sampled { stream, epoch, sequence }, leg, now_ns);
            }
        }
        Ok(())
    }

    /// Declares the gaps whose time is over, and looks for silent legs and streams.
    pub fn poll<L: Hold<Held = H>>(&mut self, now_ns: u64, mut sink: impl FnMut(Delivery<L, H>)) {
        while let Some(&Reverse((at_ns, stream))) = self.timers.peek() {
            if at_ns > now_ns {
                break;
            }
            self.timers.pop();
            let at = stream as usize;
            if self.rests[at].armed == Some(at_ns) {
                self.rests[at].armed = None;
                let (mut stream, mut shared) = parts!(self, at);
                stream.tick(&mut shared, now_ns, &mut sink);
                self.arm(at, now_ns);
            }
        }
        if self.next_sweep_ns.is_some_and(|sweep_ns| sweep_ns <= now_ns) {
            let end = (self.sweep_at + SWEEP).min(self.cursors.len());
            for at in self.sweep_at..end {
                let (mut stream, mut shared) = parts!(self, at);
                if stream.sweep(&mut shared, now_ns, &mut sink) {
                    self.arm(at, now_ns);
                }
            }
            self.sweep_at = if end < self.cursors.len() { end } else { 0 };
            let pause_ns = (self.config.sweep_ns() / self.cursors.len().div_ceil(SWEEP) as u64).max(1);
            self.next_sweep_ns = Some(now_ns.saturating_add(pause_ns));
        }
        self.set_due();
    }

    /// When [`Arbiter::poll`] is due. `None` before the first datagram.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        (self.due_ns != u64::MAX).then_some(self.due_ns)
    }

    fn set_due(&mut self) {
        let timer_ns = self.timers.peek().map_or(u64::MAX, |&Reverse((at_ns, _))| at_ns);
        self.due_ns = timer_ns.min(self.next_sweep_ns.unwrap_or(u64::MAX));
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// A leg's counters over all streams.
    #[must_use]
    pub fn leg(&self, leg: LegId) -> Option<&LegStatistics> {
        self.legs.get(leg.index())
    }

    /// All streams, in the order in which they appeared.
    pub fn streams(&self) -> impl Iterator<Item = StreamView<'_, H>> {
        (0..self.cursors.len()).map(|at| self.view(at))
    }

    /// One stream.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamView<'_, H>> {
        (id.index() < self.cursors.len()).then(|| self.view(id.index()))
    }

    fn view(&self, at: usize) -> StreamView<'_, H> {
        let legs = &self.leg_cursors[at * self.legs.len()..(at + 1) * self.legs.len()];
        StreamView { id: StreamId(at as u32), cursor: &self.cursors[at], legs, rest: &self.rests[at] }
    }

    #[cold]
    fn add<L: Hold<Held = H>>(
        &mut self,
        leg: LegId,
        now_ns: u64,
        packet: &Packet,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) -> Option<usize> {
        if self.cursors.len() >= self.config.max_streams {
            self.legs[leg.index()].untracked += 1;
            return None;
        }
        let at = self.cursors.len();
        let id = StreamId(at as u32);
        self.index.insert(&packet.stream, id.0, |at| self.cursors[at as usize].key);
        self.cursors.push(Cursor::new(packet.stream));
        self.leg_cursors.extend((0..self.legs.len()).map(|_| LegCursor::new(now_ns)));
        self.swept.push(0);
        self.rests.push(Rest::new(self.legs.len(), now_ns));
        self.next_sweep_ns.get_or_insert(now_ns.saturating_add(self.config.sweep_ns()));
        self.set_due();
        let succeed = self.protocol.sessions_succeed();
        let succeeds = succeed.then(|| self.newest.insert(packet.stream.channel, id)).flatten();
        sink(Delivery::new(id, State::Live, Event::Started { succeeds }));
        Some(at)
    }

    /// Sets a stream's timer after whatever happened to it.
    fn arm(&mut self, at: usize, now_ns: u64) {
        let (stream, shared) = parts!(self, at);
        (stream.cursor.plain, stream.cursor.state) = (stream.is_plain(), stream.state());
        let Some(deadline_ns) = stream.deadline(shared.config) else { return };
        // A deadline is the last moment at which a fill is in time. What is due now was just looked at.
        // What is due at the end of time never is.
        let Some(due_ns) = deadline_ns.max(now_ns).checked_add(1) else { return };
        if stream.rest.armed.is_none_or(|armed_ns| armed_ns > due_ns) {
            stream.rest.armed = Some(due_ns);
            self.timers.push(Reverse((due_ns, at as u32)));
            self.due_ns = self.due_ns.min(due_ns);
        }
    }
}

/// One stream of an arbiter, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct StreamView<'a, H> {
    id: StreamId,
    cursor: &'a Cursor,
    legs: &'a [LegCursor],
    rest: &'a Rest<H>,
}

impl<H: AsRef<[u8]> + Clone> StreamView<'_, H> {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Its key: [`Protocol::stream_name`] writes it as text.
    #[must_use]
    pub fn key(&self) -> StreamKey {
        self.cursor.key
    }

    /// Whether what was delivered is complete and current.
    #[must_use]
    pub fn state(&self) -> State {
        self.rest.state(self.cursor)
    }

    /// Its counters.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        self.rest.snapshot(self.cursor, self.legs)
    }

    /// The counters of one of its legs.
    #[must_use]
    pub fn leg(&self, leg: LegId) -> Option<StreamLegStatistics> {
        let (cursor, rest) = (self.legs.get(leg.index())?, self.rest.legs.get(leg.index())?);
        let (tally, mut statistics) = (cursor.tally, rest.statistics);
        statistics.datagrams += tally.datagrams;
        statistics.first_arrivals += tally.delivered;
        statistics.duplicates += tally.duplicates;
        Some(statistics)
    }
}
