//! The IGMPv3 and MLDv2 reports on the wire, captured at the other end and decoded, for each recipe.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_membership::{MembershipSet, OptionStyle, Options};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{Receiving, exclude, include, ip};

const PORT: u16 = 5000;
/// A change is reported at once and once more (robustness 2), within this: a second on a stock kernel.
const INTERVAL: Duration = Duration::from_millis(100);
/// Labs that work at the same time, as a round is mostly waiting, and rounds in each of them.
const LABS: usize = 5;
const ROUNDS: usize = 2;

/// A group record of a report (RFC 3376 section 4.2.12, RFC 3810 section 5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    IsIn = 1,
    IsEx,
    ToIn,
    ToEx,
    Allow,
    Block,
}
use Kind::{Allow, Block, ToEx, ToIn};

type Record = (Kind, Vec<IpAddr>);

struct Capture(Socket);

impl Capture {
    fn new(lab: &Lab) -> Self {
        let all = Protocol::from(i32::from(0x0003_u16.to_be()));
        let socket =
            lab.tx().run(|| Socket::new(Domain::PACKET, Type::RAW, Some(all))).expect("run").expect("AF_PACKET");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        Self(socket)
    }

    /// The records for the group and how often each came: until each of the expected has come twice, and then, or where
    /// none is expected, for as long as a report may be late.
    fn records(&mut self, group: IpAddr, expected: &[Record]) -> BTreeMap<Record, u32> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut quiet = Instant::now() + 2 * INTERVAL;
        let mut records = BTreeMap::new();
        let mut frame = [0; 2048];
        while Instant::now() < quiet.min(deadline) {
            if let Ok(length) = self.0.read(&mut frame) {
                let report = decode(&frame[..length]).unwrap_or_default();
                for (_, record) in report.into_iter().filter(|(of, _)| *of == group) {
                    *records.entry(record).or_insert(0) += 1;
                }
            }
            if expected.iter().any(|record| records.get(record).is_none_or(|&count| count < 2)) {
                quiet = Instant::now() + INTERVAL;
            }
        }
        records
    }
}

/// The records of a report; `None` for any other frame.
fn decode(frame: &[u8]) -> Option<Vec<(IpAddr, Record)>> {
    let packet = frame.get(14..)?;
    match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0800 if packet[9] == 2 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let igmp = packet.get(header..total)?;
            if igmp[0] != 0x22 {
                return None;
            }
            assert_eq!(packet[16..20], [224, 0, 0, 22], "reports go to all IGMPv3 routers");
            records(&igmp[8..], u16::from_be_bytes([igmp[6], igmp[7]]), 4)
        }
        // A hop-by-hop header with the router alert, then ICMPv6.
        0x86dd if packet[6] == 0 && packet.get(40)? == &58 => {
            let mld = packet.get(40 + (usize::from(packet[41]) + 1) * 8..)?;
            if mld[0] != 143 {
                return None;
            }
            assert_eq!(packet[7], 1, "hop limit");
            records(&mld[8..], u16::from_be_bytes([mld[6], mld[7]]), 16)
        }
        _ => None,
    }
}

fn records(mut rest: &[u8], count: u16, address: usize) -> Option<Vec<(IpAddr, Record)>> {
    let ip = |bytes: &[u8]| -> IpAddr {
        match bytes.len() {
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("4")).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("16")).into(),
        }
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let kind = match rest.first()? {
            1 => Kind::IsIn,
            2 => Kind::IsEx,
            3 => ToIn,
            4 => ToEx,
            5 => Allow,
            6 => Block,
            other => panic!("record type {other}"),
        };
        let sources = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let end = 4 + address * (1 + sources);
        let mut listed: Vec<IpAddr> = rest.get(4 + address..end)?.chunks_exact(address).map(ip).collect();
        listed.sort();
        all.push((ip(&rest[4..4 + address]), (kind, listed)));
        rest = &rest[end..];
    }
    Some(all)
}

fn recipes(style: OptionStyle, ssm: IpAddr, asm: IpAddr, sources: [IpAddr; 3]) {
    std::thread::scope(|scope| {
        for number in 1..=LABS {
            scope.spawn(move || in_a_lab(style, ssm, asm, sources, number));
        }
    });
}

fn in_a_lab(style: OptionStyle, ssm: IpAddr, asm: IpAddr, sources: [IpAddr; 3], number: usize) {
    let lab = Lab::new().expect("lab");
    for interval in
        ["ipv4/conf/IF/igmpv3_unsolicited_report_interval", "ipv6/conf/IF/mldv2_unsolicited_report_interval"]
    {
        let sysctl = format!("net/{}", interval.replace("IF", lab.rx_interface()));
        lab.rx().sysctl(&sysctl, &INTERVAL.as_millis().to_string()).expect("sysctl");
    }
    let mut capture = Capture::new(&lab);
    let mut r = Receiving::new(&lab, Options { style, ..Options::default() });
    // The interface's own groups are reported when it comes up, at the old interval.
    std::thread::sleep(Duration::from_millis(1_100));
    for round in 1..=ROUNDS {
        let which = format!("{style:?}, lab {number}, round {round}");
        one_round(&lab, &mut capture, &mut r, ssm, asm, sources, &which);
    }
}

fn one_round(
    lab: &Lab,
    capture: &mut Capture,
    r: &mut Receiving,
    ssm: IpAddr,
    asm: IpAddr,
    sources: [IpAddr; 3],
    which: &str,
) {
    let [a, b, c] = sources;
    type Step<'a> = (&'a str, IpAddr, Box<dyn FnOnce(&mut MembershipSet) + Send + 'a>, Vec<Record>);
    let steps: Vec<Step<'_>> = vec![
        ("join a pair", ssm, Box::new(|s| s.join(ssm, PORT, &include(&[a])).unwrap()), vec![(Allow, vec![a])]),
        ("a second port", ssm, Box::new(|s| s.join(ssm, PORT + 1, &include(&[a])).unwrap()), vec![]),
        ("second source", ssm, Box::new(|s| s.add_source(ssm, PORT, b).unwrap()), vec![(Allow, vec![b])]),
        ("leave the second port", ssm, Box::new(|s| s.leave(ssm, PORT + 1).unwrap()), vec![]),
        (
            "replace {a,b} by {b,c}",
            ssm,
            Box::new(|s| s.set_filter(ssm, PORT, &include(&[b, c])).unwrap()),
            vec![(Allow, vec![c]), (Block, vec![a])],
        ),
        ("leave a pair", ssm, Box::new(|s| s.remove_source(ssm, PORT, b).unwrap()), vec![(Block, vec![b])]),
        ("leave all", ssm, Box::new(|s| s.leave(ssm, PORT).unwrap()), vec![(Block, vec![c])]),
        ("join any", asm, Box::new(|s| s.join(asm, PORT, &exclude(&[])).unwrap()), vec![(ToEx, vec![])]),
        ("block", asm, Box::new(|s| s.block(asm, PORT, a).unwrap()), vec![(Block, vec![a])]),
        (
            "replace blocked a by b",
            asm,
            Box::new(|s| s.set_filter(asm, PORT, &exclude(&[b])).unwrap()),
            vec![(Allow, vec![a]), (Block, vec![b])],
        ),
        ("unblock", asm, Box::new(|s| s.unblock(asm, PORT, b).unwrap()), vec![(Allow, vec![b])]),
        ("leave any", asm, Box::new(|s| s.leave(asm, PORT).unwrap()), vec![(ToIn, vec![])]),
    ];
    for (name, group, step, expected) in steps {
        r.with(lab, step);
        let got = capture.records(group, &expected);
        // ALLOW and BLOCK alone for changes within a mode: no transient TO_EX or TO_IN, which would open or cut the
        // stream.
        assert_eq!(got, expected.into_iter().map(|record| (record, 2)).collect(), "{which}: {name}");
    }
}

const V4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const V6: [&str; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];

#[test]
fn igmp_mcast() {
    recipes(OptionStyle::Mcast, ip("232.1.1.1"), ip("239.1.1.1"), V4.map(ip));
}

#[test]
fn igmp_protocol_specific() {
    recipes(OptionStyle::ProtocolSpecific, ip("232.1.1.1"), ip("239.1.1.1"), V4.map(ip));
}

#[test]
fn igmp_full_state() {
    recipes(OptionStyle::FullState, ip("232.1.1.1"), ip("239.1.1.1"), V4.map(ip));
    recipes(OptionStyle::FullStateProtocolSpecific, ip("232.1.1.1"), ip("239.1.1.1"), V4.map(ip));
}

#[test]
fn mld_mcast() {
    recipes(OptionStyle::Mcast, ip("ff3e::1"), ip("ff15::1"), V6.map(ip));
}

#[test]
fn mld_protocol_specific() {
    recipes(OptionStyle::ProtocolSpecific, ip("ff3e::1"), ip("ff15::1"), V6.map(ip));
}

#[test]
fn mld_full_state() {
    recipes(OptionStyle::FullState, ip("ff3e::1"), ip("ff15::1"), V6.map(ip));
}
