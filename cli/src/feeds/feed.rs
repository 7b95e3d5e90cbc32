//! One feed: its legs, its arbiter, and what it reports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::anyhow;
use receiver::{Datagram, OwnedDatagram, Path, ReceiveTime, Subscription, SubscriptionId, TimeOrigin};
use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Delivery, Event, Histogram, LegId, Payload, StreamId};
use receiver_feed::attribution::{FeedLosses, LegLosses};
use receiver_feed::health::Bursts;
use receiver_feed::protocol::{AnyProtocol, Protocol};
use rustc_hash::FxHashMap;

use super::lent::{Held, Lend, Lent};
use super::notice::{Limits, Notice, sentence};
use super::repair::{Answers, Parity, Requests, unspecified};
use super::report::{FeedReport, FeedState, LegReport, StreamReport};
use super::request::{Fec, FeedRequest};
use crate::media::Media;
use crate::units;

/// Streams that a report has one by one.
const MOST_STREAMS: usize = 1000;

/// A subscription that is a leg.
pub struct Leg {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it asks for.
    pub subscription: Subscription,
}

impl Leg {
    fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.subscription.to_string())
    }
}

/// A feed.
pub struct Feed {
    name: String,
    protocol: AnyProtocol,
    arbiter: Arbiter<AnyProtocol, Held>,
    legs: Vec<Leg>,
    arrivals: Vec<Arrivals>,
    events: Events,
    limits: Limits,
    parity: Option<Parity>,
    fills: Fills,
    /// Whether a leg's first malformed, and its first untracked datagram were logged.
    noticed: Vec<[bool; 2]>,
    /// The report at the end.
    last: Option<FeedReport>,
}

/// A moment, on the clock of feeds and on CLOCK_TAI.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub feed_ns: u64,
    pub tai_ns: u64,
}

/// What came beside the legs. The arbiter counts it for the first leg.
#[derive(Default)]
struct Fills {
    datagrams: u64,
    malformed: u64,
    sequences: u64,
}

/// A datagram that came beside the legs, as one of the first leg.
fn fill(
    payload: Bytes,
    source: SocketAddr,
    (group, port): (IpAddr, u16),
    subscription: SubscriptionId,
    now: Times,
) -> OwnedDatagram {
    let time = ReceiveTime { nanoseconds: now.tai_ns, origin: TimeOrigin::UserSpace };
    OwnedDatagram { payload, source, group, port, subscription, time, path: Path::Kernel, vlan: None }
}

/// What a leg's datagrams are like as they arrive.
struct Arrivals {
    bursts: Bursts,
    /// Of RTP and MPEG-TS alone.
    media: Option<Media>,
}

/// What the arbiter's events leave behind.
#[derive(Default)]
struct Events {
    /// What is to be logged, in order.
    notices: Vec<(StreamId, Notice)>,
    /// What is delivered, of RTP and MPEG-TS alone.
    media: Option<Media>,
    requests: Option<Requests>,
    /// By stream, where something has happened.
    streams: Vec<StreamEvents>,
    last_gap_ns: Option<u64>,
    /// The most sequence numbers that a datagram held.
    largest: u32,
    /// Sequence numbers that could not be held, by stream.
    not_kept: FxHashMap<usize, u64>,
}

#[derive(Clone, Copy, Default)]
struct StreamEvents {
    /// The session is over, or another one has taken its place.
    is_over: bool,
    /// A bit for each leg that is lost.
    lost_legs: u64,
}

impl Feed {
    /// A feed without datagrams.
    ///
    /// # Errors
    /// The re-request server cannot be reached.
    pub fn new(request: &FeedRequest, legs: Vec<Leg>) -> anyhow::Result<Self> {
        let config = request.config(legs.len());
        let requests = request.rerequest.map(|server| {
            Requests::open(server).map_err(|error| {
                let name = &request.name;
                anyhow!("feed {name}: the re-request server {server} cannot be reached: {error}; check `rerequest`")
            })
        });
        let (media, requests) = (Media::of(request.protocol, false), requests.transpose()?);
        Ok(Self {
            name: request.name.clone(),
            protocol: request.protocol,
            arbiter: Arbiter::new(request.protocol, config),
            noticed: vec![[false; 2]; legs.len()],
            arrivals: legs.iter().map(|_| Arrivals::new(request.protocol)).collect(),
            legs,
            events: Events { media, requests, ..Events::default() },
            limits: Limits::default(),
            parity: (request.fec != Fec::None).then(Parity::default),
            fills: Fills::default(),
            last: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The leg that a subscription is: by its name if it has one, else by all of it.
    pub fn leg_of(&self, name: Option<&str>, subscription: &Subscription) -> Option<usize> {
        self.legs.iter().position(|leg| match (&leg.name, name) {
            (Some(own), Some(name)) => own == name,
            _ => leg.subscription == *subscription,
        })
    }

    /// A subscription takes the place of a leg again.
    pub fn rejoin(&mut self, leg: usize, subscription: &Subscription) {
        self.legs[leg].subscription = subscription.clone();
    }

    /// Takes a datagram of a leg, and gives the consumer what is in order now.
    #[inline]
    pub fn push(&mut self, leg: usize, now_ns: u64, datagram: Datagram<'_>, mut give: impl FnMut(&Datagram<'_>)) {
        let Self { arbiter, arrivals, events, parity, .. } = self;
        arrivals[leg].take(now_ns, datagram.payload());
        if let Some(parity) = parity {
            parity.media(datagram.payload());
        }
        let deliver = |delivery: Delivery<Lent<'_>, Held>| events.take(now_ns, delivery, &mut give);
        if let Err(error) = arbiter.push(LegId::new(leg as u8), now_ns, Lent(datagram), deliver) {
            self.malformed(leg, &error.to_string());
        }
    }

    /// Takes a parity packet. What it recovers comes by [`Feed::repair`].
    pub fn parity(&mut self, payload: &[u8]) {
        if let Some(parity) = &mut self.parity {
            parity.parity(payload);
        }
    }

    /// Returns true if packets may have been made again from parity.
    #[inline]
    pub fn is_repaired(&self) -> bool {
        self.parity.is_some()
    }

    /// Takes the packets that were made again from parity. `id` is the subscription of a leg.
    pub fn repair(&mut self, id: SubscriptionId, now: Times, mut give: impl FnMut(&Datagram<'_>)) {
        while let Some(packet) = self.parity.as_mut().and_then(Parity::next) {
            let (group, port) = self.place();
            let source =
                self.legs[0].subscription.filter().sources().first().copied().unwrap_or_else(|| unspecified(group));
            self.fill(fill(packet, SocketAddr::new(source, 0), (group, port), id, now), now, &mut give);
        }
    }

    /// Takes an answer of the re-request server. `id` is the subscription of a leg.
    pub fn answer(&mut self, id: SubscriptionId, payload: &[u8], now: Times, give: impl FnMut(&Datagram<'_>)) {
        let Some(requests) = &mut self.events.requests else { return };
        requests.answers += 1;
        let source = requests.server();
        let datagram = fill(Bytes::copy_from_slice(payload), source, self.place(), id, now);
        let filled = self.fill(datagram, now, give);
        if let Some(requests) = &mut self.events.requests {
            requests.filled += filled;
        }
    }

    fn place(&self) -> (IpAddr, u16) {
        (self.legs[0].subscription.group(), self.legs[0].subscription.port())
    }

    /// Takes what came beside the legs. Returns how many sequence numbers were new.
    fn fill(&mut self, datagram: OwnedDatagram, now: Times, mut give: impl FnMut(&Datagram<'_>)) -> u64 {
        let Self { arbiter, events, .. } = self;
        let mut filled = 0;
        let deliver = |delivery: Delivery<Held, Held>| {
            if let Event::Data(data) | Event::Recovered(data) = &delivery.event
                && matches!(data.datagram, Payload::Direct(_))
            {
                filled += u64::from(data.count);
            }
            events.take(now.feed_ns, delivery, &mut give);
        };
        if arbiter.push_retransmission(LegId::new(0), now.feed_ns, Held::new(datagram), deliver).is_ok() {
            self.fills.datagrams += 1;
        } else {
            self.fills.malformed += 1;
        }
        self.fills.sequences += filled;
        filled
    }

    /// Sends the requests that are due. Returns when the next one is.
    pub fn request(&mut self, now_ns: u64) -> Option<u64> {
        let Self { arbiter, events, .. } = self;
        let requests = events.requests.as_mut()?;
        requests.send(now_ns, |stream| arbiter.stream(stream).map(|view| view.key()));
        requests.rerequester.next_deadline()
    }

    /// Where the answers to its requests arrive.
    pub fn answers(&self) -> Option<Answers> {
        self.events.requests.as_ref().map(Requests::answers_at)
    }

    /// Declares the gaps whose time is over.
    pub fn poll(&mut self, now_ns: u64, mut give: impl FnMut(&Datagram<'_>)) {
        let Self { arbiter, events, .. } = self;
        arbiter.poll(now_ns, |delivery: Delivery<Held, Held>| events.take(now_ns, delivery, &mut give));
    }

    /// When [`Feed::poll`] is due.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        self.arbiter.next_deadline()
    }

    /// After the last datagram: gives the consumer what is held, and counts the gaps that are open.
    pub fn finish(&mut self, now_ns: u64, give: impl FnMut(&Datagram<'_>)) {
        let before = self.report(now_ns);
        self.poll(u64::MAX, give);
        self.events.notices.retain(|(_, notice)| !matches!(notice, Notice::Stale(_)));
        self.log();
        self.limits.report(&self.name, None);
        let mut report = self.report(now_ns);
        // The end of time made every stream stale. What was waited for is known to be lost now.
        let at_the_end = |state| if state == FeedState::Recovering { FeedState::Live } else { state };
        report.state = at_the_end(before.state);
        report.total.state = report.state;
        for (stream, before) in report.streams.iter_mut().zip(&before.streams) {
            stream.state = at_the_end(before.state);
        }
        self.last = Some(report);
    }

    #[cold]
    fn malformed(&mut self, leg: usize, error: &str) {
        if !std::mem::replace(&mut self.noticed[leg][0], true) {
            let (name, leg, protocol) = (&self.name, self.legs[leg].shown(), self.protocol);
            tracing::warn!("feed {name}, leg {leg}: a datagram is not of the protocol {protocol}: {error}");
        }
    }

    /// Logs what has happened since the last call.
    #[inline]
    pub fn log(&mut self) {
        if !self.events.notices.is_empty() {
            self.log_notices();
        }
    }

    #[cold]
    fn log_notices(&mut self) {
        let Self { name, protocol, arbiter, legs, events, limits, .. } = self;
        let stream_name = |id| arbiter.stream(id).map(|view| protocol.stream_name(view.key())).unwrap_or_default();
        let leg_name = |leg: LegId| legs.get(leg.index()).map(Leg::shown).unwrap_or_default();
        for (stream, notice) in events.notices.drain(..) {
            limits.log(name, &notice, || {
                let of = match stream_name(stream) {
                    of if of.is_empty() => String::new(),
                    of => format!(", stream {of}"),
                };
                format!("feed {name}{of}: {}", sentence(&notice, leg_name, stream_name))
            });
        }
    }

    /// Logs once that streams are beyond the bound.
    pub fn log_untracked(&mut self) {
        for (at, leg) in self.legs.iter().enumerate() {
            let untracked = self.arbiter.leg(LegId::new(at as u8)).map_or(0, |leg| leg.untracked);
            if untracked > 0 && !std::mem::replace(&mut self.noticed[at][1], true) {
                let (name, leg) = (&self.name, leg.shown());
                let streams = units::count(self.arbiter.streams().count() as u64, "stream");
                tracing::warn!(
                    "feed {name}, leg {leg}: {streams} are tracked; datagrams of others are counted as untracked and \
                     not delivered; raise `streams` of the feed"
                );
            }
        }
    }

    /// What it reports at this moment.
    pub fn report(&self, now_ns: u64) -> FeedReport {
        if let Some(last) = &self.last {
            return last.clone();
        }
        let (mut total, mut state) = (StreamReport::default(), None);
        let (mut streams, mut more_streams) = (Vec::new(), 0);
        let mut legs: Vec<LegReport> = self.legs.iter().enumerate().map(|(at, leg)| self.leg(at, leg)).collect();
        for (at, view) in self.arbiter.streams().enumerate() {
            let events = self.events.streams.get(at).copied().unwrap_or_default();
            let not_kept = self.events.not_kept.get(&at).copied().unwrap_or_default();
            let mut stream = StreamReport::new(String::new(), view.state(), &view.statistics());
            stream.messages -= not_kept;
            stream.missing += not_kept;
            add(&mut total, &stream);
            if !events.is_over {
                state = state.max(Some(stream.state));
            }
            for (number, leg) in legs.iter_mut().enumerate() {
                leg.is_lost |= !events.is_over && events.lost_legs & 1 << number != 0;
                if let Some(of) = view.leg(LegId::new(number as u8)) {
                    leg.first_arrivals += of.first_arrivals;
                    leg.duplicates += of.duplicates;
                    leg.missing += of.missing.saturating_sub(of.reordered);
                    leg.reordered += of.reordered;
                    leg.outages += of.outages;
                }
            }
            if at < MOST_STREAMS {
                streams.push(StreamReport { stream: self.protocol.stream_name(view.key()), ..stream });
            } else {
                more_streams += 1;
            }
        }
        // They are no datagrams of the first leg.
        let (first, fills) = (&mut legs[0], &self.fills);
        first.packets -= fills.datagrams + fills.malformed;
        first.malformed -= fills.malformed;
        first.first_arrivals = first.first_arrivals.saturating_sub(fills.sequences);
        let first_arrivals: u64 = legs.iter().map(|leg| leg.first_arrivals).sum();
        for leg in &mut legs {
            leg.first_share = leg.first_arrivals as f64 / first_arrivals.max(1) as f64;
        }
        // Sessions that are over leave a feed as it was: complete.
        let over = if streams.is_empty() { FeedState::Waiting } else { FeedState::Live };
        total.state = state.unwrap_or(over);
        let gap_ns = self.events.last_gap_ns;
        FeedReport {
            name: self.name.clone(),
            feed: self.protocol.name().into(),
            state: total.state,
            messages_per_second: 0.0,
            last_gap_seconds_ago: gap_ns.map(|gap_ns| now_ns.saturating_sub(gap_ns) as f64 / 1e9),
            legs,
            streams,
            more_streams,
            transport_stream: self.events.media.as_ref().and_then(Media::transport_stream),
            delivery_index: self.events.media.as_ref().and_then(Media::delivery_index),
            rerequest: self.events.requests.as_ref().map(Requests::report),
            fec: self.parity.as_ref().map(Parity::report),
            missing_by: BTreeMap::new(),
            total,
        }
    }

    /// What it and its legs have lost, without what could not be held.
    pub fn losses(&self) -> FeedLosses {
        let legs = vec![LegLosses::default(); self.legs.len()];
        let mut losses = FeedLosses { missing: 0, largest_datagram: self.events.largest.into(), legs };
        for view in self.arbiter.streams() {
            let found = view.statistics();
            losses.missing += found.missing - found.recovered;
            for (number, leg) in losses.legs.iter_mut().enumerate() {
                if let Some(of) = view.leg(LegId::new(number as u8)) {
                    leg.missing += of.missing.saturating_sub(of.reordered);
                    leg.messages += of.first_arrivals + of.duplicates;
                    leg.datagrams += of.datagrams;
                }
            }
        }
        losses
    }

    /// Datagrams of all legs.
    pub fn datagrams(&self) -> u64 {
        (0..self.legs.len()).filter_map(|leg| self.arbiter.leg(LegId::new(leg as u8))).map(|leg| leg.datagrams).sum()
    }

    /// Sequence numbers that could not be held.
    pub fn not_kept(&self) -> u64 {
        self.events.not_kept.values().sum()
    }

    fn leg(&self, at: usize, leg: &Leg) -> LegReport {
        let found = self.arbiter.leg(LegId::new(at as u8));
        let media = self.arrivals[at].media.as_ref();
        let quantiles = |histogram: &Histogram| Some([histogram.quantile(0.5)?, histogram.quantile(0.99)?]);
        LegReport {
            name: leg.shown(),
            subscription: leg.subscription.to_string(),
            packets: found.map_or(0, |found| found.datagrams),
            malformed: found.map_or(0, |found| found.malformed),
            untracked: found.map_or(0, |found| found.untracked),
            lead_nanoseconds: found.and_then(|found| quantiles(&found.lead)),
            lag_nanoseconds: found.and_then(|found| quantiles(&found.lag)),
            peak_bits_per_second: Some(self.arrivals[at].bursts.peak_bit_rates()),
            rtp: media.and_then(Media::rtp),
            transport_stream: media.and_then(Media::transport_stream),
            delivery_index: media.and_then(Media::delivery_index),
            ..LegReport::default()
        }
    }
}

fn add(total: &mut StreamReport, stream: &StreamReport) {
    let counts = [
        (&mut total.packets, stream.packets),
        (&mut total.messages, stream.messages),
        (&mut total.heartbeats, stream.heartbeats),
        (&mut total.gaps, stream.gaps),
        (&mut total.missing, stream.missing),
        (&mut total.recovered, stream.recovered),
        (&mut total.duplicates, stream.duplicates),
        (&mut total.reordered, stream.reordered),
        (&mut total.resets, stream.resets),
        (&mut total.held, stream.held),
    ];
    counts.into_iter().for_each(|(sum, count)| *sum += count);
    total.longest_gap = total.longest_gap.max(stream.longest_gap);
}

impl Arrivals {
    fn new(protocol: AnyProtocol) -> Self {
        Self { bursts: Bursts::default(), media: Media::of(protocol, false) }
    }

    #[inline]
    fn take(&mut self, now_ns: u64, payload: &[u8]) {
        self.bursts.observe(now_ns, payload.len());
        if let Some(media) = &mut self.media {
            media.arrive(now_ns, payload);
            media.deliver(now_ns, payload);
        }
    }
}

impl Events {
    #[inline]
    fn take<L: Lend>(&mut self, now_ns: u64, delivery: Delivery<L, Held>, give: &mut impl FnMut(&Datagram<'_>)) {
        let stream = delivery.stream;
        match &delivery.event {
            Event::Data(data) | Event::Unsequenced(data) => {
                if let Some(media) = &mut self.media {
                    media.deliver(data.arrived_ns, data.datagram.as_ref());
                }
                self.largest = self.largest.max(data.skip + data.count);
                if !data.datagram.lend(give) {
                    self.not_kept(stream, data.first, data.count);
                }
            }
            Event::Heartbeat { .. } => {}
            _ => self.note(now_ns, delivery, give),
        }
    }

    #[cold]
    fn not_kept(&mut self, stream: StreamId, first: u64, count: u32) {
        *self.not_kept.entry(stream.index()).or_default() += u64::from(count);
        self.notices.push((stream, Notice::NotKept(first, count)));
    }

    #[cold]
    fn note<L: Lend>(&mut self, now_ns: u64, delivery: Delivery<L, Held>, give: &mut impl FnMut(&Datagram<'_>)) {
        let stream = delivery.stream;
        if let Some(requests) = &mut self.requests {
            requests.rerequester.observe(now_ns, &delivery);
        }
        let notice = match delivery.event {
            Event::Started { succeeds } => {
                if let Some(before) = succeeds {
                    self.of(before).is_over = true;
                }
                Notice::Started(succeeds)
            }
            Event::Recovered(data) => {
                if data.datagram.lend(give) {
                    Notice::Recovered(data.first, data.count, data.leg)
                } else {
                    return self.not_kept(stream, data.first, data.count);
                }
            }
            Event::Gap(gap) => {
                self.last_gap_ns = Some(now_ns);
                if let Some(media) = &mut self.media {
                    media.miss(gap.to - gap.from);
                }
                Notice::Gap(gap)
            }
            Event::Lost(gap) => Notice::Lost(gap),
            Event::Reset { next } => Notice::Reset(next),
            Event::End { next } => {
                self.of(stream).is_over = true;
                Notice::End(next)
            }
            Event::LegLost { leg, loss } => {
                self.of(stream).lost_legs |= 1 << leg.index();
                Notice::LegLost(leg, loss)
            }
            Event::LegBack { leg } => {
                self.of(stream).lost_legs &= !(1 << leg.index());
                Notice::LegBack(leg)
            }
            Event::Stale { since_ns } => Notice::Stale(now_ns.saturating_sub(since_ns)),
            _ => return,
        };
        self.notices.push((stream, notice));
    }

    fn of(&mut self, stream: StreamId) -> &mut StreamEvents {
        if self.streams.len() <= stream.index() {
            self.streams.resize(stream.index() + 1, StreamEvents::default());
        }
        &mut self.streams[stream.index()]
    }
}
