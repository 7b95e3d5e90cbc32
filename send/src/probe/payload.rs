//! The header at the start of each test datagram's UDP payload.
//!
//! ```text
//! offset  bytes  field (big-endian)
//!      0      2  magic 0x5ac7
//!      2      4  stream id
//!      6      8  sequence number, from 0
//!     14      8  send time, nanoseconds of CLOCK_TAI
//! ```
//!
//! 22 bytes, so that an IPv4 test datagram fits an Ethernet frame of 64 bytes (14 + 20 + 8 + 22). The price is a magic
//! of 16 bits: one random payload in 65,536 is mistaken for a probe. Send times after the year 2262 (the top bit set)
//! are refused, which halves that.

/// Length of the header, and so the smallest payload of a test datagram, in bytes.
pub const PROBE_LEN: usize = 22;

const MAGIC: u16 = 0x5ac7;

/// The header of a test datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePayload {
    /// Identifies the flow, together with its addresses and ports. A sender that starts again uses another.
    pub stream: u32,
    /// Counts the datagrams of the flow, from 0, by 1.
    pub sequence: u64,
    /// When the datagram was handed to the kernel, nanoseconds of `CLOCK_TAI`, below 2^63.
    pub sent_ns: u64,
}

impl ProbePayload {
    /// Writes the header at the start of `payload`; the rest is left as it is.
    ///
    /// Returns false, with nothing written, if `payload` is shorter than [`PROBE_LEN`] or `sent_ns` is 2^63 or more.
    #[inline]
    #[must_use]
    pub fn write_into(&self, payload: &mut [u8]) -> bool {
        let Some(header) = payload.first_chunk_mut::<PROBE_LEN>() else { return false };
        if self.sent_ns >> 63 != 0 {
            return false;
        }
        header[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        header[2..6].copy_from_slice(&self.stream.to_be_bytes());
        header[6..14].copy_from_slice(&self.sequence.to_be_bytes());
        header[14..22].copy_from_slice(&self.sent_ns.to_be_bytes());
        true
    }

    /// Reads the header. `None` if the payload is too short or not a probe. The bytes after the header are not read.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let header = payload.first_chunk::<PROBE_LEN>()?;
        if u16::from_be_bytes([header[0], header[1]]) != MAGIC || header[14] >> 7 != 0 {
            return None;
        }
        let (_, rest) = header.split_first_chunk::<2>()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            stream: u32::from_be_bytes(*stream),
            sequence: u64::from_be_bytes(*sequence),
            sent_ns: u64::from_be_bytes(*sent_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout() {
        let probe =
            ProbePayload { stream: 0x0102_0304, sequence: 0x1112_1314_1516_1718, sent_ns: 0x2122_2324_2526_2728 };
        let mut payload = [0xffu8; 24];
        assert!(probe.write_into(&mut payload));
        let expected: [u8; 24] = [
            0x5a, 0xc7, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26,
            0x27, 0x28, 0xff, 0xff,
        ];
        assert_eq!(payload, expected);
        assert_eq!(ProbePayload::parse(&payload), Some(probe));
    }

    #[test]
    fn refusals() {
        let probe = ProbePayload { stream: 1, sequence: 2, sent_ns: 3 };
        let mut payload = [0u8; PROBE_LEN];
        assert!(!probe.write_into(&mut payload[..PROBE_LEN - 1]));
        assert_eq!(payload, [0; PROBE_LEN], "nothing is written when it does not fit");
        assert!(!ProbePayload { sent_ns: 1 << 63, ..probe }.write_into(&mut payload));
        assert!(probe.write_into(&mut payload));
        assert_eq!(ProbePayload::parse(&payload[..PROBE_LEN - 1]), None);
        payload[14] |= 0x80;
        assert_eq!(ProbePayload::parse(&payload), None);
        payload[14] = 0;
        payload[1] ^= 1;
        assert_eq!(ProbePayload::parse(&payload), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_the_inverse(
            mut payload in prop::collection::vec(any::<u8>(), 0..64), magic: bool,
        ) {
            if magic && payload.len() >= 2 {
                payload[..2].copy_from_slice(&MAGIC.to_be_bytes());
            }
            if let Some(probe) = ProbePayload::parse(&payload) {
                let before = payload.clone();
                prop_assert!(probe.write_into(&mut payload));
                prop_assert_eq!(payload, before);
            }
        }

        #[test]
        fn written_is_read_back(stream: u32, sequence: u64, sent_ns in 0..1u64 << 63, extra in 0usize..40) {
            let probe = ProbePayload { stream, sequence, sent_ns };
            let mut payload = vec![0u8; PROBE_LEN + extra];
            prop_assert!(probe.write_into(&mut payload));
            prop_assert_eq!(ProbePayload::parse(&payload), Some(probe));
        }
    }
}
