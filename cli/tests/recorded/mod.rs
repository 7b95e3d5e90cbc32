//! What a recording holds, as a reader of another origin finds it.
#![allow(dead_code)] // Each test binary uses its part.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::pcapng::{Block, EnhancedPacketBlock, PcapNGOption};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{OptionCode, PcapBlockOwned, PcapError, PcapNGReader};

use crate::command::Folder;
use crate::payloads::payload;

/// The content of a recording.
#[derive(Debug, Default)]
pub struct Recorded {
    pub interfaces: Vec<Interface>,
    pub packets: Vec<Packet>,
    pub statistics: Vec<Statistics>,
    /// Bytes behind the last whole block.
    pub torn: usize,
}

#[derive(Debug)]
pub struct Interface {
    pub name: String,
    pub description: String,
    pub filter: String,
}

#[derive(Debug)]
pub struct Packet {
    pub interface: u32,
    pub time_ns: u64,
    /// Packets that were lost before this one.
    pub drop_count: u64,
    pub comment: String,
    pub source: IpAddr,
    pub group: IpAddr,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub struct Statistics {
    /// The packets of the file that come before.
    pub after: usize,
    pub accepted: u64,
    pub dropped: u64,
    pub delivered: u64,
    pub comment: String,
}

impl Packet {
    /// The number of its payload, which is whole.
    pub fn number(&self) -> u32 {
        let number = u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"));
        assert_eq!(self.payload, payload(number), "no payload is torn");
        number
    }
}

impl Recorded {
    /// # Panics
    /// The bytes are no pcapng.
    pub fn of(bytes: &[u8]) -> Self {
        let mut this = Self::default();
        let mut left = bytes.len();
        let mut reader = PcapNGReader::new(bytes.len().max(1 << 16), bytes).expect("a section header");
        loop {
            match reader.next() {
                Ok((length, block)) => {
                    match block {
                        PcapBlockOwned::NG(block) => this.take(&block),
                        _ => panic!("no pcapng"),
                    }
                    left -= length;
                    reader.consume(length);
                }
                Err(PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_)) => {
                    this.torn = left;
                    return this;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::of(&std::fs::read(path).expect("a recording"))
    }

    fn take(&mut self, block: &Block<'_>) {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.ts_resolution(), Some(1_000_000_000), "nanoseconds");
                let text = |code: u16| text(&interface.options, code);
                let filter = text(11).trim_start_matches('\0').to_owned();
                self.interfaces.push(Interface { name: text(2), description: text(3), filter });
            }
            Block::EnhancedPacket(packet) => self.packets.push(taken(packet)),
            Block::InterfaceStatistics(block) => {
                let count = |code| count(&block.options, code);
                self.statistics.push(Statistics {
                    after: self.packets.len(),
                    accepted: count(6),
                    dropped: count(7),
                    delivered: count(8),
                    comment: text(&block.options, 1),
                });
            }
            other => panic!("an unknown block: {other:?}"),
        }
    }

    pub fn numbers(&self) -> Vec<u32> {
        self.packets.iter().map(Packet::number).collect()
    }

    /// Packets that were lost, as those that came later have it.
    pub fn drop_count(&self) -> u64 {
        self.packets.iter().map(|packet| packet.drop_count).sum()
    }

    pub fn last(&self) -> &Statistics {
        self.statistics.last().expect("statistics")
    }
}

fn taken(packet: &EnhancedPacketBlock<'_>) -> Packet {
    assert_eq!(packet.caplen, packet.origlen, "nothing is cut off");
    let frame = &packet.data[..packet.caplen as usize];
    let sliced = SlicedPacket::from_ethernet(frame).expect("a frame");
    let (source, group) = match sliced.net.expect("IP") {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
    Packet {
        interface: packet.if_id,
        time_ns: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
        drop_count: count(&packet.options, 4),
        comment: text(&packet.options, 1),
        source,
        group,
        payload: udp.payload().to_vec(),
    }
}

fn text(options: &[PcapNGOption<'_>], code: u16) -> String {
    let found = options.iter().find(|option| option.code == OptionCode(code));
    let value = found.map_or(&[][..], |option| &option.value[..usize::from(option.len)]);
    String::from_utf8(value.to_vec()).expect("UTF-8")
}

fn count(options: &[PcapNGOption<'_>], code: u16) -> u64 {
    let found = options.iter().find(|option| option.code == OptionCode(code));
    found.map_or(0, |option| u64::from_le_bytes(option.value[..8].try_into().expect("eight bytes")))
}

/// The recordings of a folder in the order of their beginnings: the present one, without a time in its name, is last.
pub fn files(folder: &Folder, present: &str) -> Vec<String> {
    let mut names = folder.names();
    // `.10` comes after `.9`.
    names.sort_by_key(|name| {
        let rest = name.strip_prefix(present).unwrap_or(name).to_owned();
        (rest.is_empty(), rest.split('.').nth(1).map(str::to_owned), rest.len(), rest)
    });
    names
}

/// What tshark prints about the packets of a file: a line for each, with their fields. Returns its complaints as well.
pub fn tshark(path: impl AsRef<Path>, fields: &[&str]) -> (Vec<String>, String) {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path.as_ref()).args(["-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark (Debian: tshark)");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let complaints = text(output.stderr);
    let complaints: Vec<&str> = complaints.lines().filter(|line| !line.starts_with("Running as user")).collect();
    (text(output.stdout).lines().map(str::to_owned).collect(), complaints.join("\n"))
}

/// What capinfos prints about a file.
pub fn capinfos(path: impl AsRef<Path>) -> String {
    let output = Command::new("capinfos").arg("-M").arg(path.as_ref()).output().expect("capinfos (Debian: tshark)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
