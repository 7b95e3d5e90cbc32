//! What the tests share: addresses, senders, and a kernel path that collects.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_membership::SourceFilter;
use receiver_membership::udp::{KernelDatagram, KernelPath};
use receiver_membership::{InterfaceRef, MembershipSet, Options, SocketEvent};
use socket2::{Domain, Socket, Type};

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

pub fn include(sources: &[IpAddr]) -> SourceFilter {
    SourceFilter::Include(sources.iter().copied().collect())
}

pub fn exclude(sources: &[IpAddr]) -> SourceFilter {
    SourceFilter::Exclude(sources.iter().copied().collect())
}

/// `count` sources that nobody sends from, in the family of `group`.
pub fn many_sources(group: IpAddr, count: usize) -> Vec<IpAddr> {
    (1..=count)
        .map(|n| match group {
            IpAddr::V4(_) => IpAddr::from([10, 7, (n >> 8) as u8, n as u8]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 7, 0, 0, 0, 0, n as u16]),
        })
        .collect()
}

pub fn interface(lab: &Lab) -> InterfaceRef {
    let index = lab.rx().interface_index(lab.rx_interface()).expect("interface");
    InterfaceRef::new(index, lab.rx_interface())
}

/// The n-th source of the sending end, from 1, in the family of `group`.
pub fn sender(lab: &Lab, group: IpAddr, n: usize) -> IpAddr {
    match group {
        IpAddr::V4(_) => lab.sources_v4()[n - 1].into(),
        IpAddr::V6(_) => lab.sources_v6()[n - 1].into(),
    }
}

/// A socket at the sending end that sends from `source`.
pub fn sending_socket(lab: &Lab, source: IpAddr) -> UdpSocket {
    let index = lab.tx().interface_index(lab.tx_interface()).expect("interface");
    lab.tx()
        .run(|| {
            let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::DGRAM, None).expect("socket");
            socket.bind(&SocketAddr::new(source, 0).into()).expect("bind");
            match source {
                IpAddr::V4(source) => socket.set_multicast_if_v4(&source).expect("IP_MULTICAST_IF"),
                IpAddr::V6(_) => socket.set_multicast_if_v6(index).expect("IPV6_MULTICAST_IF"),
            }
            socket.into()
        })
        .expect("run")
}

/// A set with its kernel path, and what was delivered.
pub struct Receiving {
    pub set: MembershipSet,
    pub path: KernelPath,
}

impl Receiving {
    pub fn new(lab: &Lab, options: Options) -> Self {
        let interface = interface(lab);
        // The set opens its sockets in the namespace of the thread that calls it: see `with`.
        let set = lab.rx().run(|| MembershipSet::new(interface, options)).expect("run");
        Self { set, path: KernelPath::new().expect("epoll") }
    }

    /// Works on the set inside the namespace, then passes the sockets' events to the kernel path.
    pub fn with<T: Send>(&mut self, lab: &Lab, work: impl FnOnce(&mut MembershipSet) -> T + Send) -> T {
        let set = &mut self.set;
        let result = lab.rx().run(|| work(set)).expect("run");
        for event in self.set.take_events() {
            match event {
                SocketEvent::Added { socket, .. } => self.path.add(socket).expect("add"),
                SocketEvent::Removed { id } => self.path.remove(id),
            }
        }
        assert_eq!(self.path.len(), self.set.sockets().len(), "there is an event for every socket");
        result
    }

    /// Takes datagrams until `enough`, or until none came for 300 ms.
    pub fn collect(&mut self, enough: usize) -> Vec<Received> {
        let mut all = Vec::new();
        let mut last = Instant::now();
        while all.len() < enough && last.elapsed() < Duration::from_millis(300) {
            let count = self
                .path
                .poll(Some(Duration::from_millis(50)), |datagram| all.push(Received::from(datagram)))
                .expect("poll");
            if count > 0 {
                last = Instant::now();
            }
        }
        all
    }

    /// Who was heard with a datagram to this group and port from each of the senders.
    pub fn heard(&mut self, senders: &[(IpAddr, UdpSocket)], group: IpAddr, port: u16) -> BTreeSet<IpAddr> {
        for (source, socket) in senders {
            socket.send_to(source.to_string().as_bytes(), (group, port)).expect("send");
        }
        let received = self.collect(usize::MAX);
        let heard: BTreeSet<IpAddr> = received.iter().map(|datagram| datagram.source.ip()).collect();
        assert_eq!(heard.len(), received.len(), "each once");
        for datagram in received {
            assert_eq!((datagram.group, datagram.port), (group, port));
            assert_eq!(datagram.payload, datagram.source.ip().to_string().as_bytes());
        }
        heard
    }
}

#[derive(Debug)]
pub struct Received {
    pub source: SocketAddr,
    pub group: IpAddr,
    pub port: u16,
    pub interface_index: u32,
    pub payload: Vec<u8>,
    pub received: receiver_membership::udp::ReceiveTime,
}

impl From<KernelDatagram<'_>> for Received {
    fn from(datagram: KernelDatagram<'_>) -> Self {
        Self {
            source: datagram.source,
            group: datagram.group,
            port: datagram.port,
            interface_index: datagram.interface_index,
            payload: datagram.payload.to_vec(),
            received: datagram.received,
        }
    }
}
