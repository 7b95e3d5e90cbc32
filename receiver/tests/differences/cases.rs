//! The cases: what is sent, what a plain kernel socket makes of it, and where the receiver differs, for which reason.

use crate::packet::{Checksum, Packet};

/// What the receivers of these tests subscribe to.
pub const SUBSCRIPTIONS: [&str; 8] = [
    "10.0.0.1,10.0.0.100@232.1.1.1:5000",
    "239.1.1.1:5001",
    "!10.0.0.9@239.1.1.2:5002",
    "224.0.0.200:5003",
    "[2001:db8::1],[2001:db8::64]@[ff3e::1]:5000",
    "[ff0e::1]:5001",
    "![2001:db8::9]@[ff0e::2]:5002",
    "[ff02::99]:5003",
];

/// The receiving interface's own MAC address in these tests.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

const NAMED_V4: (&str, u16) = ("232.1.1.1", 5000);
const ANY_V4: (&str, u16) = ("239.1.1.1", 5001);
const LOCAL_V4: (&str, u16) = ("224.0.0.200", 5003);
const NAMED_V6: (&str, u16) = ("ff3e::1", 5000);
const ANY_V6: (&str, u16) = ("ff0e::1", 5001);
const LOCAL_V6: (&str, u16) = ("ff02::99", 5003);
const SOURCE_V4: &str = "10.0.0.1";
const SOURCE_V6: &str = "2001:db8::1";

/// Frames of one datagram, and who receives it.
pub struct Case {
    pub section: &'static str,
    pub name: String,
    pub frames: Vec<Vec<u8>>,
    /// Names the datagram: each case has a source port of its own.
    pub source_port: u16,
    /// Returns true if a plain socket, and so mode `socket`, receives it.
    pub socket: bool,
    pub copy: bool,
    pub generic: bool,
    /// Why the modes differ, where they do.
    pub reason: &'static str,
}

/// Why the receiver differs from a plain socket, in lines for the document.
pub mod reason {
    pub const OWN_ADDRESS: &str = "\
The kernel drops a datagram whose source is one of the host's own IPv4 addresses. The XDP program does not know them.
Such a frame is forged, or it was sent by this host and came back through a loop in the network. `!ADDRESS@GROUP:PORT`
blocks it.";
    pub const PARTIAL: &str = "\
A sender on this host leaves the UDP checksum to its NIC, and veth has none. In native modes such a frame looks like
one from the wire whose checksum field holds the sum of the pseudo header. The receiver accepts both and counts them
as `checksum_partial`. In generic mode the kernel decides, which knows where the frame comes from.";
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut table = Table { cases: Vec::new(), section: "" };
    sources_v4(&mut table);
    sources_v6(&mut table);
    ethernet(&mut table);
    checksums(&mut table);
    lengths_v4(&mut table);
    lengths_v6(&mut table);
    headers_v4(&mut table);
    headers_v6(&mut table);
    fragments(&mut table);
    vlans(&mut table);
    table.cases
}

struct Table {
    cases: Vec<Case>,
    section: &'static str,
}

const FIRST_PORT: u16 = 20_000;

impl Table {
    /// A datagram in one frame, of which all receivers make the same.
    fn same(&mut self, name: impl Into<String>, packet: Packet, received: bool) {
        self.frames(name, received, packet, |packet| vec![packet.frame()]);
    }

    /// As [`Table::same`], in frames that are made of the packet once it has its source port.
    fn frames(
        &mut self,
        name: impl Into<String>,
        received: bool,
        mut packet: Packet,
        make: impl Fn(&Packet) -> Vec<Vec<u8>>,
    ) {
        packet.source_port = FIRST_PORT + self.cases.len() as u16;
        self.cases.push(Case {
            section: self.section,
            name: name.into(),
            frames: make(&packet),
            source_port: packet.source_port,
            socket: received,
            copy: received,
            generic: received,
            reason: "",
        });
    }

    /// The last case: XDP modes do the opposite of a plain socket.
    fn but_not_in_xdp(&mut self, reason: &'static str) {
        let case = self.cases.last_mut().expect("a case");
        (case.copy, case.generic, case.reason) = (!case.socket, !case.socket, reason);
    }

    /// The last case: mode `copy` does the opposite of a plain socket.
    fn but_not_in_copy(&mut self, reason: &'static str) {
        let case = self.cases.last_mut().expect("a case");
        (case.copy, case.reason) = (!case.socket, reason);
    }
}

fn packet(source: &str, (group, port): (&str, u16)) -> Packet {
    Packet::new(source, group, port)
}

fn v4() -> Packet {
    packet(SOURCE_V4, NAMED_V4)
}

fn v6() -> Packet {
    packet(SOURCE_V6, NAMED_V6)
}

fn changed(mut packet: Packet, change: impl FnOnce(&mut Packet)) -> Packet {
    change(&mut packet);
    packet
}

fn sources_v4(table: &mut Table) {
    table.section = "Sources, IPv4";
    for (source, what, received) in [
        ("10.0.0.1", "on the link", true),
        ("203.0.113.5", "without a route", true),
        ("0.0.0.0", "unspecified", false),
        ("0.0.0.1", "this network", true),
        ("0.255.255.255", "this network, last", true),
        ("1.0.0.0", "first behind this network", true),
        ("10.0.0.0", "the link's network", true),
        ("10.0.0.255", "the link's broadcast address", true),
        ("126.255.255.255", "last before loopback", true),
        ("127.0.0.0", "loopback, first", false),
        ("127.0.0.1", "loopback", false),
        ("127.255.255.255", "loopback, last", false),
        ("128.0.0.0", "first behind loopback", true),
        ("169.254.1.1", "link-local", true),
        ("223.255.255.255", "last before the groups", true),
        ("224.0.0.0", "a group, first", false),
        ("224.0.0.1", "a group, all hosts", false),
        ("239.1.1.1", "the group itself", false),
        ("239.255.255.255", "a group, last", false),
        ("240.0.0.0", "first behind the groups", true),
        ("255.255.255.254", "last before broadcast", true),
        ("255.255.255.255", "broadcast", false),
    ] {
        table.same(format!("any source: {source}, {what}"), packet(source, ANY_V4), received);
    }
    table.same("any source: 10.0.0.100, the host's own", packet("10.0.0.100", ANY_V4), false);
    table.but_not_in_xdp(reason::OWN_ADDRESS);
    table.same("named source: 10.0.0.100, the host's own", packet("10.0.0.100", NAMED_V4), false);
    table.but_not_in_xdp(reason::OWN_ADDRESS);
    table.same("named source", v4(), true);
    table.same("source that is not named", packet("10.0.0.2", NAMED_V4), false);
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        table.same(format!("source that is not named: {source}"), packet(source, NAMED_V4), false);
    }
    table.same("all but one: another", packet("10.0.0.2", ("239.1.1.2", 5002)), true);
    table.same("all but one: that one", packet("10.0.0.9", ("239.1.1.2", 5002)), false);
    table.same("all but one: 0.0.0.0", packet("0.0.0.0", ("239.1.1.2", 5002)), false);
    table.same("all but one: 127.0.0.1", packet("127.0.0.1", ("239.1.1.2", 5002)), false);
    table.same("group of the link: 10.0.0.1", packet("10.0.0.1", LOCAL_V4), true);
    table.same("group of the link: 0.0.0.0", packet("0.0.0.0", LOCAL_V4), true);
    table.same("group of the link: 127.0.0.1", packet("127.0.0.1", LOCAL_V4), false);
    table.same("group of the link: 255.255.255.255", packet("255.255.255.255", LOCAL_V4), false);
    table.same("other group", packet(SOURCE_V4, ("232.1.1.2", 5000)), false);
    table.same("other port", packet(SOURCE_V4, ("232.1.1.1", 5001)), false);
}

fn sources_v6(table: &mut Table) {
    table.section = "Sources, IPv6";
    for (source, what, received) in [
        ("2001:db8::1", "on the link", true),
        ("2001:db8:9::1", "without a route", true),
        ("::", "unspecified", true),
        ("::1", "loopback", false),
        ("::2", "first behind loopback", true),
        ("0:0:0:0:0:1::1", "loopback but for one bit", true),
        ("::10.0.0.1", "IPv4-compatible", true),
        ("::ffff:10.0.0.1", "IPv4-mapped", true),
        ("::ffff:0.0.0.0", "IPv4-mapped, first", true),
        ("::fffe:10.0.0.1", "IPv4-mapped but for one bit", true),
        ("1::ffff:10.0.0.1", "IPv4-mapped but for the first word", true),
        ("64:ff9b::10.0.0.1", "translated from IPv4", true),
        ("fc00::1", "unique local", true),
        ("fe80::1", "link-local", true),
        ("fec0::1", "site-local", true),
        ("feff:ffff::1", "last before the groups", true),
        ("ff00::", "a group, first", false),
        ("ff02::1", "a group, all nodes", false),
        ("ff0e::1", "the group itself", false),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a group, last", false),
        ("2001:db8::64", "the host's own", true),
    ] {
        table.same(format!("any source: {source}, {what}"), packet(source, ANY_V6), received);
    }
    table.same("named source: 2001:db8::64, the host's own", packet("2001:db8::64", NAMED_V6), true);
    table.same("named source", v6(), true);
    table.same("source that is not named", packet("2001:db8::2", NAMED_V6), false);
    for source in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
        table.same(format!("source that is not named: {source}"), packet(source, NAMED_V6), false);
    }
    table.same("all but one: another", packet("2001:db8::2", ("ff0e::2", 5002)), true);
    table.same("all but one: that one", packet("2001:db8::9", ("ff0e::2", 5002)), false);
    table.same("all but one: ::1", packet("::1", ("ff0e::2", 5002)), false);
    table.same("group of the link: fe80::1", packet("fe80::1", LOCAL_V6), true);
    table.same("group of the link: ::1", packet("::1", LOCAL_V6), false);
    table.same("other group", packet(SOURCE_V6, ("ff3e::2", 5000)), false);
    table.same("other scope", packet(SOURCE_V6, ("ff35::1", 5000)), false);
    table.same("other port", packet(SOURCE_V6, ("ff3e::1", 5001)), false);
}

fn ethernet(table: &mut Table) {
    table.section = "Ethernet";
    for (family, plain) in [("IPv4", v4 as fn() -> Packet), ("IPv6", v6)] {
        for (name, mac, received) in [
            ("another group's", [1, 0, 0x5e, 9, 9, 9], true),
            ("another group's of IPv6", [0x33, 0x33, 0, 9, 9, 9], true),
            ("of a bridge's protocol", [1, 0x80, 0xc2, 0, 0, 0x20], true),
            ("broadcast", [0xff; 6], true),
            ("the host's own", OWN_MAC, true),
            ("another host's", [2, 0, 0, 0, 0, 0x77], false),
            ("another host's, one bit off the own", [2, 0, 0, 0, 0, 0x98], false),
            ("zero", [0; 6], false),
        ] {
            let packet = changed(plain(), |packet| packet.mac = Some(mac));
            table.same(format!("{family}, destination {name}"), packet, received);
        }
        for (name, mac) in [("broadcast", [0xff; 6]), ("a group's", [1, 0, 0x5e, 1, 1, 1]), ("the host's own", OWN_MAC)]
        {
            let packet = changed(plain(), |packet| packet.source_mac = mac);
            table.same(format!("{family}, source {name}"), packet, true);
        }
    }
    for (name, mac, received) in [("the host's own", OWN_MAC, true), ("another host's", [2, 0, 0, 0, 0, 0x77], false)] {
        for (family, source, group) in [("IPv4", SOURCE_V4, ANY_V4), ("IPv6", SOURCE_V6, ANY_V6)] {
            let packet = changed(packet(source, group), |packet| packet.mac = Some(mac));
            table.same(format!("{family}, any source, destination {name}"), packet, received);
        }
    }
    let loopback = changed(packet("127.0.0.1", ANY_V4), |packet| packet.mac = Some(OWN_MAC));
    table.same("IPv4, any source: 127.0.0.1, destination the host's own", loopback, false);
    table.same("IPv4 in a frame of IPv6's type", changed(v4(), |packet| packet.ethertype = Some(0x86dd)), false);
    table.same("IPv6 in a frame of IPv4's type", changed(v6(), |packet| packet.ethertype = Some(0x0800)), false);
    table.same("ARP's type", changed(v4(), |packet| packet.ethertype = Some(0x0806)), false);
}

fn checksums(table: &mut Table) {
    table.section = "Checksums";
    for (family, plain, absent) in [("IPv4", v4 as fn() -> Packet, true), ("IPv6", v6, false)] {
        let with = |checksum| changed(plain(), |packet| packet.checksum = checksum);
        table.same(format!("{family}, UDP's is wrong"), with(Checksum::Wrong), false);
        table.same(format!("{family}, UDP's is absent"), with(Checksum::Absent), absent);
        table.same(format!("{family}, UDP's is of the pseudo header alone"), with(Checksum::Partial), false);
        table.but_not_in_copy(reason::PARTIAL);
        let odd = changed(plain(), |packet| packet.payload.truncate(39));
        table.same(format!("{family}, odd payload"), odd, true);
    }
    let wrong = changed(v4(), |packet| packet.header_checksum_is_wrong = true);
    table.same("IPv4's own is wrong", wrong, false);
}

fn lengths_v4(table: &mut Table) {
    table.section = "Lengths, IPv4";
    // The datagram of these packets: 8 bytes of header, 40 of payload; with IPv4's header 68.
    for (name, ip_len, received) in [
        ("exact", 68, true),
        ("one beyond the frame", 69, false),
        ("65535", u16::MAX, false),
        ("one short of UDP's", 67, false),
        ("of the headers alone", 28, false),
        ("of its own header alone", 20, false),
        ("shorter than its own header", 19, false),
        ("0", 0, false),
    ] {
        table.same(format!("IP's {name}"), changed(v4(), |packet| packet.ip_len = Some(ip_len)), received);
    }
    for (name, udp_len, received) in [
        ("one beyond IP's", 49, false),
        ("65535", u16::MAX, false),
        ("one short of IP's", 47, true),
        ("of its header alone", 8, true),
        ("shorter than its header", 7, false),
        ("0", 0, false),
    ] {
        table.same(format!("UDP's {name}"), changed(v4(), |packet| packet.udp_len = Some(udp_len)), received);
    }
    table.same("empty payload", changed(v4(), |packet| packet.payload.clear()), true);
    table.same("longest payload", changed(v4(), |packet| packet.payload.resize(1472, 7)), true);
    table.same("padding behind the packet", changed(v4(), |packet| packet.padding = 20), true);
    let short = |packet: &mut Packet| (packet.payload, packet.padding) = (vec![1, 2, 3], 18);
    table.same("short packet in a frame of 60 bytes", changed(v4(), short), true);
    let into = |packet: &mut Packet| (packet.padding, packet.udp_len) = (20, Some(60));
    table.same("UDP's reaches into the padding", changed(v4(), into), false);
    table.same("the last byte is missing", changed(v4(), |packet| packet.missing = 1), false);
    table.same("the payload is missing", changed(v4(), |packet| packet.missing = 40), false);
    table.same("the UDP header is cut", changed(v4(), |packet| packet.missing = 44), false);
    table.same("the UDP header is missing", changed(v4(), |packet| packet.missing = 48), false);
}

fn lengths_v6(table: &mut Table) {
    table.section = "Lengths, IPv6";
    for (name, ip_len, received) in [
        ("exact", 48, true),
        ("one beyond the frame", 49, false),
        ("65535", u16::MAX, false),
        ("one short of UDP's", 47, false),
        ("of the UDP header alone", 8, false),
        ("shorter than the UDP header", 7, false),
        ("0", 0, false),
    ] {
        table.same(format!("IP's {name}"), changed(v6(), |packet| packet.ip_len = Some(ip_len)), received);
    }
    for (name, udp_len, received) in [
        ("one beyond IP's", 49, false),
        ("65535", u16::MAX, false),
        ("one short of IP's", 47, true),
        ("of its header alone", 8, true),
        ("shorter than its header", 7, false),
        ("0", 0, true),
    ] {
        table.same(format!("UDP's {name}"), changed(v6(), |packet| packet.udp_len = Some(udp_len)), received);
    }
    let any = changed(packet(SOURCE_V6, ANY_V6), |packet| packet.udp_len = Some(0));
    table.same("UDP's 0, any source", any.clone(), true);
    let loopback = changed(any.clone(), |packet| packet.source = "::1".parse().expect("an address"));
    table.same("UDP's 0, any source: ::1", loopback, false);
    let unwanted = changed(v6(), |packet| {
        packet.udp_len = Some(0);
        packet.source = "2001:db8::2".parse().expect("an address");
    });
    table.same("UDP's 0, source that is not named", unwanted, false);
    let both = |packet: &mut Packet| (packet.udp_len, packet.ip_len) = (Some(0), Some(49));
    table.same("UDP's 0, IP's one beyond the frame", changed(v6(), both), false);
    let padded = |packet: &mut Packet| (packet.udp_len, packet.padding) = (Some(0), 20);
    table.same("UDP's 0, padding behind the packet", changed(v6(), padded), true);
    table.same("empty payload", changed(v6(), |packet| packet.payload.clear()), true);
    table.same("longest payload", changed(v6(), |packet| packet.payload.resize(1452, 7)), true);
    table.same("padding behind the packet", changed(v6(), |packet| packet.padding = 20), true);
    let into = |packet: &mut Packet| (packet.padding, packet.udp_len) = (20, Some(60));
    table.same("UDP's reaches into the padding", changed(v6(), into), false);
    table.same("the last byte is missing", changed(v6(), |packet| packet.missing = 1), false);
    table.same("the UDP header is missing", changed(v6(), |packet| packet.missing = 48), false);
}

fn headers_v4(table: &mut Table) {
    table.section = "Headers, IPv4";
    for hops in [0, 1, 255] {
        table.same(format!("TTL {hops}"), changed(v4(), |packet| packet.hops = hops), true);
    }
    table.same("DSCP and ECN", changed(v4(), |packet| packet.class = 0xff), true);
    for version in [0x55, 0x65, 0x05] {
        let name = format!("version {}", version >> 4);
        table.same(name, changed(v4(), |packet| packet.version = Some(version)), false);
    }
    for length in [0, 4] {
        let name = format!("header length {length} words");
        table.same(name, changed(v4(), |packet| packet.version = Some(0x40 | length)), false);
    }
    for (name, fragment, received) in
        [("don't fragment", 0x4000, true), ("the reserved bit", 0x8000, true), ("all but an offset", 0xc000, true)]
    {
        table.same(format!("flags: {name}"), changed(v4(), |packet| packet.fragment = fragment), received);
    }
    for (name, options, received) in [
        ("end of list", vec![0, 0, 0, 0], true),
        ("no operation", vec![1, 1, 1, 1], true),
        ("router alert", vec![0x94, 4, 0, 0], true),
        ("timestamp", vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], true),
        ("record route", vec![7, 7, 4, 0, 0, 0, 0, 0], true),
        ("loose source route", vec![131, 7, 4, 10, 0, 0, 5, 0], false),
        ("strict source route", vec![137, 7, 4, 10, 0, 0, 5, 0], false),
        ("longer than the header", vec![7, 9, 4, 0], false),
        ("of length 0", vec![7, 0, 4, 0], false),
        ("of an unknown type", vec![0x5e, 4, 0, 0], true),
    ] {
        table.same(format!("option: {name}"), changed(v4(), |packet| packet.options = options), received);
    }
    let option = changed(packet("127.0.0.1", ANY_V4), |packet| packet.options = vec![1; 4]);
    table.same("option: no operation, any source: 127.0.0.1", option, false);
    for (name, protocol) in [("UDP-Lite", 136), ("TCP", 6), ("ICMP", 1), ("255", 255)] {
        table.same(format!("protocol {name}"), changed(v4(), |packet| packet.protocol = protocol), false);
    }
}

fn headers_v6(table: &mut Table) {
    table.section = "Headers, IPv6";
    for hops in [0, 1, 255] {
        table.same(format!("hop limit {hops}"), changed(v6(), |packet| packet.hops = hops), true);
    }
    table.same("traffic class", changed(v6(), |packet| packet.class = 0xff), true);
    table.same("flow label", changed(v6(), |packet| packet.flow_label = 0xf_ffff), true);
    for version in [0x00, 0x40, 0x70] {
        let name = format!("version {}", version >> 4);
        table.same(name, changed(v6(), |packet| packet.version = Some(version)), false);
    }
    let pad = || vec![0, 1, 4, 0, 0, 0, 0];
    for (name, extensions, received) in [
        ("hop-by-hop options", vec![(0, pad())], true),
        ("hop-by-hop options twice", vec![(0, pad()), (0, pad())], false),
        ("hop-by-hop options in the second place", vec![(60, pad()), (0, pad())], false),
        ("destination options", vec![(60, pad())], true),
        ("destination options twice", vec![(60, pad()), (60, pad())], true),
        ("an option to be skipped", vec![(60, vec![0, 0x1e, 4, 0, 0, 0, 0])], true),
        ("an option to be dropped", vec![(60, vec![0, 0x5e, 4, 0, 0, 0, 0])], false),
        ("a routing header with nothing left", vec![(43, vec![0, 0, 0, 0, 0, 0, 0])], false),
        ("a routing header with a hop left", vec![(43, vec![0, 0, 1, 0, 0, 0, 0])], false),
        ("an authentication header", vec![(51, vec![4, 0, 0, 0, 0, 0, 0])], false),
        ("a mobility header", vec![(135, pad())], false),
        ("an unknown header", vec![(253, pad())], false),
        ("no next header", vec![(59, pad())], false),
        ("a header longer than the packet", vec![(60, vec![200, 1, 4, 0, 0, 0, 0])], false),
    ] {
        table.same(name, changed(v6(), |packet| packet.extensions = extensions), received);
    }
    let option = changed(packet("::1", ANY_V6), |packet| packet.extensions = vec![(60, pad())]);
    table.same("destination options, any source: ::1", option, false);
    for (name, protocol) in [("UDP-Lite", 136), ("TCP", 6), ("ICMP", 1)] {
        table.same(format!("protocol {name}"), changed(v6(), |packet| packet.protocol = protocol), false);
    }
}

fn fragments(table: &mut Table) {
    table.section = "Fragments";
    for (family, plain) in [("IPv4", v4 as fn() -> Packet), ("IPv6", v6)] {
        let mut row = |name: &str, received, ranges: &[(std::ops::Range<usize>, bool)]| {
            table.frames(format!("{family}, {name}"), received, plain(), |packet| packet.fragments(ranges));
        };
        row("two", true, &[(0..24, true), (24..48, false)]);
        row("three", true, &[(0..8, true), (8..16, true), (16..48, false)]);
        row("two, the last one first", true, &[(24..48, false), (0..24, true)]);
        row("one twice", true, &[(0..24, true), (0..24, true), (24..48, false)]);
        row("overlapping", false, &[(0..32, true), (24..48, false)]);
        row("the first alone", false, &[(0..24, true)]);
        row("the last alone", false, &[(24..48, false)]);
        row("a gap", false, &[(0..16, true), (24..48, false)]);
        row("a whole one with more to come", false, &[(0..48, true)]);
    }
    let atomic = |packet: &Packet| packet.fragments(&[(0..packet.len(), false)]);
    table.frames("IPv6, a whole one in a fragment header", true, v6(), atomic);
    let two: &[(std::ops::Range<usize>, bool)] = &[(0..24, true), (24..48, false)];
    for (source, group) in [("10.0.0.2", NAMED_V4), ("127.0.0.1", ANY_V4), ("::1", ANY_V6)] {
        table.frames(format!("two of {source}"), false, packet(source, group), |packet| packet.fragments(two));
    }
}

fn vlans(table: &mut Table) {
    table.section = "VLAN tags";
    for (family, plain) in [("IPv4", v4 as fn() -> Packet), ("IPv6", v6)] {
        for (name, tags, received) in [
            ("802.1Q", vec![(0x8100, 7)], false),
            ("802.1ad", vec![(0x88a8, 7)], false),
            ("802.1Q of VLAN 0, a priority tag", vec![(0x8100, 0xa000)], true),
            ("802.1ad of VLAN 0", vec![(0x88a8, 0xa000)], true),
            ("two", vec![(0x88a8, 7), (0x8100, 8)], false),
        ] {
            let packet = changed(plain(), |packet| packet.tags = tags);
            table.same(format!("{family}, {name}"), packet, received);
        }
    }
}
