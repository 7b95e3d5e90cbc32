//! Blocks are read back as they were written, by a reader of another origin, and from any part of a file.

use pcap_parser::pcapng::{Block, EnhancedPacketBlock};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{OptionCode, PcapBlockOwned, PcapError, PcapNGReader};
use proptest::prelude::*;

use super::Gap;
use super::block::{Interface, Packet, Section, Statistics};
use crate::outlet::DropReason;

/// What a reader finds in a packet: interface, time, drop count, comment and bytes.
type Found = (u32, u64, u64, String, Vec<u8>);

/// A packet to be written.
#[derive(Clone, Debug)]
struct Written {
    interface: u32,
    time: u64,
    drop_count: u64,
    comment: String,
    bytes: Vec<u8>,
}

impl Written {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { interface, time, drop_count, ref comment, ref bytes } = *self;
        let packet = Packet { interface, time, drop_count, comment };
        packet.write(out, |out| out.extend_from_slice(bytes));
    }

    fn found(&self) -> Found {
        (self.interface, self.time, self.drop_count, self.comment.clone(), self.bytes.clone())
    }
}

fn written() -> impl Strategy<Value = Written> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    (0..2_u32, any::<u64>(), 0..5_u64, "[a-zäß ]{0,20}", bytes).prop_map(
        |(interface, time, drop_count, comment, bytes)| Written { interface, time, drop_count, comment, bytes },
    )
}

fn header() -> Vec<u8> {
    let mut out = Vec::new();
    let text = |text: &str| text.to_owned();
    Section { hardware: text("x86_64"), os: text("Linux 6"), application: text("receiver"), comment: text("UTC") }
        .write(&mut out);
    for name in ["eth1", "eth1"] {
        let interface = Interface { name: text(name), filter: text("udp"), ..Interface::default() };
        interface.write(&mut out);
    }
    out
}

fn found(packet: &EnhancedPacketBlock<'_>) -> Found {
    let value = |code| packet.options.iter().find(|option| option.code == code);
    let drop_count =
        value(OptionCode(4)).map_or(0, |option| u64::from_le_bytes(option.value[..8].try_into().expect("eight bytes")));
    let comment = value(OptionCode::Comment).map_or(String::new(), |option| {
        String::from_utf8(option.value[..usize::from(option.len)].to_vec()).expect("UTF-8")
    });
    assert_eq!(value(OptionCode(2)).expect("epb_flags").value[..4], [9, 0, 0, 0]);
    assert_eq!(packet.caplen, packet.origlen);
    let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
    (packet.if_id, time, drop_count, comment, packet.data[..packet.caplen as usize].to_vec())
}

/// The packets of a file, and the number of its other blocks. A last block that is not whole is left out.
fn read(bytes: &[u8]) -> (Vec<Found>, usize) {
    let (mut packets, mut others) = (Vec::new(), 0);
    let Ok(mut reader) = PcapNGReader::new(1 << 20, bytes) else { return (packets, others) };
    // All of the bytes are in the reader's buffer.
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => packets.push(found(&packet)),
                    PcapBlockOwned::NG(_) => others += 1,
                    _ => panic!("no pcapng"),
                }
                reader.consume(length);
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_)) => return (packets, others),
            Err(error) => panic!("{error:?}"),
        }
    }
}

proptest! {
    #[test]
    fn packets_are_read_as_they_were_written(all in proptest::collection::vec(written(), 0..20)) {
        let mut out = header();
        for packet in &all {
            packet.write(&mut out);
            prop_assert_eq!(out.len() % 4, 0);
        }
        let (packets, others) = read(&out);
        prop_assert_eq!(packets, all.iter().map(Written::found).collect::<Vec<_>>());
        prop_assert_eq!(others, 3);
    }

    /// As after `kill -9`: any part of a file has its whole packets.
    #[test]
    fn a_file_that_is_cut_has_each_whole_packet(
        all in proptest::collection::vec(written(), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut out = header();
        let start = out.len();
        let mut ends = Vec::new();
        for packet in &all {
            packet.write(&mut out);
            ends.push(out.len());
        }
        let cut = start + cut.index(out.len() - start);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let (packets, _) = read(&out[..cut]);
        prop_assert_eq!(packets, all[..whole].iter().map(Written::found).collect::<Vec<_>>());
    }

    #[test]
    fn statistics_are_read_as_they_were_written(counts in any::<[u64; 7]>(), comment in "[a-z ]{0,20}") {
        let [time, start, received, interface_dropped, accepted, dropped, delivered] = counts;
        let statistics = Statistics {
            interface: 1, time, start, received, interface_dropped, accepted, dropped, delivered, comment,
        };
        let mut out = header();
        statistics.write(&mut out);
        let mut reader = PcapNGReader::new(1 << 20, &out[..]).expect("a reader");
        for _ in 0..3 {
            let (length, _) = reader.next().expect("a block");
            reader.consume(length);
        }
        let (_, PcapBlockOwned::NG(Block::InterfaceStatistics(block))) = reader.next().expect("a block") else {
            panic!("no statistics")
        };
        prop_assert_eq!(u64::from(block.ts_high) << 32 | u64::from(block.ts_low), time);
        let value = |code| {
            let option = block.options.iter().find(|option| option.code == OptionCode(code)).expect("an option");
            u64::from_le_bytes(option.value[..8].try_into().expect("eight bytes"))
        };
        prop_assert_eq!([4, 5, 6, 7, 8].map(value), [received, interface_dropped, accepted, dropped, delivered]);
        prop_assert_eq!([2, 3].map(|code| value(code).rotate_left(32)), [start, time]);
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_between_two_characters() {
    let mut out = header();
    let packet = Written {
        interface: 0,
        time: 1,
        drop_count: 0,
        comment: format!("{}ä{}", "x".repeat(65_534), "x".repeat(10)),
        bytes: vec![1, 2, 3],
    };
    packet.write(&mut out);
    let (packets, _) = read(&out);
    assert_eq!((packets[0].3.len(), packets[0].4.as_slice()), (65_534, &[1, 2, 3][..]));
}

#[test]
fn a_gap_says_why() {
    let text = |lost, unwritten, before: &str| {
        let mut text = before.to_owned();
        Gap { lost, unwritten, reason: Some(DropReason::SlowReader) }.write(&mut text);
        text
    };
    assert_eq!(text(0, 0, "wanted"), "wanted");
    assert_eq!(text(3, 0, "wanted"), "wanted; lost before this packet: 3");
    assert_eq!(text(3, 2, ""), "lost before this packet: 5, of these not written (slow_reader): 2");
}
