//! One flow of a capture: the datagrams of one sender to one destination. Its protocol is named or detected; its
//! streams are sequenced by the same engine as live ones.

use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Delivery, Event, LegId};
use receiver_feed::health::Bursts;
use receiver_feed::protocol::{AnyProtocol, Detected, Detector, Kind, MpegTs, Protocol, Rtp, StreamKey};
use rustc_hash::FxHashMap;

use crate::media::Media;

/// Datagrams after which a flow that was not recognized is given up.
const MOST_LOOKED_AT: usize = 64;
/// A capture has one leg for each flow.
const LEG: LegId = LegId::new(0);

/// What is known of a flow.
pub struct Flow {
    pub packets: u64,
    pub bytes: u64,
    pub bursts: Bursts,
    pub phase: Phase,
}

/// How far a flow is recognized.
pub enum Phase {
    /// Not yet. The datagrams so far, with their times.
    Looking(Detector, Vec<(u64, Vec<u8>)>),
    /// As this protocol.
    Known(Box<Sequenced>),
    /// As none.
    Unknown,
}

/// The streams of a flow, in sequence.
pub struct Sequenced {
    pub protocol: AnyProtocol,
    pub arbiter: Arbiter<AnyProtocol, Bytes>,
    /// Messages in the datagrams of each stream.
    pub messages: FxHashMap<StreamKey, u64>,
    /// Of RTP and MPEG-TS alone.
    pub media: Option<Media>,
}

/// How flows are analyzed.
#[derive(Clone)]
pub struct Settings {
    /// The protocol; `None`: detected for each flow.
    pub protocol: Option<AnyProtocol>,
    /// How long a missing range is waited for.
    pub window_ns: u64,
    /// The times of arrival are those of hardware.
    pub precise_times: bool,
}

impl Settings {
    fn config(&self) -> Config {
        // Only time decides: the file tells what came later. And whatever comes later fills its gap.
        Config::new(1).window_ns(self.window_ns).reorder(u64::MAX >> 1).recovery_ns(u64::MAX)
    }

    fn sequenced(&self, protocol: AnyProtocol) -> Box<Sequenced> {
        Box::new(Sequenced {
            protocol,
            arbiter: Arbiter::new(protocol, self.config()),
            messages: FxHashMap::default(),
            media: Media::of(protocol, self.precise_times),
        })
    }
}

impl Flow {
    /// A flow without datagrams.
    pub fn new(settings: &Settings) -> Self {
        let phase = match settings.protocol {
            Some(protocol) => Phase::Known(settings.sequenced(protocol)),
            None => Phase::Looking(Detector::default(), Vec::new()),
        };
        Self { packets: 0, bytes: 0, bursts: Bursts::default(), phase }
    }

    /// Takes one datagram. `now_ns` does not go back.
    pub fn take(&mut self, settings: &Settings, now_ns: u64, payload: &[u8]) {
        self.packets += 1;
        self.bytes += payload.len() as u64;
        self.bursts.observe(now_ns, payload.len());
        match &mut self.phase {
            Phase::Known(known) => known.take(now_ns, payload),
            Phase::Unknown => {}
            Phase::Looking(detector, kept) => {
                kept.push((now_ns, payload.to_vec()));
                let protocol = detector.observe(payload).map(|detected| match detected {
                    Detected::Rtp => AnyProtocol::from(Rtp),
                    _ => MpegTs.into(),
                });
                if let Some(protocol) = protocol {
                    let mut known = settings.sequenced(protocol);
                    kept.iter().for_each(|(at_ns, payload)| known.take(*at_ns, payload));
                    self.phase = Phase::Known(known);
                } else if kept.len() >= MOST_LOOKED_AT {
                    self.phase = Phase::Unknown;
                }
            }
        }
    }

    /// After the last datagram: declares the gaps that are still waited for.
    pub fn finish(&mut self) {
        if let Phase::Known(known) = &mut self.phase {
            known.poll(u64::MAX);
        }
    }
}

impl Sequenced {
    fn take(&mut self, now_ns: u64, payload: &[u8]) {
        self.poll(now_ns);
        if let Ok(packet) = self.protocol.parse(payload)
            && packet.kind != Kind::Heartbeat
        {
            *self.messages.entry(packet.stream).or_default() += packet.message_count(payload);
        }
        let Self { arbiter, media, .. } = self;
        // The arbiter counts what is malformed.
        let _ = arbiter.push(LEG, now_ns, payload, |delivery| deliver(media, delivery));
        if let Some(media) = media {
            media.arrive(now_ns, payload);
        }
    }

    /// Datagrams that are not of the protocol.
    pub fn malformed(&self) -> u64 {
        self.arbiter.leg(LEG).map_or(0, |leg| leg.malformed)
    }

    /// Declares the gaps that are over at this time.
    fn poll(&mut self, now_ns: u64) {
        let Self { arbiter, media, .. } = self;
        arbiter.poll::<&[u8]>(now_ns, |delivery| deliver(media, delivery));
    }
}

fn deliver(media: &mut Option<Media>, delivery: Delivery<&[u8], Bytes>) {
    let Some(media) = media else { return };
    match &delivery.event {
        Event::Gap(gap) => media.miss(gap.to - gap.from),
        Event::Data(data) | Event::Unsequenced(data) => media.deliver(data.arrived_ns, data.datagram.as_ref()),
        _ => {}
    }
}
