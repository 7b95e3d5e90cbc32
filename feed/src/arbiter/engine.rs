//! The arbiter of a feed: finds the stream of a datagram, and keeps the timers of all streams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::config::Config;
use super::event::{Delivery, Event, Hold, LegId, State, StreamId};
use super::shared::Shared;
use super::statistics::{LegStatistics, StreamLegStatistics, StreamStatistics};
use super::stream::Stream;
use crate::protocol::{Kind, Packet, ParseError, Protocol, SequenceWidth, StreamKey};

/// A stream, and what it shares with the others: borrowed apart.
macro_rules! parts {
    ($arbiter:ident, $at:expr) => {{
        let Arbiter { streams, legs, config, restarts, width, .. } = $arbiter;
        (&mut streams[$at], Shared { config, legs, restarts: *restarts, width: *width })
    }};
}

/// Sequences all streams of a feed, from any number of legs.
///
/// `P` is the protocol, `H` what a held datagram is, such as `Bytes`. In-order datagrams pass through: they are neither
/// copied nor held, and nothing is allocated for them. Times are nanoseconds of any clock. The caller passes the
/// arrival time of each datagram, and calls [`Arbiter::poll`] by [`Arbiter::next_deadline`] so that gaps are declared
/// when nothing arrives.
#[derive(Clone, Debug)]
pub struct Arbiter<P, H> {
    protocol: P,
    config: Config,
    width: SequenceWidth,
    restarts: bool,
    index: FxHashMap<StreamKey, u32>,
    streams: Vec<Stream<H>>,
    /// The newest stream of each channel, where sessions succeed each other.
    newest: FxHashMap<u64, StreamId>,
    /// The stream of the datagram before: bursts of one stream need no look-up.
    last: usize,
    legs: Box<[LegStatistics]>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    next_sweep_ns: Option<u64>,
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
            index: FxHashMap::default(),
            streams: Vec::new(),
            newest: FxHashMap::default(),
            last: 0,
            legs: vec![LegStatistics::default(); config.legs].into_boxed_slice(),
            timers: BinaryHeap::new(),
            next_sweep_ns: None,
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
        if self.next_deadline().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
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
        let at = match self.streams.get(self.last) {
            Some(stream) if stream.key == packet.stream => self.last,
            _ => match self.index.get(&packet.stream) {
                Some(&at) => at as usize,
                None => match self.add(leg, now_ns, &packet, &mut sink) {
                    Some(at) => at,
                    None => return Ok(()),
                },
            },
        };
        self.last = at;
        let (stream, mut shared) = parts!(self, at);
        stream.take(&mut shared, leg, now_ns, &packet, datagram, &mut sink);
        self.arm(at, now_ns);
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
            if self.streams[at].armed == Some(at_ns) {
                self.streams[at].armed = None;
                let (stream, mut shared) = parts!(self, at);
                stream.tick(&mut shared, now_ns, &mut sink);
                self.arm(at, now_ns);
            }
        }
        if self.next_sweep_ns.is_some_and(|sweep_ns| sweep_ns <= now_ns) {
            self.next_sweep_ns = Some(now_ns.saturating_add(self.config.sweep_ns()));
            for at in 0..self.streams.len() {
                let (stream, mut shared) = parts!(self, at);
                stream.sweep(&mut shared, now_ns, &mut sink);
                self.arm(at, now_ns);
            }
        }
    }

    /// When [`Arbiter::poll`] is due. `None` before the first datagram.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let timer = self.timers.peek().map(|&Reverse((at_ns, _))| at_ns);
        match (timer, self.next_sweep_ns) {
            (Some(timer), Some(sweep)) => Some(timer.min(sweep)),
            (timer, sweep) => timer.or(sweep),
        }
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
        self.streams.iter().map(|stream| StreamView { stream })
    }

    /// One stream.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamView<'_, H>> {
        self.streams.get(id.index()).map(|stream| StreamView { stream })
    }

    #[cold]
    fn add<L: Hold<Held = H>>(
        &mut self,
        leg: LegId,
        now_ns: u64,
        packet: &Packet,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) -> Option<usize> {
        if self.streams.len() >= self.config.max_streams {
            self.legs[leg.index()].untracked += 1;
            return None;
        }
        let at = self.streams.len();
        let id = StreamId(at as u32);
        self.index.insert(packet.stream, id.0);
        self.streams.push(Stream::new(id, packet.stream, self.config.legs, now_ns));
        self.next_sweep_ns.get_or_insert(now_ns.saturating_add(self.config.sweep_ns()));
        let succeed = self.protocol.sessions_succeed();
        let succeeds = succeed.then(|| self.newest.insert(packet.stream.channel, id)).flatten();
        sink(Delivery::new(id, State::Live, Event::Started { succeeds }));
        Some(at)
    }

    /// Sets a stream's timer.
    #[inline]
    fn arm(&mut self, at: usize, now_ns: u64) {
        let stream = &mut self.streams[at];
        let Some(deadline_ns) = stream.deadline(&self.config) else { return };
        // A deadline is the last moment at which a fill is in time. What is due now was just looked at.
        // What is due at the end of time never is.
        let Some(due_ns) = deadline_ns.max(now_ns).checked_add(1) else { return };
        if stream.armed.is_none_or(|armed_ns| armed_ns > due_ns) {
            stream.armed = Some(due_ns);
            self.timers.push(Reverse((due_ns, at as u32)));
        }
    }
}

/// One stream of an arbiter, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct StreamView<'a, H> {
    stream: &'a Stream<H>,
}

impl<H: AsRef<[u8]> + Clone> StreamView<'_, H> {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.stream.id
    }

    /// Its key: [`Protocol::stream_name`] writes it as text.
    #[must_use]
    pub fn key(&self) -> StreamKey {
        self.stream.key
    }

    /// Whether what was delivered is complete and current.
    #[must_use]
    pub fn state(&self) -> State {
        self.stream.state()
    }

    /// Its counters.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        self.stream.snapshot()
    }

    /// The counters of one of its legs.
    #[must_use]
    pub fn leg(&self, leg: LegId) -> Option<StreamLegStatistics> {
        self.stream.legs.get(leg.index()).map(|leg| leg.statistics)
    }
}
