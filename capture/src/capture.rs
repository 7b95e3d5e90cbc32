//! Reads capture files: pcap and pcapng, with microseconds or nanoseconds, of either byte order.

use std::io::Read;

use pcap_parser::pcapng::{Block, EnhancedPacketBlock};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{OptionCode, PcapBlockOwned, PcapError, PcapHeader, create_reader};

/// The largest block that can be read, in bytes: a jumbo frame, a packet that GRO has joined, a table of names.
pub const LARGEST_BLOCK: usize = 4 << 20;
/// `epb_dropcount`.
const DROP_COUNT: OptionCode = OptionCode(4);
/// The beginning of the description of an interface whose frames were not delivered, in recordings of this program.
pub const UNDELIVERED: &str = "not delivered: ";
/// `if_description`.
const DESCRIPTION: OptionCode = OptionCode(3);
const NANOSECONDS: u128 = 1_000_000_000;

/// One captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The kind of its first header: a number of the registry at tcpdump.org/linktypes.html.
    pub link_type: i32,
    /// When it was captured, nanoseconds since 1970. `None` where the file has no time.
    pub time_ns: Option<u64>,
    /// Packets that were lost before it, as far as the file has their number (`epb_dropcount`).
    pub lost_before: u64,
    /// Its bytes, as many as were captured.
    pub bytes: &'a [u8],
}

/// An interface of a pcapng section.
#[derive(Clone, Copy, Debug)]
struct Source {
    link_type: i32,
    units_per_second: u64,
    offset_seconds: i64,
    is_undelivered: bool,
}

/// Why the input cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There are no bytes.
    #[error("it is empty")]
    Empty,
    /// Its beginning cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// It is no capture.
    #[error("it is neither pcap nor pcapng; convert it, for example by `editcap -F pcapng IN OUT`")]
    NoCapture,
    /// A block does not fit into memory.
    #[error("a block is longer than {0} bytes")]
    LongBlock(usize),
    /// What follows cannot be read.
    #[error("it cannot be read to its end")]
    UnreadableEnd,
    /// A packet has no header before it.
    #[error("a packet comes before the header")]
    NoHeader,
}

/// What a step of a [`Reader`] has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// The input has ended. In the middle of a packet if a text states what is wrong: what came before is whole.
    End(Option<String>),
}

/// Reads a capture block by block.
pub struct Reader<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    largest: usize,
    header: Option<PcapHeader>,
    sources: Vec<Source>,
    at: usize,
    undelivered: bool,
    left_out: u64,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What is wrong with its end, if it ends in the middle of a packet: what came before is whole.
    pub problem: Option<String>,
    /// Frames of a recording that were not delivered, and were left out.
    pub left_out: u64,
}

/// Hands each packet of a file to `each`, with blocks of at most `largest` bytes. Frames of a recording that were not
/// delivered are left out unless `undelivered` is true.
///
/// # Errors
/// The file cannot be read, or is no capture.
pub fn packets_within(
    largest: usize,
    input: impl Read + Send,
    undelivered: bool,
    mut each: impl FnMut(Captured<'_>),
) -> Result<Ended, CaptureError> {
    let mut reader = Reader::new(largest, input)?.undelivered(undelivered);
    loop {
        if let Step::End(problem) = reader.step(&mut each)? {
            return Ok(Ended { problem, left_out: reader.left_out });
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads from this input, with blocks of at most `largest` bytes.
    ///
    /// # Errors
    /// The input cannot be read, or is no capture.
    pub fn new(largest: usize, input: impl Read + Send + 'a) -> Result<Self, CaptureError> {
        let reader = create_reader(largest, input).map_err(|error| match error {
            PcapError::Eof => CaptureError::Empty,
            PcapError::ReadError => CaptureError::Unreadable,
            _ => CaptureError::NoCapture,
        })?;
        Ok(Self { reader, largest, header: None, sources: Vec::new(), at: 0, undelivered: false, left_out: 0 })
    }

    /// Frames of a recording that were not delivered are read as well, if `undelivered` is true.
    #[must_use]
    pub fn undelivered(self, undelivered: bool) -> Self {
        Self { undelivered, ..self }
    }

    /// Reads the next block, and hands the packet in it, if it is one, to `each`.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn step(&mut self, each: &mut impl FnMut(Captured<'_>)) -> Result<Step, CaptureError> {
        const MIDDLE: &str = "it ends in the middle of a packet";
        let at = self.at;
        if self.header.is_none() && is_short_process_information(self.reader.data()) {
            return Ok(Step::End(Some(format!("what follows byte {at} is no capture: a block is too short"))));
        }
        let (length, block) = match self.reader.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return Ok(Step::End(None)),
            Err(PcapError::Incomplete(_)) => {
                return match refill(self.reader.as_mut(), self.largest)? {
                    true => Ok(Step::More),
                    false => Ok(Step::End(Some(MIDDLE.to_owned()))),
                };
            }
            Err(PcapError::UnexpectedEof) => return Ok(Step::End(Some(MIDDLE.to_owned()))),
            Err(PcapError::BufferTooSmall) => return Err(CaptureError::LongBlock(self.largest)),
            Err(PcapError::ReadError) => return Err(CaptureError::UnreadableEnd),
            Err(error) => {
                let reason = reason(&error);
                return Ok(Step::End(Some(format!("what follows byte {at} is no capture: {reason}"))));
            }
        };
        match block {
            PcapBlockOwned::LegacyHeader(found) => self.header = Some(found),
            PcapBlockOwned::Legacy(packet) => {
                let Some(header) = &self.header else { return Err(CaptureError::NoHeader) };
                let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                let time_ns = u64::from(packet.ts_sec) * NANOSECONDS as u64 + u64::from(packet.ts_usec) * unit;
                let link_type = header.network.0;
                each(Captured { link_type, time_ns: Some(time_ns), lost_before: 0, bytes: packet.data });
            }
            PcapBlockOwned::NG(block) => {
                let left_out = (!self.undelivered).then_some(&mut self.left_out);
                section(&block, &mut self.sources, left_out, each);
            }
        }
        self.at += length;
        self.reader.consume(length);
        Ok(Step::More)
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Returns true if a pcapng block that begins with these bytes is a process information block without room for a
/// process id: pcap-parser 0.17 subtracts without a check from its length.
fn is_short_process_information(block: &[u8]) -> bool {
    match block.first_chunk() {
        Some(&[1, 0, 0, 0x80, a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) < 16,
        Some(&[0x80, 0, 0, 1, a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) < 16,
        _ => false,
    }
}

/// Reads more. Returns false at the end of the input.
fn refill(reader: &mut (dyn PcapReaderIterator + Send), largest: usize) -> Result<bool, CaptureError> {
    if reader.reader_exhausted() {
        return Ok(false);
    }
    reader.refill().map_err(|error| match error {
        PcapError::BufferTooSmall => CaptureError::LongBlock(largest),
        _ => CaptureError::UnreadableEnd,
    })?;
    Ok(true)
}

/// Takes a block of pcapng. Frames that were not delivered are counted in `left_out`, if there is one.
fn section(
    block: &Block<'_>,
    sources: &mut Vec<Source>,
    left_out: Option<&mut u64>,
    each: &mut impl FnMut(Captured<'_>),
) {
    match block {
        Block::SectionHeader(_) => sources.clear(),
        Block::InterfaceDescription(interface) => sources.push(Source {
            link_type: interface.linktype.0,
            units_per_second: interface.ts_resolution().filter(|&units| units > 0).unwrap_or(1_000_000),
            offset_seconds: interface.ts_offset(),
            is_undelivered: interface
                .options
                .iter()
                .any(|option| option.code == DESCRIPTION && option.value.starts_with(UNDELIVERED.as_bytes())),
        }),
        Block::EnhancedPacket(packet) => {
            let Some(source) = sources.get(packet.if_id as usize) else { return };
            if let Some(left_out) = left_out.filter(|_| source.is_undelivered) {
                *left_out += 1;
                return;
            }
            let units = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
            let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
            let (link_type, time_ns) = (source.link_type, source.nanoseconds(units));
            each(Captured { link_type, time_ns, lost_before: drop_count(packet), bytes });
        }
        Block::SimplePacket(packet) => {
            let Some(source) = sources.first() else { return };
            let bytes = packet.data.get(..packet.origlen as usize).unwrap_or(packet.data);
            each(Captured { link_type: source.link_type, time_ns: None, lost_before: 0, bytes });
        }
        _ => {}
    }
}

/// The option `epb_dropcount` of a packet.
fn drop_count(packet: &EnhancedPacketBlock<'_>) -> u64 {
    let option = packet.options.iter().find(|option| option.code == DROP_COUNT);
    let value = option.and_then(|option| option.value.first_chunk());
    value.map_or(0, |bytes| if packet.big_endian() { u64::from_be_bytes(*bytes) } else { u64::from_le_bytes(*bytes) })
}

impl Source {
    fn nanoseconds(self, units: u128) -> Option<u64> {
        let since = units * NANOSECONDS / u128::from(self.units_per_second);
        let offset = i128::from(self.offset_seconds) * NANOSECONDS as i128;
        u64::try_from(since as i128 + offset).ok()
    }
}

fn reason(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::NomError(_, kind) | PcapError::OwnedNomError(_, kind) => format!("{kind:?}"),
        other => other.to_string(),
    }
}
