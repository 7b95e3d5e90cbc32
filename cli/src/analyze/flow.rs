//! One flow of a capture: the datagrams of one sender to one destination. Its protocol is named or detected; its streams
//! are sequenced by the same engine as live ones.

use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, LegId};
use receiver_feed::health::{Bursts, Mdi, RtpHealth, TsConfig, TsHealth, clock_rate};
use receiver_feed::protocol::is_transport_stream;
use receiver_feed::protocol::{AnyProtocol, Detected, Detector, MpegTs, Protocol, Rtp, RtpHeader, StreamKey};
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
    pub malformed: u64,
    /// Messages in the datagrams of each stream.
    pub messages: FxHashMap<StreamKey, u64>,
    pub rtp: Option<RtpHealth>,
    pub ts: Option<(TsHealth, Mdi)>,
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
            malformed: 0,
            messages: FxHashMap::default(),
            rtp: None,
            ts: None,
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
    pub fn finish(&mut self) {
        match &mut self.phase {
            Phase::Known(known) => known.arbiter.poll::<&[u8]>(u64::MAX, drop),
            phase => *phase = Phase::Unknown,
        }
    }
}

impl Sequenced {
    fn take(&mut self, settings: &Settings, now_ns: u64, payload: &[u8]) {
        self.arbiter.poll::<&[u8]>(now_ns, drop);
        match self.protocol.parse(payload) {
            Ok(packet) => {
                let messages = if packet.messages > 0 { packet.messages } else { packet.count };
                let heartbeat = packet.kind == receiver_feed::protocol::Kind::Heartbeat;
                *self.messages.entry(packet.stream).or_default() += if heartbeat { 0 } else { u64::from(messages) };
            }
            Err(_) => self.malformed += 1,
        }
        // The error was counted above.
        let _ = self.arbiter.push(LEG, now_ns, payload, drop);
        self.observe(settings, now_ns, payload);
    }

    /// The health of media.
    fn observe(&mut self, settings: &Settings, now_ns: u64, payload: &[u8]) {
        let header = match self.protocol {
            AnyProtocol::Rtp(_) | AnyProtocol::MpegTs(_) if !is_transport_stream(payload) => {
                RtpHeader::parse(payload).ok()
            }
            AnyProtocol::MpegTs(_) => None,
            _ => return,
        };
        let mut lost = 0;
        if let Some(header) = &header {
            let rate = clock_rate(header.payload_type).unwrap_or(VIDEO_CLOCK);
            let health = self.rtp.get_or_insert_with(|| RtpHealth::new(rate));
            let before = health.report().lost;
            health.observe(header, now_ns);
            lost = health.report().lost.saturating_sub(before);
        }
        let packets = header.map_or(payload, |header| &payload[header.payload..header.end]);
        if is_transport_stream(packets) {
            let (health, mdi) = self.ts.get_or_insert_with(|| {
                let config = TsConfig::default();
                let config = if settings.precise_times { config.precise_arrivals() } else { config };
                (TsHealth::new(config), Mdi::new())
            });
            health.observe(packets, now_ns);
            mdi.observe(now_ns, packets.len(), lost);
        }
    }
}
