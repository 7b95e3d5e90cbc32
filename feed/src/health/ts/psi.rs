//! Tables: sections put together from packets (ISO/IEC 13818-1, section 2.4.4), PAT, PMT and CAT, and the SDT (ETSI
//! EN 300 468, section 5.2.3).

use super::packet::TsPacket;

/// Longest section: 12 bits of length and three bytes before it.
const MAX_SECTION: usize = 4098;

/// Puts the sections of one PID together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections {
    bytes: Vec<u8>,
    /// Waiting for the start of a section.
    idle: bool,
}

impl Sections {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), idle: true }
    }

    /// A packet is missing: what was begun is useless.
    pub(super) fn reset(&mut self) {
        self.bytes.clear();
        self.idle = true;
    }

    /// Takes a packet, and hands out each section that it completes.
    pub(super) fn take(&mut self, packet: TsPacket<'_>, mut section: impl FnMut(&[u8])) {
        let payload = packet.payload();
        if packet.unit_start() {
            let Some((&pointer, rest)) = payload.split_first() else { return };
            let Some((before, after)) = rest.split_at_checked(pointer.into()) else { return self.reset() };
            self.append(before, &mut section);
            self.bytes.clear();
            self.idle = false;
            self.append(after, &mut section);
        } else {
            self.append(payload, &mut section);
        }
    }

    fn append(&mut self, bytes: &[u8], section: &mut impl FnMut(&[u8])) {
        if self.idle {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        loop {
            // Stuffing follows the last section.
            if self.bytes.first() == Some(&0xff) {
                return self.reset();
            }
            let Some(length) = self.bytes.get(1..3).map(|b| 3 + (usize::from(b[0] & 0x0f) << 8 | usize::from(b[1])))
            else {
                return;
            };
            if length > MAX_SECTION {
                return self.reset();
            }
            if self.bytes.len() < length {
                return;
            }
            section(&self.bytes[..length]);
            self.bytes.drain(..length);
        }
    }
}

/// CRC-32 of ISO/IEC 13818-1, annex A: 0 over a whole section.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let (mut value, mut bit) = ((at as u32) << 24, 0);
            while bit < 8 {
                value = if value >> 31 != 0 { value << 1 ^ 0x04c1_1db7 } else { value << 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    bytes.iter().fold(u32::MAX, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

/// A table's section with a CRC and the long header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) table_id: u8,
    /// Transport stream id or program number.
    pub(super) extension: u16,
    /// Section number, and the number of the last one.
    pub(super) number: (u8, u8),
    pub(super) version: u8,
    /// Whether it is in force now.
    pub(super) current: bool,
    pub(super) crc: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Section<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; 8] = bytes.first_chunk()?;
        let (rest, crc) = bytes.split_last_chunk()?;
        let body = rest.get(8..)?;
        Some(Self {
            table_id: header[0],
            extension: u16::from_be_bytes([header[3], header[4]]),
            number: (header[6], header[7]),
            version: header[5] >> 1 & 0x1f,
            current: header[5] & 1 != 0,
            crc: u32::from_be_bytes(*crc),
            body,
        })
    }
}

fn pid(high: u8, low: u8) -> u16 {
    u16::from(high & 0x1f) << 8 | u16::from(low)
}

/// Programs and the PIDs of their PMTs. Program 0 is the network's.
pub(super) fn pat(body: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    let entries = body.chunks_exact(4).map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), pid(entry[2], entry[3])));
    entries.filter(|(program, _)| *program != 0)
}

/// The clock's PID, and type and PID of each elementary stream.
pub(super) fn pmt(body: &[u8]) -> Option<(u16, Vec<(u8, u16)>)> {
    let header: &[u8; 4] = body.first_chunk()?;
    let information = usize::from(header[2] & 0x0f) << 8 | usize::from(header[3]);
    let (mut rest, mut streams) = (body.get(4 + information..)?, Vec::new());
    while let Some(entry) = rest.first_chunk::<5>() {
        streams.push((entry[0], pid(entry[1], entry[2])));
        rest = rest.get(5 + (usize::from(entry[3] & 0x0f) << 8 | usize::from(entry[4]))..).unwrap_or_default();
    }
    Some((pid(header[0], header[1]), streams))
}

/// Service id, provider and name of each service.
pub(super) fn sdt(body: &[u8]) -> Vec<(u16, String, String)> {
    let (mut rest, mut services) = (body.get(3..).unwrap_or_default(), Vec::new());
    while let Some(entry) = rest.first_chunk::<5>() {
        let length = usize::from(entry[3] & 0x0f) << 8 | usize::from(entry[4]);
        let mut descriptors = rest.get(5..5 + length).unwrap_or_default();
        while let [tag, length, ..] = *descriptors {
            let content = descriptors.get(2..2 + usize::from(length)).unwrap_or_default();
            // The service descriptor: type, provider, name (section 6.2.33).
            if let (0x48, Some((provider, name))) = (tag, content.get(1..).and_then(two_texts)) {
                services.push((u16::from_be_bytes([entry[0], entry[1]]), text(provider), text(name)));
            }
            descriptors = descriptors.get(2 + usize::from(length)..).unwrap_or_default();
        }
        rest = rest.get(5 + length..).unwrap_or_default();
    }
    services
}

fn two_texts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_at_checked(length.into())?;
    let (&length, rest) = rest.split_first()?;
    Some((first, rest.get(..length.into())?))
}

/// Text of EN 300 468, annex A: UTF-8 where it is marked as such, else its bytes as Latin-1, which is right for ASCII.
fn text(bytes: &[u8]) -> String {
    let text: String = match bytes {
        [0x15, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0x10, _, _, rest @ ..] | [0x01..=0x1f, rest @ ..] | rest => rest.iter().copied().map(char::from).collect(),
    };
    text.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender chooses the names, and they are printed to terminals.
    #[test]
    fn names_have_no_control_characters() {
        for bytes in [&b"\x1b[2Jnews\x07"[..], b"\x15\x1b[2Jnews\xc2\x9b", b"\x10\x00\x01\x1b[2Jnews\x85"] {
            assert_eq!(text(bytes), "[2Jnews", "{bytes:?}");
        }
    }
}
