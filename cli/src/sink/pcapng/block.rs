//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), as a recording has them. Numbers are little-endian, which
//! the section header declares.

/// Appended to: where blocks are written.
type Out = Vec<u8>;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Reads as 0x4d3c2b1a in the other byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TIME_RESOLUTION: u16 = 9;
const IF_FILTER: u16 = 11;
const IF_OS: u16 = 12;
const EPB_FLAGS: u16 = 2;
const EPB_DROP_COUNT: u16 = 4;
const ISB_START_TIME: u16 = 2;
const ISB_END_TIME: u16 = 3;
const ISB_RECEIVED: u16 = 4;
const ISB_INTERFACE_DROPPED: u16 = 5;
const ISB_FILTER_ACCEPTED: u16 = 6;
const ISB_OS_DROPPED: u16 = 7;
const ISB_USER_DELIVERED: u16 = 8;

/// `epb_flags`: inbound. The address is above.
const INBOUND: u32 = 1;
/// The code of `if_filter` for a text in the language of libpcap.
const LIBPCAP_FILTER: u8 = 0;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Bytes of a packet's block before the packet.
const PACKET_HEAD: usize = 28;
/// The most bytes of an option's value.
const LONGEST_VALUE: usize = u16::MAX as usize;

/// The first block of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The processor.
    pub hardware: String,
    /// The operating system.
    pub os: String,
    /// The program that writes the file.
    pub application: String,
    /// A comment, if it has any text.
    pub comment: String,
}

/// An interface: a kind of packets. Readers number them in the order of their blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What its packets are.
    pub description: String,
    /// Which packets were wanted, in the language of libpcap; none if empty.
    pub filter: String,
    /// The operating system.
    pub os: String,
    /// A comment, if it has any text.
    pub comment: String,
}

/// What is written with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The number of its interface.
    pub interface: u32,
    /// Nanoseconds since 1970 in UTC.
    pub time: u64,
    /// Packets that were lost between the one before and this one.
    pub drop_count: u64,
    /// A comment, if it has any text.
    pub comment: &'a str,
}

/// To which kind of address a packet was sent, as `epb_flags` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// To a host.
    Unicast = 1,
    /// To a group.
    Multicast = 2,
    /// To all.
    Broadcast = 3,
}

impl Reception {
    /// Of a frame from its Ethernet header on.
    pub fn of(frame: &[u8]) -> Self {
        match frame {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Self::Broadcast,
            [first, ..] if first & 1 != 0 => Self::Multicast,
            _ => Self::Unicast,
        }
    }
}

/// Counts since a recording began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The number of the interface.
    pub interface: u32,
    /// When they were read: nanoseconds since 1970 in UTC.
    pub time: u64,
    /// When the recording began.
    pub start: u64,
    /// Frames that came.
    pub received: u64,
    /// Frames that the interface dropped.
    pub interface_dropped: u64,
    /// Packets that were wanted.
    pub accepted: u64,
    /// Of these: lost.
    pub dropped: u64,
    /// Of these: written.
    pub delivered: u64,
    /// A comment, if it has any text.
    pub comment: String,
}

impl Section {
    /// Appends the block.
    pub fn write(&self, out: &mut Out) {
        block(out, SECTION_HEADER, |out| {
            out.extend(BYTE_ORDER.to_le_bytes());
            // Version 1.0, of unknown length.
            out.extend([1, 0, 0, 0]);
            out.extend((-1_i64).to_le_bytes());
            texts(
                out,
                &[
                    (COMMENT, &self.comment),
                    (SHB_HARDWARE, &self.hardware),
                    (SHB_OS, &self.os),
                    (SHB_USER_APPLICATION, &self.application),
                ],
            );
            end_options(out);
        });
    }
}

impl Interface {
    /// Appends the block.
    pub fn write(&self, out: &mut Out) {
        block(out, INTERFACE_DESCRIPTION, |out| {
            out.extend(ETHERNET.to_le_bytes());
            out.extend([0; 2]);
            // No packet is cut off.
            out.extend(0_u32.to_le_bytes());
            texts(out, &[(COMMENT, &self.comment), (IF_NAME, &self.name), (IF_DESCRIPTION, &self.description)]);
            option(out, IF_TIME_RESOLUTION, &[NANOSECONDS]);
            if !self.filter.is_empty() && self.filter.len() < LONGEST_VALUE {
                option(out, IF_FILTER, &[&[LIBPCAP_FILTER], self.filter.as_bytes()].concat());
            }
            texts(out, &[(IF_OS, &self.os)]);
            end_options(out);
        });
    }
}

impl Packet<'_> {
    /// Appends the block. `bytes` writes the packet from its Ethernet header on.
    ///
    /// This is done for each packet that is recorded: what surrounds the bytes is put together first, since each
    /// addition to `out` has its price.
    #[inline]
    pub fn write(&self, out: &mut Out, bytes: impl FnOnce(&mut Out)) {
        let start = out.len();
        // Type, length, interface, time, and the length of the packet twice.
        let mut head = [0; PACKET_HEAD];
        head[..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
        head[8..12].copy_from_slice(&self.interface.to_le_bytes());
        head[12..20].copy_from_slice(&halves(self.time));
        out.extend_from_slice(&head);
        bytes(out);
        let length = out.len() - start - PACKET_HEAD;
        out[start + 20..start + 24].copy_from_slice(&(length as u32).to_le_bytes());
        out[start + 24..start + 28].copy_from_slice(&(length as u32).to_le_bytes());
        // Padding, the flags, and room for what ends a block without further options.
        let mut rest = [0; 3 + 8 + 8];
        rest[3..5].copy_from_slice(&EPB_FLAGS.to_le_bytes());
        rest[5..7].copy_from_slice(&4_u16.to_le_bytes());
        rest[7..11].copy_from_slice(&(INBOUND | (Reception::Multicast as u32) << 2).to_le_bytes());
        let padding = length.wrapping_neg() % 4;
        if self.drop_count == 0 && self.comment.is_empty() {
            let total = PACKET_HEAD + length + padding + 16;
            rest[15..].copy_from_slice(&(total as u32).to_le_bytes());
            out.extend_from_slice(&rest[3 - padding..]);
        } else {
            out.extend_from_slice(&rest[3 - padding..11]);
            if self.drop_count > 0 {
                option(out, EPB_DROP_COUNT, &self.drop_count.to_le_bytes());
            }
            texts(out, &[(COMMENT, self.comment)]);
            end_options(out);
            out.extend(((out.len() - start + 4) as u32).to_le_bytes());
        }
        let total = ((out.len() - start) as u32).to_le_bytes();
        out[start + 4..start + 8].copy_from_slice(&total);
    }

    /// Appends the block of a packet that had `whole` bytes, and of which `bytes` were captured.
    pub fn write_cut(&self, out: &mut Out, reception: Reception, whole: usize, bytes: &[u8]) {
        block(out, ENHANCED_PACKET, |out| {
            out.extend(self.interface.to_le_bytes());
            out.extend(halves(self.time));
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend((whole as u32).to_le_bytes());
            out.extend_from_slice(bytes);
            pad_after(out, bytes.len());
            option(out, EPB_FLAGS, &(INBOUND | (reception as u32) << 2).to_le_bytes());
            if self.drop_count > 0 {
                option(out, EPB_DROP_COUNT, &self.drop_count.to_le_bytes());
            }
            texts(out, &[(COMMENT, self.comment)]);
            end_options(out);
        });
    }
}

impl Statistics {
    /// Appends the block.
    pub fn write(&self, out: &mut Out) {
        block(out, INTERFACE_STATISTICS, |out| {
            out.extend(self.interface.to_le_bytes());
            out.extend(halves(self.time));
            texts(out, &[(COMMENT, &self.comment)]);
            option(out, ISB_START_TIME, &halves(self.start));
            option(out, ISB_END_TIME, &halves(self.time));
            for (code, count) in [
                (ISB_RECEIVED, self.received),
                (ISB_INTERFACE_DROPPED, self.interface_dropped),
                (ISB_FILTER_ACCEPTED, self.accepted),
                (ISB_OS_DROPPED, self.dropped),
                (ISB_USER_DELIVERED, self.delivered),
            ] {
                option(out, code, &count.to_le_bytes());
            }
            end_options(out);
        });
    }
}

/// A block: its type, its length, what `body` writes, and the length again.
#[inline]
fn block(out: &mut Out, kind: u32, body: impl FnOnce(&mut Out)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

#[inline]
fn option(out: &mut Out, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad_after(out, value.len());
}

/// Texts that are not empty, each cut to the longest value.
#[inline]
fn texts(out: &mut Out, all: &[(u16, &str)]) {
    for (code, text) in all.iter().filter(|(_, text)| !text.is_empty()) {
        let mut end = text.len().min(LONGEST_VALUE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        option(out, *code, &text.as_bytes()[..end]);
    }
}

#[inline]
fn end_options(out: &mut Out) {
    out.extend(END_OF_OPTIONS.to_le_bytes());
    out.extend([0; 2]);
}

#[inline]
fn pad_after(out: &mut Out, length: usize) {
    out.extend_from_slice(&[0; 3][..length.wrapping_neg() % 4]);
}

/// A time as its upper and its lower half.
#[inline]
fn halves(time: u64) -> [u8; 8] {
    time.rotate_left(32).to_le_bytes()
}
