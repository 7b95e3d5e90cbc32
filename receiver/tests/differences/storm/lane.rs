//! One way to receive: a veth of its own, and plain sockets or a receiver in one mode behind it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::{Channels, Lab};
use receiver::{Interface, Ledger, ReceiveMode, Receiver, Vlan, Wait};

use super::sender::{Offload, OffloadSocket, for_bridge, with_tag};
use crate::cases::OWN_MAC;
use crate::packet::Packet;
use crate::plain::PlainSockets;
use crate::support::{causes, open};

/// The longest time that a chunk may take, on a machine that is busy or pauses.
const PATIENCE: Duration = Duration::from_secs(180);
/// After this time the markers of a chunk are sent once more, since the kernel may have dropped them.
const AGAIN: Duration = Duration::from_secs(2);
/// The markers' source port. No case has it.
const MARKER: u16 = 1;
/// Settings of reassembly: seconds that a fragment waits, and bytes that wait at most. A case whose fragments are not
/// complete must not take the place of later ones.
const REASSEMBLY: [(&str, &str); 4] = [
    ("net/ipv4/ipfrag_time", "4"),
    ("net/ipv6/ip6frag_time", "4"),
    ("net/ipv4/ipfrag_high_thresh", "268435456"),
    ("net/ipv6/ip6frag_high_thresh", "268435456"),
];

/// A datagram as it was delivered, without its source port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivered {
    pub source: IpAddr,
    pub group: IpAddr,
    pub port: u16,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, group, port, payload } = self;
        write!(f, "{source} to {group} port {port}, {} bytes {:02x?}", payload.len(), &payload[..payload.len().min(16)])
    }
}

/// What came, by source port, in order of size and not of time.
pub type Received = BTreeMap<u16, Vec<Delivered>>;

enum End {
    Plain(PlainSockets),
    Receiver(Box<Receiver>),
}

pub struct Lane {
    /// `None`: plain sockets.
    pub mode: Option<ReceiveMode>,
    /// The VLAN of a receiver whose frames get this tag. There is no VLAN interface, so what its program leaves to the
    /// kernel is not delivered.
    pub vlan: Option<u16>,
    /// What stands in place of frames' MAC source, over a bridge: it would look for the receiver where a frame with the
    /// receiver's own address came from.
    station: Option<[u8; 6]>,
    /// How often markers had to be sent again.
    pub resent: u64,
    lab: Lab,
    socket: OffloadSocket,
    end: End,
    buffer: Vec<u8>,
}

impl Lane {
    /// Of a lane of plain sockets, frames get no tag.
    pub fn open(mode: Option<ReceiveMode>, vlan: Option<u16>, mtu: usize) -> Self {
        Self::over(Lab::builder().mtu(mtu as u32).build().expect("lab"), mode, vlan)
    }

    /// In mode zero-copy, over two interfaces with these MAC addresses that something else joins.
    pub fn of_nics(rx: &str, tx: &str) -> Self {
        let lab = Lab::over(&interface(rx), &interface(tx)).build().expect("lab");
        // Frames of one queue keep their order. A NIC filters by MAC addresses, which veth does not.
        lab.rx().set_channels(lab.rx_interface(), Channels::Combined, 1).expect("one queue");
        lab.rx().ip(&["link", "set", lab.rx_interface(), "promisc", "on"]).expect("promiscuous");
        let station = Some([2, 0, 0, 0, 0, 0x10]);
        Self { station, ..Self::over(lab, Some(ReceiveMode::ZeroCopy), None) }
    }

    fn over(lab: Lab, mode: Option<ReceiveMode>, vlan: Option<u16>) -> Self {
        lab.rx().ip(&["link", "set", lab.rx_interface(), "address", &text(OWN_MAC)]).expect("the MAC address");
        for (sysctl, value) in REASSEMBLY {
            lab.rx().sysctl(sysctl, value).expect("a setting of reassembly");
        }
        let subscriptions = crate::subscriptions();
        let vlan = vlan.filter(|_| mode.is_some());
        let tag = vlan.map(|id| Vlan::new(id, None).expect("a VLAN"));
        let end = match mode {
            None => End::Plain(PlainSockets::open(&lab, &subscriptions).without_waiting()),
            Some(mode) => {
                let receiver = open(&lab, |builder| builder.subscribe_all(subscriptions).mode(mode).vlan(tag));
                let receiver = receiver.expect("receiver");
                assert_eq!(receiver.handle().mode(), mode);
                End::Receiver(Box::new(receiver))
            }
        };
        let socket = OffloadSocket::open(&lab);
        Self { mode, vlan, station: None, resent: 0, lab, socket, end, buffer: vec![0; 65_536] }
    }

    pub fn name(&self) -> &'static str {
        self.mode.map_or("plain", ReceiveMode::name)
    }

    pub fn is_over_nics(&self) -> bool {
        self.station.is_some()
    }

    /// Sends the messages, and the markers behind them. Returns how many messages the kernel does not take.
    pub fn send(&self, messages: &[Vec<u8>], serial: u64) -> u64 {
        let refused = messages.iter().filter(|message| !self.socket.send(&self.changed(message))).count();
        self.mark(serial);
        refused as u64
    }

    /// The message as this lane sends it.
    fn changed<'a>(&self, message: &'a [u8]) -> Cow<'a, [u8]> {
        match (self.vlan, self.station) {
            (Some(vlan), _) => with_tag(message, vlan).into(),
            (None, Some(station)) => for_bridge(message, station).into(),
            (None, None) => message.into(),
        }
    }

    /// Two datagrams that end a chunk: one takes the way through XDP, the other has an IPv4 option, so the kernel path
    /// gets it in all modes. On each way datagrams keep their order. What is sent once more has another checksum: in
    /// generic mode the program leaves one in 65,536 to the kernel, which has no VLAN interface.
    fn mark(&self, serial: u64) {
        for options in [vec![], vec![1; 4]] {
            let mut packet = Packet::new("10.0.0.1", "239.1.1.1", 5001);
            packet.source_port = MARKER;
            packet.payload =
                [&serial.to_be_bytes()[..], &[options.is_empty().into()], &self.resent.to_be_bytes()].concat();
            packet.options = options;
            let message = [&Offload::default().header()[..], &packet.frame()].concat();
            assert!(self.socket.send(&self.changed(&message)), "a marker is an ordinary frame");
        }
    }

    /// Takes what there is until both markers have come and nothing is behind them.
    pub fn take(&mut self, serial: u64) -> Received {
        let (start, mut sent) = (Instant::now(), Instant::now());
        let mut received = Received::new();
        let mut marked = [self.vlan.is_some(), false];
        loop {
            let wait = if marked == [true; 2] { Duration::ZERO } else { Duration::from_millis(1) };
            let count = self.poll(wait, |source_port, delivered| {
                if source_port != MARKER {
                    received.entry(source_port).or_default().push(delivered);
                } else if delivered.payload[..8] == serial.to_be_bytes() {
                    marked[usize::from(delivered.payload[8])] = true;
                }
            });
            if marked == [true; 2] {
                if count == 0 {
                    break;
                }
            } else if sent.elapsed() > AGAIN {
                self.resent += 1;
                self.mark(serial);
                sent = Instant::now();
            }
            let state = || self.ledger().map_or(String::new(), |ledger| causes(&ledger));
            assert!(start.elapsed() < PATIENCE, "{}: no end of chunk {serial}, {marked:?}\n{}", self.name(), state());
        }
        received.values_mut().for_each(|datagrams| datagrams.sort());
        received
    }

    fn poll(&mut self, wait: Duration, mut each: impl FnMut(u16, Delivered)) -> usize {
        match &mut self.end {
            End::Plain(sockets) => {
                let count = sockets.take_ready(&mut self.buffer, |from, to, payload| {
                    let (source, group, port) = (from.ip(), to.ip(), to.port());
                    each(from.port(), Delivered { source, group, port, payload: payload.to_vec() });
                });
                if count == 0 && !wait.is_zero() {
                    sleep(Duration::from_micros(50));
                }
                count
            }
            End::Receiver(receiver) => {
                let each = |datagram: receiver::Datagram<'_>| {
                    let (from, group, port) = (datagram.source(), datagram.group(), datagram.port());
                    let payload = datagram.payload().to_vec();
                    each(from.port(), Delivered { source: from.ip(), group, port, payload });
                };
                receiver.poll(Wait::For(wait), each).expect("poll")
            }
        }
    }

    /// The receiver's counts.
    pub fn ledger(&self) -> Option<Ledger> {
        match &self.end {
            End::Plain(_) => None,
            End::Receiver(receiver) => Some(receiver.handle().ledger().expect("a ledger")),
        }
    }

    /// What the kernel counts for the receiving interface, and its lists of sockets and source filters.
    pub fn statistics(&self) -> String {
        let link = ["-statistics", "link", "show", "dev", self.lab.rx_interface()];
        let mut text = self.lab.rx().ip(&link).expect("ip");
        let lists = ["udp", "udp6", "igmp", "igmp6"];
        let read = || lists.map(|list| std::fs::read_to_string(format!("/proc/thread-self/net/{list}")));
        for (list, content) in lists.iter().zip(self.lab.rx().run(read).expect("a thread in rx")) {
            text += &format!("{list}:\n{}", content.unwrap_or_else(|error| format!("{error}\n")));
        }
        text
    }

    /// The receiver's warnings.
    pub fn warnings(&self) -> Vec<String> {
        match &self.end {
            End::Plain(_) => Vec::new(),
            End::Receiver(receiver) => receiver.handle().warnings(),
        }
    }
}

/// The name of the interface with this MAC address.
fn interface(mac: &str) -> String {
    let all = Interface::all().expect("the interfaces");
    let found = all.into_iter().find(|interface| interface.mac.is_some_and(|found| text(found) == mac));
    found.unwrap_or_else(|| panic!("no interface has the MAC address {mac}")).name
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
