//! The frames, and the verdict that each must get. Verdicts are written by hand from the rules (the issue, the RFCs),
//! not computed by the parser.

mod runts;

use receiver::Vlan;
use receiver_common::Verdict::{self, *};
use receiver_common::wire::VlanTags;

use crate::bench::QUEUE_WITHOUT_SOCKET;
use crate::frames::{NETWORK, UDP, ipv4, ipv4_options, ipv6, other, padded, tagged, udp, v4, v6, with};

/// The INCLUDE groups and their port.
pub const GROUP_V4: [u8; 4] = [232, 1, 1, 1];
pub const GROUP_V6: [u8; 16] = v6_address(0xff3e, 1);
pub const PORT: u16 = 5000;
pub const WANTED_V4: [u8; 4] = [10, 0, 0, 1];
pub const WANTED_V6: [u8; 16] = v6_address(0x2001, 1);
const UNWANTED_V4: [u8; 4] = [10, 0, 0, 2];
const UNWANTED_V6: [u8; 16] = v6_address(0x2001, 2);

/// The EXCLUDE groups and their port.
pub const GROUP_ANY_V4: [u8; 4] = [239, 1, 1, 1];
pub const GROUP_ANY_V6: [u8; 16] = v6_address(0xff0e, 1);
pub const ANY_PORT: u16 = 6000;
pub const BLOCKED_V4: [u8; 4] = [10, 0, 0, 3];
pub const BLOCKED_V6: [u8; 16] = v6_address(0x2001, 3);
pub const UNBLOCKED_V4: [u8; 4] = [10, 0, 0, 4];
pub const UNBLOCKED_V6: [u8; 16] = v6_address(0x2001, 4);

/// The interface's own MAC address.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// The groups' slots: 1 to 4, and 0 for none.
pub const SLOT_V4: u32 = 1;
pub const SLOT_ANY_V4: u32 = 2;
pub const SLOT_V6: u32 = 3;
pub const SLOT_ANY_V6: u32 = 4;
pub const SLOTS: u32 = 5;

const OUTER: u16 = 200;
const INNER: u16 = 100;
const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;

const IGMP: u8 = 2;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const UDP_LITE: u8 = 136;

/// A frame and what becomes of it.
pub struct Row {
    pub name: String,
    /// What the program is configured for.
    pub tags: Tags,
    pub queue: u32,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    /// The slot that counts the drop, for drops because of the source.
    pub slot: Option<u32>,
}

/// The configured VLAN: none, [`OUTER`], or [`OUTER`] and [`INNER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    None,
    One,
    Two,
}

impl Tags {
    pub fn vlan(self) -> Option<Vlan> {
        match self {
            Self::None => None,
            Self::One => Some(Vlan::new(OUTER, None).expect("an id")),
            Self::Two => Some(Vlan::new(OUTER, Some(INNER)).expect("two ids")),
        }
    }

    pub fn wire(self) -> VlanTags {
        match self {
            Self::None => VlanTags::default(),
            Self::One => VlanTags { count: 1, outer: OUTER, inner: 0 },
            Self::Two => VlanTags { count: 2, outer: OUTER, inner: INNER },
        }
    }
}

/// All rows: the named ones, and the runts.
pub fn rows() -> Vec<Row> {
    let mut rows = named_rows();
    rows.extend(runts::rows());
    rows
}

/// The rows that have a story.
pub fn named_rows() -> Vec<Row> {
    let mut table = Table::default();
    filters(&mut table);
    martians(&mut table);
    ethernet(&mut table);
    vlans(&mut table);
    ipv4_headers(&mut table);
    ipv4_lengths(&mut table);
    ipv6_headers(&mut table);
    ipv6_lengths(&mut table);
    table.0
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, name: &str, frame: Vec<u8>, verdict: Verdict) {
        self.tagged(name, Tags::None, frame, verdict);
    }

    fn tagged(&mut self, name: &str, tags: Tags, frame: Vec<u8>, verdict: Verdict) {
        self.0.push(Row { name: name.to_owned(), tags, queue: 0, frame, verdict, slot: None });
    }

    fn dropped(&mut self, name: &str, frame: Vec<u8>, verdict: Verdict, slot: u32) {
        self.add(name, frame, verdict);
        if let Some(row) = self.0.last_mut() {
            row.slot = Some(slot);
        }
    }

    fn without_socket(&mut self, name: &str, frame: Vec<u8>, verdict: Verdict) {
        self.add(name, frame, verdict);
        if let Some(row) = self.0.last_mut() {
            row.queue = QUEUE_WITHOUT_SOCKET;
        }
    }
}

fn wanted_v4() -> Vec<u8> {
    v4(WANTED_V4, GROUP_V4, PORT, 18)
}

fn wanted_v6() -> Vec<u8> {
    v6(WANTED_V6, GROUP_V6, PORT, 18)
}

fn filters(table: &mut Table) {
    table.add("v4 wanted", wanted_v4(), Redirected);
    table.add("v4 wanted, 1472 bytes", v4(WANTED_V4, GROUP_V4, PORT, 1472), Redirected);
    table.dropped("v4 unwanted source", v4(UNWANTED_V4, GROUP_V4, PORT, 18), DroppedNotIncluded, SLOT_V4);
    table.dropped("v4 blocked source", v4(BLOCKED_V4, GROUP_ANY_V4, ANY_PORT, 18), DroppedBlocked, SLOT_ANY_V4);
    table.add("v4 any source", v4(WANTED_V4, GROUP_ANY_V4, ANY_PORT, 18), Redirected);
    table.add("v4 unblocked source", v4(UNBLOCKED_V4, GROUP_ANY_V4, ANY_PORT, 18), Redirected);
    table.add("v4 other port", v4(WANTED_V4, GROUP_V4, PORT + 1, 18), PassedOtherGroup);
    table.add("v4 port with its bytes swapped", v4(WANTED_V4, GROUP_V4, PORT.swap_bytes(), 18), PassedOtherGroup);
    table.add("v4 the other group's port", v4(WANTED_V4, GROUP_V4, ANY_PORT, 18), PassedOtherGroup);
    table.add("v4 other group", v4(WANTED_V4, [232, 1, 1, 2], PORT, 18), PassedOtherGroup);
    table.add("v4 source and group exchanged", v4(GROUP_V4, WANTED_V4, PORT, 18), PassedUnicast);
    table.add("v4 unicast", v4(WANTED_V4, [10, 0, 0, 100], PORT, 18), PassedUnicast);
    table.add("v4 broadcast", v4(WANTED_V4, [255; 4], PORT, 18), PassedUnicast);
    table.add("v4 below the groups", v4(WANTED_V4, [223, 255, 255, 255], PORT, 18), PassedUnicast);
    table.add("v4 above the groups", v4(WANTED_V4, [240, 0, 0, 0], PORT, 18), PassedUnicast);
    table.add("v4 last group", v4(WANTED_V4, [239, 255, 255, 255], PORT, 18), PassedOtherGroup);
    table.without_socket("v4 wanted, no socket", wanted_v4(), PassedNoSocket);
    table.without_socket("v4 other group, no socket", v4(WANTED_V4, [232, 1, 1, 2], PORT, 18), PassedOtherGroup);

    table.add("v6 wanted", wanted_v6(), Redirected);
    table.add("v6 wanted, 1452 bytes", v6(WANTED_V6, GROUP_V6, PORT, 1452), Redirected);
    table.dropped("v6 unwanted source", v6(UNWANTED_V6, GROUP_V6, PORT, 18), DroppedNotIncluded, SLOT_V6);
    table.dropped("v6 blocked source", v6(BLOCKED_V6, GROUP_ANY_V6, ANY_PORT, 18), DroppedBlocked, SLOT_ANY_V6);
    table.add("v6 any source", v6(WANTED_V6, GROUP_ANY_V6, ANY_PORT, 18), Redirected);
    table.add("v6 unblocked source", v6(UNBLOCKED_V6, GROUP_ANY_V6, ANY_PORT, 18), Redirected);
    table.add("v6 other port", v6(WANTED_V6, GROUP_V6, PORT + 1, 18), PassedOtherGroup);
    table.add("v6 other group", v6(WANTED_V6, v6_address(0xff3e, 2), PORT, 18), PassedOtherGroup);
    table.add("v6 other scope", v6(WANTED_V6, v6_address(0xff32, 1), PORT, 18), PassedOtherGroup);
    table.add("v6 unicast", v6(WANTED_V6, v6_address(0x2001, 100), PORT, 18), PassedUnicast);
    table.add("v6 below the groups", v6(WANTED_V6, v6_address(0xfeff, 1), PORT, 18), PassedUnicast);
    table.without_socket("v6 wanted, no socket", wanted_v6(), PassedNoSocket);
    // Each word of a key counts: one bit off in the source of an INCLUDE group.
    for word in 0..4 {
        let mut source = WANTED_V6;
        source[word * 4 + 1] ^= 1;
        let name = format!("v6 source differs in word {word}");
        table.dropped(&name, v6(source, GROUP_V6, PORT, 18), DroppedNotIncluded, SLOT_V6);
    }
}

fn martians(table: &mut Table) {
    for (source, verdict) in [
        ([0, 0, 0, 0], DroppedMartian),
        ([0, 0, 0, 1], Redirected),
        ([1, 0, 0, 0], Redirected),
        ([126, 255, 255, 255], Redirected),
        ([127, 0, 0, 0], DroppedMartian),
        ([127, 0, 0, 1], DroppedMartian),
        ([127, 255, 255, 255], DroppedMartian),
        ([128, 0, 0, 0], Redirected),
        ([223, 255, 255, 255], Redirected),
        ([224, 0, 0, 0], DroppedMartian),
        (GROUP_ANY_V4, DroppedMartian),
        ([239, 255, 255, 255], DroppedMartian),
        ([240, 0, 0, 0], Redirected),
        ([255, 255, 255, 254], Redirected),
        ([255, 255, 255, 255], DroppedMartian),
    ] {
        table.add(&format!("v4 any source, {source:?}"), v4(source, GROUP_ANY_V4, ANY_PORT, 18), verdict);
        let name = format!("v4 unwanted source, {source:?}");
        table.dropped(&name, v4(source, GROUP_V4, PORT, 18), DroppedNotIncluded, SLOT_V4);
    }
    let loopback = [127, 0, 0, 1];
    table.without_socket("v4 martian, no socket", v4(loopback, GROUP_ANY_V4, ANY_PORT, 18), DroppedMartian);
    table.add("v4 martian of another group", v4(loopback, [232, 1, 1, 2], PORT, 18), PassedOtherGroup);
    let lying = with(v4(loopback, GROUP_ANY_V4, ANY_PORT, 18), NETWORK + 2, &[1, 0]);
    table.add("v4 martian, lying length", lying, DroppedMalformed);

    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    for (name, source, verdict) in [
        ("unspecified", [0; 16], Redirected),
        ("loopback", v6_address(0, 1), DroppedMartian),
        ("behind loopback", v6_address(0, 2), Redirected),
        ("IPv4-mapped", mapped, Redirected),
        ("before the groups", v6_address(0xfeff, 1), Redirected),
        ("first group", v6_address(0xff00, 0), DroppedMartian),
        ("its group", GROUP_ANY_V6, DroppedMartian),
        ("last group", [0xff; 16], DroppedMartian),
    ] {
        table.add(&format!("v6 any source, {name}"), v6(source, GROUP_ANY_V6, ANY_PORT, 18), verdict);
        let name = format!("v6 unwanted source, {name}");
        table.dropped(&name, v6(source, GROUP_V6, PORT, 18), DroppedNotIncluded, SLOT_V6);
    }
    // Each word counts: loopback but for one bit.
    for word in 0..4 {
        let mut source = v6_address(0, 1);
        source[word * 4 + 2] = 1;
        let name = format!("v6 any source, loopback but for word {word}");
        table.add(&name, v6(source, GROUP_ANY_V6, ANY_PORT, 18), Redirected);
    }
    table.add("v6 martian of another group", v6(v6_address(0, 1), v6_address(0xff3e, 2), PORT, 18), PassedOtherGroup);
}

fn ethernet(table: &mut Table) {
    // Linux does not compare a frame's group with the packet's.
    table.add("v4 wanted, broadcast MAC", with(wanted_v4(), 0, &[0xff; 6]), Redirected);
    table.add("v4 wanted, another group's MAC", with(wanted_v4(), 0, &[1, 0, 0x5e, 9, 9, 9]), Redirected);
    for (family, wanted, any, unwanted) in [
        ("v4", wanted_v4(), v4(WANTED_V4, GROUP_ANY_V4, ANY_PORT, 18), v4([127, 0, 0, 1], GROUP_ANY_V4, ANY_PORT, 18)),
        (
            "v6",
            wanted_v6(),
            v6(WANTED_V6, GROUP_ANY_V6, ANY_PORT, 18),
            v6(v6_address(0, 1), GROUP_ANY_V6, ANY_PORT, 18),
        ),
    ] {
        let mut row = |name: &str, frame: &[u8], mac: [u8; 6], verdict| {
            table.add(&format!("{family} {name}"), with(frame.to_vec(), 0, &mac), verdict);
        };
        let other = [2, 0, 0, 0, 0, 0x98];
        row("wanted, the interface's MAC", &wanted, OWN_MAC, Redirected);
        row("wanted, another host's MAC", &wanted, other, PassedUnicastMac);
        row("wanted, the interface's MAC with the group bit", &wanted, [3, 0, 0, 0, 0, 0x99], Redirected);
        row("wanted, zero MAC", &wanted, [0; 6], PassedUnicastMac);
        row("any source, another host's MAC", &any, other, PassedUnicastMac);
        row("martian, another host's MAC", &unwanted, other, DroppedMartian);
        // Each byte of the address counts.
        for at in 0..6 {
            let mut mac = OWN_MAC;
            mac[at] ^= 4;
            row(&format!("wanted, the interface's MAC but for byte {at}"), &wanted, mac, PassedUnicastMac);
        }
    }
    let unwanted = with(v4(UNWANTED_V4, GROUP_V4, PORT, 18), 0, &[2, 0, 0, 0, 0, 2]);
    table.dropped("v4 unwanted source, another host's MAC", unwanted, DroppedNotIncluded, SLOT_V4);
    table.add(
        "v4 unicast in a broadcast frame",
        with(v4(WANTED_V4, [10, 0, 0, 100], PORT, 18), 0, &[0xff; 6]),
        PassedUnicast,
    );
    table.add("ARP", other(0x0806), PassedNotIp);
    table.add("LLDP", other(0x88cc), PassedNotIp);
    table.add("802.3 length", other(46), PassedNotIp);
    table.add("802.3 length 0", other(0), PassedNotIp);
    table.add("IPv4 type with its bytes swapped", with(wanted_v4(), 12, &[0, 8]), PassedNotIp);
    table.add("MPLS multicast", other(0x8848), PassedNotIp);
    table.add("nothing behind the Ethernet header", other(0x88b5)[..14].to_vec(), PassedNotIp);
    table.add("IPv6 in a frame that says IPv4", with(wanted_v6(), 12, &[8, 0]), DroppedMalformed);
    table.add("IPv4 in a frame that says IPv6", with(padded(wanted_v4(), 100), 12, &[0x86, 0xdd]), DroppedMalformed);
}

fn vlans(table: &mut Table) {
    let v4 = wanted_v4();
    let v6 = wanted_v6();
    for (name, frame) in [("v4", &v4), ("v6", &v6)] {
        let mut row = |what: &str, tags, frame, verdict| table.tagged(&format!("{name} {what}"), tags, frame, verdict);

        row("802.1Q where none is configured", Tags::None, tagged(frame, &[(DOT1Q, OUTER)]), PassedVlan);
        row("802.1ad where none is configured", Tags::None, tagged(frame, &[(DOT1AD, OUTER)]), PassedVlan);
        row("priority tag where none is configured", Tags::None, tagged(frame, &[(DOT1Q, 0xe000)]), PassedVlan);
        row(
            "two tags where none is configured",
            Tags::None,
            tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, INNER)]),
            PassedVlan,
        );

        row("802.1Q", Tags::One, tagged(frame, &[(DOT1Q, OUTER)]), Redirected);
        row("802.1ad", Tags::One, tagged(frame, &[(DOT1AD, OUTER)]), Redirected);
        row("802.1Q with priority and DEI", Tags::One, tagged(frame, &[(DOT1Q, 0xf000 | OUTER)]), Redirected);
        row("untagged where one is configured", Tags::One, frame.clone(), PassedVlan);
        row("priority tag where one is configured", Tags::One, tagged(frame, &[(DOT1Q, 0xe000)]), PassedVlan);
        row("wrong id", Tags::One, tagged(frame, &[(DOT1Q, OUTER + 1)]), PassedVlan);
        row("wrong id by its high bits", Tags::One, tagged(frame, &[(DOT1Q, 0x0800 | OUTER)]), PassedVlan);
        row("inner id alone where one is configured", Tags::One, tagged(frame, &[(DOT1Q, INNER)]), PassedVlan);
        row(
            "two tags where one is configured",
            Tags::One,
            tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, INNER)]),
            PassedVlan,
        );

        row("two tags", Tags::Two, tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, INNER)]), Redirected);
        row("two tags, both 802.1Q", Tags::Two, tagged(frame, &[(DOT1Q, OUTER), (DOT1Q, INNER)]), Redirected);
        row(
            "two tags with priorities",
            Tags::Two,
            tagged(frame, &[(DOT1AD, 0x6000 | OUTER), (DOT1Q, 0xe000 | INNER)]),
            Redirected,
        );
        row("untagged where two are configured", Tags::Two, frame.clone(), PassedVlan);
        row("one tag where two are configured", Tags::Two, tagged(frame, &[(DOT1Q, OUTER)]), PassedVlan);
        row("wrong outer id", Tags::Two, tagged(frame, &[(DOT1AD, OUTER + 1), (DOT1Q, INNER)]), PassedVlan);
        row("wrong inner id", Tags::Two, tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, INNER + 1)]), PassedVlan);
        row("ids exchanged", Tags::Two, tagged(frame, &[(DOT1AD, INNER), (DOT1Q, OUTER)]), PassedVlan);
        row("priority tag inside", Tags::Two, tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, 0)]), PassedVlan);
        row("three tags", Tags::Two, tagged(frame, &[(DOT1AD, OUTER), (DOT1Q, INNER), (DOT1Q, INNER)]), PassedVlan);
    }
    for (name, tags, ids) in
        [("one tag", Tags::One, &[(DOT1Q, OUTER)][..]), ("two tags", Tags::Two, &[(DOT1AD, OUTER), (DOT1Q, INNER)])]
    {
        let mut row = |what: &str, frame: &[u8], verdict| {
            table.tagged(&format!("{name}, {what}"), tags, tagged(frame, ids), verdict);
        };
        row("ARP", &other(0x0806), PassedNotIp);
        row("unicast", &crate::frames::v4(WANTED_V4, [10, 0, 0, 100], PORT, 18), PassedUnicast);
        row("other group", &crate::frames::v4(WANTED_V4, [232, 1, 1, 2], PORT, 18), PassedOtherGroup);
        row("v4 length one beyond the frame", &with(v4.clone(), NETWORK + 2, &[0, 47]), DroppedMalformed);
        row("v6 length one beyond the frame", &with(v6.clone(), NETWORK + 4, &[0, 27]), DroppedMalformed);
        row("padding", &padded(v4.clone(), 80), Redirected);
        row("v6 hop-by-hop", &ipv6(WANTED_V6, GROUP_V6, 0, &extended(UDP, &udp(PORT, 18))), PassedExtensionHeader);
        row("v4 options", &ipv4_options(WANTED_V4, GROUP_V4, UDP, &[1; 4], &udp(PORT, 18)), PassedOptions);
    }
    table.tagged("untagged ARP where one tag is configured", Tags::One, other(0x0806), PassedNotIp);
    table.tagged("untagged ARP where two are configured", Tags::Two, other(0x0806), PassedNotIp);
    table.tagged("ARP with a wrong id", Tags::One, tagged(&other(0x0806), &[(DOT1Q, OUTER + 1)]), PassedVlan);
    table.tagged(
        "ARP with one tag where two are configured",
        Tags::Two,
        tagged(&other(0x0806), &[(DOT1Q, OUTER)]),
        PassedVlan,
    );
    table.add("tagged ARP where none is configured", tagged(&other(0x0806), &[(DOT1Q, OUTER)]), PassedVlan);
    let source = crate::frames::v4(UNWANTED_V4, GROUP_V4, PORT, 18);
    table.dropped("one tag, unwanted source", tagged(&source, &[(DOT1Q, OUTER)]), DroppedNotIncluded, SLOT_V4);
    if let Some(row) = table.0.last_mut() {
        row.tags = Tags::One;
    }
}

fn ipv4_headers(table: &mut Table) {
    let datagram = udp(PORT, 18);
    for words in 1..=10 {
        let options = vec![1; words * 4];
        let frame = ipv4_options(WANTED_V4, GROUP_V4, UDP, &options, &datagram);
        table.add(&format!("v4 options, IHL {}", 5 + words), frame, PassedOptions);
    }
    for ihl in 0..5 {
        table.add(&format!("v4 IHL {ihl}"), with(wanted_v4(), NETWORK, &[0x40 | ihl]), DroppedMalformed);
    }
    for version in [0, 5, 6, 15] {
        table.add(&format!("v4 version {version}"), with(wanted_v4(), NETWORK, &[version << 4 | 5]), DroppedMalformed);
    }
    for (name, bits, verdict) in [
        ("first fragment", 0x2000_u16, PassedFragment),
        ("middle fragment", 0x20b9, PassedFragment),
        ("last fragment", 0x00b9, PassedFragment),
        ("fragment at offset 256 * 8", 0x0100, PassedFragment),
        ("don't fragment, and a fragment all the same", 0x6000, PassedFragment),
        ("don't fragment", 0x4000, Redirected),
        // RFC 791 wants it 0; the kernel does not look at it either.
        ("reserved bit", 0x8000, Redirected),
        ("reserved bit and don't fragment", 0xc000, Redirected),
    ] {
        table.add(&format!("v4 {name}"), with(wanted_v4(), NETWORK + 6, &bits.to_be_bytes()), verdict);
    }
    let unicast = v4(WANTED_V4, [10, 0, 0, 100], PORT, 18);
    table.add("v4 fragment to a unicast address", with(unicast, NETWORK + 6, &[0x20, 0]), PassedUnicast);
    let other = v4(WANTED_V4, [232, 1, 1, 2], PORT, 18);
    table.add("v4 fragment of another group", with(other, NETWORK + 6, &[0x20, 0]), PassedFragment);
    table.add(
        "v4 fragment with a length beyond the frame",
        with(with(wanted_v4(), NETWORK + 6, &[0x20, 0]), NETWORK + 2, &[0xff, 0xff]),
        PassedFragment,
    );

    let router_alert = [0x94, 4, 0, 0];
    let report = [0x22, 0, 0, 0, 0, 0, 0, 0];
    for (name, destination) in
        [("report", [224, 0, 0, 22]), ("query", [224, 0, 0, 1]), ("to a subscribed group", GROUP_V4)]
    {
        let frame = ipv4_options(WANTED_V4, destination, IGMP, &router_alert, &report);
        table.add(&format!("IGMP with router alert, {name}"), frame, PassedMembership);
    }
    table.add("IGMP without router alert", ipv4(WANTED_V4, GROUP_V4, IGMP, &report), PassedMembership);
    table.add(
        "IGMP query to the host's own address",
        ipv4(WANTED_V4, [10, 0, 0, 100], IGMP, &report),
        PassedMembership,
    );
    table.add("IGMP, padded", padded(ipv4(WANTED_V4, [224, 0, 0, 22], IGMP, &report), 60), PassedMembership);
    table.add(
        "IGMP, cut behind the IPv4 header",
        ipv4(WANTED_V4, GROUP_V4, IGMP, &report)[..34].to_vec(),
        PassedMembership,
    );
    for (name, protocol) in
        [("ICMP", 1), ("TCP", TCP), ("UDP-Lite", UDP_LITE), ("PIM", 103), ("IPv6 in IPv4", 41), ("protocol 255", 255)]
    {
        table.add(
            &format!("v4 {name} to a group"),
            ipv4(WANTED_V4, GROUP_V4, protocol, &datagram),
            PassedOtherProtocol,
        );
    }
    table.add("v4 TCP to a unicast address", ipv4(WANTED_V4, [10, 0, 0, 100], TCP, &datagram), PassedUnicast);
    table.add(
        "v4 TCP with options to a group",
        ipv4_options(WANTED_V4, GROUP_V4, TCP, &[1; 4], &datagram),
        PassedOtherProtocol,
    );
    // TTL, DSCP, identification and the header's checksum decide nothing.
    table.add("v4 TTL 0", with(wanted_v4(), NETWORK + 8, &[0]), Redirected);
    table.add("v4 DSCP and ECN", with(wanted_v4(), NETWORK + 1, &[0xff]), Redirected);
}

fn ipv4_lengths(table: &mut Table) {
    const IP_LEN: usize = NETWORK + 2;
    const UDP_LEN: usize = NETWORK + 24;
    let wanted = || v4(WANTED_V4, GROUP_V4, PORT, 100);
    for (name, length, verdict) in [
        ("exact", 128_u16, Redirected),
        ("one beyond the frame", 129, DroppedMalformed),
        ("65535", u16::MAX, DroppedMalformed),
        ("one short of UDP's", 127, DroppedMalformed),
        ("of the headers alone", 28, DroppedMalformed),
        ("shorter than both headers", 27, DroppedMalformed),
        ("of its own header alone", 20, DroppedMalformed),
        ("shorter than its own header", 19, DroppedMalformed),
        ("0", 0, DroppedMalformed),
    ] {
        table.add(&format!("v4 length {name}"), with(wanted(), IP_LEN, &length.to_be_bytes()), verdict);
    }
    for (name, length, verdict) in [
        ("exact", 108_u16, Redirected),
        ("one beyond the IP length", 109, DroppedMalformed),
        ("65535", u16::MAX, DroppedMalformed),
        // RFC 768 lets the IP payload be longer; the kernel trims it.
        ("one short of the IP length", 107, Redirected),
        ("8", 8, Redirected),
        ("7", 7, DroppedMalformed),
        ("0", 0, DroppedMalformed),
    ] {
        table.add(&format!("v4 UDP length {name}"), with(wanted(), UDP_LEN, &length.to_be_bytes()), verdict);
    }
    let padding = padded(v4(WANTED_V4, GROUP_V4, PORT, 4), 60);
    table.add("v4 padded to 60 bytes", padding.clone(), Redirected);
    table.add("v4 UDP length into the padding", with(padding.clone(), UDP_LEN, &[0, 13]), DroppedMalformed);
    table.add("v4 both lengths into the padding", with(with(padding, UDP_LEN, &[0, 13]), IP_LEN, &[0, 33]), Redirected);
    table.add("v4 empty payload", v4(WANTED_V4, GROUP_V4, PORT, 0), Redirected);
    table.add("v4 empty payload, padded", padded(v4(WANTED_V4, GROUP_V4, PORT, 0), 60), Redirected);

    let lying = |source, group, port| with(v4(source, group, port, 18), IP_LEN, &[1, 0]);
    table.add("v4 lying length, other group", lying(WANTED_V4, [232, 1, 1, 2], PORT), PassedOtherGroup);
    table.add("v4 lying length, other port", lying(WANTED_V4, GROUP_V4, PORT + 1), PassedOtherGroup);
    table.add("v4 lying length, unicast", lying(WANTED_V4, [10, 0, 0, 100], PORT), PassedUnicast);
    table.add("v4 lying length, unwanted source", lying(UNWANTED_V4, GROUP_V4, PORT), DroppedMalformed);
    table.add("v4 lying length, blocked source", lying(BLOCKED_V4, GROUP_ANY_V4, ANY_PORT), DroppedMalformed);
    table.add("v4 lying length, any source", lying(WANTED_V4, GROUP_ANY_V4, ANY_PORT), DroppedMalformed);
    table.without_socket("v4 lying length, no socket", lying(WANTED_V4, GROUP_V4, PORT), DroppedMalformed);
}

fn ipv6_headers(table: &mut Table) {
    let datagram = udp(PORT, 18);
    for (name, next) in [
        ("hop-by-hop options", 0),
        ("routing header", 43),
        ("authentication header", 51),
        ("destination options", 60),
        ("mobility header", 135),
        ("HIP header", 139),
        ("shim6 header", 140),
    ] {
        let frame = ipv6(WANTED_V6, GROUP_V6, next, &extended(UDP, &datagram));
        table.add(&format!("v6 {name}"), frame, PassedExtensionHeader);
        let frame = ipv6(WANTED_V6, v6_address(0x2001, 100), next, &extended(UDP, &datagram));
        table.add(&format!("v6 {name}, unicast"), frame, PassedUnicast);
    }
    let fragment = ipv6(WANTED_V6, GROUP_V6, 44, &extended(UDP, &datagram));
    table.add("v6 fragment", fragment.clone(), PassedFragment);
    table.add("v6 fragment, cut behind the IPv6 header", fragment[..54].to_vec(), PassedFragment);
    table.add(
        "v6 fragment, unicast",
        ipv6(WANTED_V6, v6_address(0x2001, 100), 44, &extended(UDP, &datagram)),
        PassedUnicast,
    );
    for (name, next) in
        [("TCP", TCP), ("UDP-Lite", UDP_LITE), ("no next header", 59), ("IGMP's number", IGMP), ("IPv4 in IPv6", 4)]
    {
        table.add(&format!("v6 {name} to a group"), ipv6(WANTED_V6, GROUP_V6, next, &datagram), PassedOtherProtocol);
    }
    for version in [0, 4, 5, 7] {
        table.add(&format!("v6 version {version}"), with(wanted_v6(), NETWORK, &[version << 4]), DroppedMalformed);
    }
    table.add("v6 traffic class and flow label", with(wanted_v6(), NETWORK, &[0x6f, 0xff, 0xff, 0xff]), Redirected);
    table.add("v6 hop limit 0", with(wanted_v6(), NETWORK + 7, &[0]), Redirected);

    let all_mld_v2 = v6_address(0xff02, 22);
    for (name, kind) in [("query", 130), ("v1 report", 131), ("v1 done", 132), ("v2 report", 143)] {
        let message = [kind, 0, 0, 0, 0, 0, 0, 0];
        let frame = ipv6(WANTED_V6, all_mld_v2, 0, &extended(ICMPV6, &message));
        table.add(&format!("MLD {name}"), frame, PassedMembership);
        let frame = ipv6(WANTED_V6, v6_address(0x2001, 100), 0, &extended(ICMPV6, &message));
        table.add(&format!("MLD {name} to the host's own address"), frame, PassedMembership);
        let frame = ipv6(WANTED_V6, GROUP_V6, ICMPV6, &message);
        table.add(&format!("MLD {name} without hop-by-hop options"), frame, PassedMembership);
    }
    for (name, kind) in
        [("echo request", 128), ("neighbour solicitation", 135), ("router advertisement", 134), ("type 133", 133)]
    {
        let message = [kind, 0, 0, 0, 0, 0, 0, 0];
        table.add(
            &format!("ICMPv6 {name} to a group"),
            ipv6(WANTED_V6, GROUP_V6, ICMPV6, &message),
            PassedOtherProtocol,
        );
        table.add(
            &format!("ICMPv6 {name}, unicast"),
            ipv6(WANTED_V6, v6_address(0x2001, 100), ICMPV6, &message),
            PassedUnicast,
        );
    }
    let echo = extended(ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]);
    table.add("ICMPv6 echo behind hop-by-hop options", ipv6(WANTED_V6, GROUP_V6, 0, &echo), PassedExtensionHeader);
    table.add("ICMPv6, cut behind the IPv6 header", ipv6(WANTED_V6, GROUP_V6, ICMPV6, &[]), PassedOtherProtocol);
}

fn ipv6_lengths(table: &mut Table) {
    const IP_LEN: usize = NETWORK + 4;
    const UDP_LEN: usize = NETWORK + 44;
    let wanted = || v6(WANTED_V6, GROUP_V6, PORT, 100);
    for (name, length, verdict) in [
        ("exact", 108_u16, Redirected),
        ("one beyond the frame", 109, DroppedMalformed),
        ("65535", u16::MAX, DroppedMalformed),
        ("one short of UDP's", 107, DroppedMalformed),
        ("of the UDP header alone", 8, DroppedMalformed),
        ("7", 7, DroppedMalformed),
        // A jumbogram has hop-by-hop options (RFC 2675).
        ("0", 0, DroppedMalformed),
    ] {
        table.add(&format!("v6 payload length {name}"), with(wanted(), IP_LEN, &length.to_be_bytes()), verdict);
    }
    for (name, length, verdict) in [
        ("exact", 108_u16, Redirected),
        ("one beyond the IP length", 109, DroppedMalformed),
        ("65535", u16::MAX, DroppedMalformed),
        ("one short of the IP length", 107, Redirected),
        ("8", 8, Redirected),
        ("7", 7, DroppedMalformed),
        // Only a jumbogram may say so (RFC 2675, section 4), and that has hop-by-hop options; Linux takes it all the
        // same.
        ("0", 0, PassedZeroLength),
    ] {
        table.add(&format!("v6 UDP length {name}"), with(wanted(), UDP_LEN, &length.to_be_bytes()), verdict);
    }
    // The jumbo payload option: type 0xc2, 4 bytes of length.
    let mut jumbo = vec![UDP, 0, 0xc2, 4, 0, 1, 0, 0];
    jumbo.extend(with(udp(PORT, 100), 4, &[0, 0]));
    table.add("v6 jumbogram", with(ipv6(WANTED_V6, GROUP_V6, 0, &jumbo), IP_LEN, &[0, 0]), PassedExtensionHeader);
    let padding = padded(v6(WANTED_V6, GROUP_V6, PORT, 0), 80);
    table.add("v6 empty payload", v6(WANTED_V6, GROUP_V6, PORT, 0), Redirected);
    table.add("v6 empty payload, padded", padding.clone(), Redirected);
    table.add("v6 UDP length into the padding", with(padding, UDP_LEN, &[0, 9]), DroppedMalformed);

    let lying = |source, group, port| with(v6(source, group, port, 18), IP_LEN, &[1, 0]);
    table.add("v6 lying length, other group", lying(WANTED_V6, v6_address(0xff3e, 2), PORT), PassedOtherGroup);
    table.add("v6 lying length, other port", lying(WANTED_V6, GROUP_V6, PORT + 1), PassedOtherGroup);
    table.add("v6 lying length, unicast", lying(WANTED_V6, v6_address(0x2001, 100), PORT), PassedUnicast);
    table.add("v6 lying length, unwanted source", lying(UNWANTED_V6, GROUP_V6, PORT), DroppedMalformed);
    table.add("v6 lying length, blocked source", lying(BLOCKED_V6, GROUP_ANY_V6, ANY_PORT), DroppedMalformed);
}

/// A header of eight bytes that names the next one, and what follows.
fn extended(next: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, 0, 5, 2, 0, 0, 1, 0];
    bytes.extend(body);
    bytes
}

/// An address with this first and this last 16-bit word: `2001:db8::1`, `ff3e::1`.
const fn v6_address(first: u16, last: u16) -> [u8; 16] {
    let [a, b] = first.to_be_bytes();
    let [y, z] = last.to_be_bytes();
    let (c, d) = if first == 0x2001 { (0x0d, 0xb8) } else { (0, 0) };
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, y, z]
}
