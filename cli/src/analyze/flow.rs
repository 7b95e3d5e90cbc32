//! One flow of a capture: the datagrams of one sender to one destination. Its protocol is named or detected; its
//! streams are sequenced by the same engine as live ones.

use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Delivery, Event, LegId};
use receiver_feed::health::{Bursts, Mdi, RtpHealth, TsConfig, TsHealth, clock_rate};
use receiver_feed::protocol::is_transport_stream;
use receiver_feed::protocol::{AnyProtocol, Detected, Detector, Kind, MpegTs, Protocol, Rtp, RtpHeader, StreamKey};
use rustc_hash::FxHashMap;

/// Datagrams after which a flow that was not recognized is given up.
const MOST_LOOKED_AT: usize = 64;
/// The clock of RTP payload types that have no fixed one (RFC 3551, section 6): that of video.
const VIDEO_CLOCK: u32 = 90_000;
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
            media: matches!(protocol, AnyProtocol::Rtp(_) | AnyProtocol::MpegTs(_)).then(Media::default),
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
            Phase::Known(known) => known.take(settings, now_ns, payload),
            Phase::Unknown => {}
            Phase::Looking(detector, kept) => {
                kept.push((now_ns, payload.to_vec()));
                let protocol = detector.observe(payload).map(|detected| match detected {
                    Detected::Rtp => AnyProtocol::from(Rtp),
                    _ => MpegTs.into(),
                });
                if let Some(protocol) = protocol {
                    let mut known = settings.sequenced(protocol);
                    kept.iter().for_each(|(at_ns, payload)| known.take(settings, *at_ns, payload));
                    self.phase = Phase::Known(known);
                } else if kept.len() >= MOST_LOOKED_AT {
                    self.phase = Phase::Unknown;
                }
            }
        }
    }

    /// After the last datagram: declares the gaps that are still waited for.
    pub fn finish(&mut self, settings: &Settings) {
        if let Phase::Known(known) = &mut self.phase {
            known.poll(settings, u64::MAX);
        }
    }
}

impl Sequenced {
    fn take(&mut self, settings: &Settings, now_ns: u64, payload: &[u8]) {
        self.poll(settings, now_ns);
        if let Ok(packet) = self.protocol.parse(payload)
            && packet.kind != Kind::Heartbeat
        {
            *self.messages.entry(packet.stream).or_default() += packet.message_count(payload);
        }
        let Self { arbiter, media, .. } = self;
        // The arbiter counts what is malformed.
        let _ = arbiter.push(LEG, now_ns, payload, |delivery| deliver(media, settings, delivery));
        if let Some(media) = media {
            media.arrive(now_ns, payload);
        }
    }

    /// Datagrams that are not of the protocol.
    pub fn malformed(&self) -> u64 {
        self.arbiter.leg(LEG).map_or(0, |leg| leg.malformed)
    }

    /// Declares the gaps that are over at this time.
    fn poll(&mut self, settings: &Settings, now_ns: u64) {
        let Self { arbiter, media, .. } = self;
        arbiter.poll::<&[u8]>(now_ns, |delivery| deliver(media, settings, delivery));
    }
}

fn deliver(media: &mut Option<Media>, settings: &Settings, delivery: Delivery<&[u8], Bytes>) {
    if let Some(media) = media {
        media.deliver(settings, delivery);
    }
}

/// The health of the media in a flow.
#[derive(Default)]
pub struct Media {
    pub rtp: Option<RtpHealth>,
    pub ts: Option<(TsHealth, Mdi)>,
    /// When the latest packet of the transport stream arrived.
    last_ns: u64,
    /// Lost RTP packets that the delivery index has not taken yet.
    lost: u64,
}

impl Media {
    /// A datagram as it arrived: RTP is judged in this order.
    fn arrive(&mut self, now_ns: u64, payload: &[u8]) {
        let Some(header) = rtp(payload) else { return };
        let rate = clock_rate(header.payload_type).unwrap_or(VIDEO_CLOCK);
        self.rtp.get_or_insert_with(|| RtpHealth::new(rate)).observe(&header, now_ns);
    }

    /// A transport stream is judged in the order of the sequence, as its decoder gets it.
    fn deliver(&mut self, settings: &Settings, delivery: Delivery<&[u8], Bytes>) {
        let data = match &delivery.event {
            Event::Gap(gap) => {
                self.lost += gap.to - gap.from;
                return;
            }
            Event::Data(data) | Event::Unsequenced(data) => data,
            _ => return,
        };
        let payload = data.datagram.as_ref();
        let packets = rtp(payload).map_or(payload, |header| &payload[header.payload..header.end]);
        if !is_transport_stream(packets) {
            return;
        }
        let (health, index) = self.ts.get_or_insert_with(|| {
            let config = TsConfig::default();
            let config = if settings.precise_times { config.precise_arrivals() } else { config };
            (TsHealth::new(config), Mdi::new())
        });
        self.last_ns = self.last_ns.max(data.arrived_ns);
        health.observe(packets, self.last_ns);
        index.observe(self.last_ns, packets.len(), std::mem::take(&mut self.lost));
    }
}

/// The header of a datagram that is RTP and not a plain transport stream.
fn rtp(payload: &[u8]) -> Option<RtpHeader> {
    if is_transport_stream(payload) { None } else { RtpHeader::parse(payload).ok() }
}
