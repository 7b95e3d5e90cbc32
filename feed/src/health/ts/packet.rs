//! One transport stream packet (ISO/IEC 13818-1, section 2.4.3).

/// The 188 bytes.
pub(super) type Bytes = [u8; 188];

/// The PID of null packets.
pub(super) const NULL_PID: u16 = 0x1fff;

/// A packet whose sync byte was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct TsPacket<'a> {
    bytes: &'a Bytes,
}

impl<'a> TsPacket<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes }
    }

    pub(super) fn transport_error(self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    pub(super) fn unit_start(self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    pub(super) fn pid(self) -> u16 {
        u16::from(self.bytes[1] & 0x1f) << 8 | u16::from(self.bytes[2])
    }

    pub(super) fn scrambled(self) -> bool {
        self.bytes[3] & 0xc0 != 0
    }

    pub(super) fn has_payload(self) -> bool {
        self.bytes[3] & 0x10 != 0
    }

    fn has_adaptation(self) -> bool {
        self.bytes[3] & 0x20 != 0
    }

    pub(super) fn continuity(self) -> u8 {
        self.bytes[3] & 0x0f
    }

    /// The flags of the adaptation field; 0 without one.
    fn flags(self) -> u8 {
        if self.has_adaptation() && self.bytes[4] > 0 { self.bytes[5] } else { 0 }
    }

    pub(super) fn discontinuity(self) -> bool {
        self.flags() & 0x80 != 0
    }

    /// The program clock reference, in units of 27 MHz.
    pub(super) fn pcr(self) -> Option<u64> {
        if self.flags() & 0x10 == 0 || self.bytes[4] < 7 {
            return None;
        }
        let b = self.bytes;
        let base = u64::from(u32::from_be_bytes([b[6], b[7], b[8], b[9]])) << 1 | u64::from(b[10] >> 7);
        Some(base * 300 + (u64::from(b[10] & 1) << 8 | u64::from(b[11])))
    }

    pub(super) fn payload(self) -> &'a [u8] {
        let start = match (self.has_payload(), self.has_adaptation()) {
            (false, _) => return &[],
            (true, false) => 4,
            (true, true) => 5 + usize::from(self.bytes[4]),
        };
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Returns true if a PES packet with a presentation time begins here.
    pub(super) fn has_pts(self) -> bool {
        let payload = self.payload();
        self.unit_start()
            && payload.len() > 8
            && payload[..3] == [0, 0, 1]
            && payload[6] >> 6 == 2
            && payload[7] & 0x80 != 0
    }

    /// What tells a repeated packet from another with the same counter, at little cost. A repeated packet may have
    /// another PCR (section 2.4.3.3), so the adaptation field is left out.
    pub(super) fn fingerprint(self) -> u64 {
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        word(self.payload()) ^ word(&self.bytes[180..]).rotate_left(31) ^ u64::from(self.bytes[1] & 0x40)
    }
}
