//! The health of RTP and MPEG-TS in one flow: of a capture, of a leg, or of what a feed delivers. The names in JSON do
//! not change.

use receiver_feed::health::{Mdi, RtpHealth, TsConfig, TsHealth, clock_rate};
use receiver_feed::protocol::{AnyProtocol, RtpHeader, is_transport_stream};
use serde_json::{Value, json};

/// The clock of RTP payload types that have no fixed one (RFC 3551, section 6): that of video.
const VIDEO_CLOCK: u32 = 90_000;

/// The health of the media in a flow.
#[derive(Default)]
pub struct Media {
    rtp: Option<RtpHealth>,
    ts: Option<(TsHealth, Mdi)>,
    /// The times of arrival are those of hardware.
    precise_times: bool,
    /// When the latest packet of the transport stream arrived.
    last_ns: u64,
    /// Lost RTP packets that the delivery index has not taken yet.
    lost: u64,
}

impl Media {
    /// Nothing yet. `precise_times`: the times of arrival are those of hardware.
    pub fn new(precise_times: bool) -> Self {
        Self { precise_times, ..Self::default() }
    }

    /// Nothing yet, if the protocol is one of media.
    pub fn of(protocol: AnyProtocol, precise_times: bool) -> Option<Self> {
        matches!(protocol, AnyProtocol::Rtp(_) | AnyProtocol::MpegTs(_)).then(|| Self::new(precise_times))
    }

    /// A datagram as it arrived: RTP is judged in this order.
    pub fn arrive(&mut self, now_ns: u64, payload: &[u8]) {
        let Some(header) = rtp(payload) else { return };
        let rate = clock_rate(header.payload_type).unwrap_or(VIDEO_CLOCK);
        self.rtp.get_or_insert_with(|| RtpHealth::new(rate)).observe(&header, now_ns);
    }

    /// RTP packets are missing in front of what is delivered next.
    pub fn miss(&mut self, count: u64) {
        self.lost += count;
    }

    /// A datagram in the order of the sequence: a transport stream is judged as its decoder gets it.
    pub fn deliver(&mut self, arrived_ns: u64, payload: &[u8]) {
        let packets = rtp(payload).map_or(payload, |header| &payload[header.payload..header.end]);
        if !is_transport_stream(packets) {
            return;
        }
        let (health, index) = self.ts.get_or_insert_with(|| {
            let config = TsConfig::default();
            let config = if self.precise_times { config.precise_arrivals() } else { config };
            (TsHealth::new(config), Mdi::new())
        });
        self.last_ns = self.last_ns.max(arrived_ns);
        health.observe(packets, self.last_ns);
        index.observe(self.last_ns, packets.len(), std::mem::take(&mut self.lost));
    }

    /// RTP, if there was any.
    pub fn rtp(&self) -> Option<Value> {
        let report = self.rtp.as_ref()?.report();
        Some(json!({
            "packets": report.packets, "lost": report.lost, "duplicates": report.duplicates,
            "reordered": report.reordered, "longest_gap": report.longest_gap, "restarts": report.restarts,
            "jitter_nanoseconds": report.jitter_ns, "highest_jitter_nanoseconds": report.max_jitter_ns,
        }))
    }

    /// The transport stream, if there was one.
    pub fn transport_stream(&self) -> Option<Value> {
        self.ts.as_ref().map(|(health, _)| transport_stream(health))
    }

    /// The delivery index of the transport stream, once it was measured.
    pub fn delivery_index(&self) -> Option<Value> {
        let (_, index) = self.ts.as_ref()?;
        let last = index.last()?;
        Some(json!({
            "delay_factor_nanoseconds": last.delay_factor_ns,
            "highest_delay_factor_nanoseconds": index.worst_delay_factor_ns(),
            "media_loss_rate": last.media_loss_rate,
        }))
    }
}

/// The header of a datagram that is RTP and not a plain transport stream.
fn rtp(payload: &[u8]) -> Option<RtpHeader> {
    if is_transport_stream(payload) { None } else { RtpHeader::parse(payload).ok() }
}

fn transport_stream(health: &TsHealth) -> Value {
    let report = health.report();
    let errors = &report.errors;
    let programs: Vec<Value> = report
        .programs
        .iter()
        .map(|program| {
            let streams: Vec<Value> = program
                .streams
                .iter()
                .map(|stream| json!({"pid": stream.pid, "stream_type": stream.stream_type}))
                .collect();
            json!({
                "number": program.number, "service": program.service, "provider": program.provider,
                "pmt_pid": program.pmt_pid, "pcr_pid": program.pcr_pid, "streams": streams,
            })
        })
        .collect();
    let pids: Vec<Value> = report
        .pids
        .iter()
        .map(|pid| {
            let pcr = pid.pcr.as_ref().map(|pcr| {
                json!({
                    "count": pcr.count, "highest_interval_nanoseconds": pcr.max_interval_ns,
                    "jitter_nanoseconds": pcr.jitter_ns, "bits_per_second": pcr.bit_rate,
                })
            });
            json!({
                "pid": pid.pid, "packets": pid.packets, "continuity_errors": pid.continuity_errors,
                "missing": pid.missing, "duplicates": pid.duplicates, "scrambled": pid.scrambled, "pcr": pcr,
            })
        })
        .collect();
    json!({
        "packets": report.packets, "null_packets": report.null_packets, "bits_per_second": report.bit_rate,
        "transport_stream_id": report.transport_stream_id,
        "priority_1": {
            "sync_loss": errors.sync_loss, "sync_byte": errors.sync_byte, "pat": errors.pat,
            "continuity": errors.continuity, "pmt": errors.pmt, "pid": errors.pid,
        },
        "priority_2": {
            "transport": errors.transport, "crc": errors.crc, "pcr_repetition": errors.pcr_repetition,
            "pcr_discontinuity": errors.pcr_discontinuity, "pcr_accuracy": errors.pcr_accuracy, "pts": errors.pts,
            "cat": errors.cat,
        },
        "programs": programs, "pids": pids,
    })
}
