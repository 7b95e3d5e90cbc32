//! Recognizes RTP and MPEG-TS by their bytes. Market data has no magic: it must be named.

use super::mpeg_ts::is_transport_stream;
use super::rtp::RtpHeader;

/// RTP packets in sequence that make an RTP stream: one in 2^34 random pairs of datagrams looks like it.
const RTP_RUN: u32 = 3;

/// What a flow was recognized as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detected {
    /// MPEG-TS, directly in UDP.
    MpegTs,
    /// MPEG-TS in RTP.
    MpegTsInRtp,
    /// RTP with another payload.
    Rtp,
}

/// Recognizes one flow from its first datagrams.
///
/// ```
/// use receiver_feed::protocol::{Detected, Detector};
///
/// let mut datagram = [0u8; 7 * 188];
/// for packet in datagram.chunks_mut(188) {
///     packet[0] = 0x47;
/// }
/// assert_eq!(Detector::default().observe(&datagram), Some(Detected::MpegTs));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Detector {
    last: Option<RtpHeader>,
    run: u32,
}

impl Detector {
    /// Takes one datagram. Returns what the flow is once that is certain enough.
    pub fn observe(&mut self, datagram: &[u8]) -> Option<Detected> {
        if is_transport_stream(datagram) {
            return Some(Detected::MpegTs);
        }
        let header = RtpHeader::parse(datagram).ok();
        let follows = |last: RtpHeader, next: RtpHeader| {
            let step = next.sequence.wrapping_sub(last.sequence);
            last.ssrc == next.ssrc && (1..=16).contains(&step)
        };
        self.run = match (self.last, header) {
            (_, None) => 0,
            (Some(last), Some(next)) if follows(last, next) => self.run + 1,
            (_, Some(_)) => 1,
        };
        self.last = header;
        let header = header?;
        if is_transport_stream(&datagram[header.payload..header.end]) {
            return Some(Detected::MpegTsInRtp);
        }
        (self.run >= RTP_RUN).then_some(Detected::Rtp)
    }
}
