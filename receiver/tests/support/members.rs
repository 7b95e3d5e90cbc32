//! Kernel sockets that share a group with the receiver, and what the receiver reports of them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netlab::{Lab, Namespace};
use receiver::{DropUnwanted, Handle, ModeRequest, ReceiveMode, Receiver, SubscriptionReport};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use super::{PATIENCE, open, subscription};

/// A kernel socket that has joined a group, every source of it, as any program would.
pub struct Member(UdpSocket);

impl Member {
    pub fn join(lab: &Lab, group: &str, port: u16) -> Self {
        Self::join_on(lab.rx(), lab.rx_interface(), group, port)
    }

    pub fn join_on(namespace: &Namespace, interface: &str, group: &str, port: u16) -> Self {
        let member = Self::bound(namespace, group, port);
        member.join_again(namespace, interface, group);
        member
    }

    pub fn bound(namespace: &Namespace, group: &str, port: u16) -> Self {
        let group: IpAddr = group.parse().expect("an address");
        let (domain, any): (_, IpAddr) = match group {
            IpAddr::V4(_) => (Domain::IPV4, [0; 4].into()),
            IpAddr::V6(_) => (Domain::IPV6, [0; 16].into()),
        };
        let socket = namespace.run(|| Socket::new(domain, Type::DGRAM, None)).expect("run").expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.bind(&SocketAddr::new(any, port).into()).expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        // Room for more than any test sends while nobody reads.
        set_socket_recv_buffer_size_force(&socket, 8 << 20).expect("SO_RCVBUFFORCE");
        Self(socket.into())
    }

    pub fn join_again(&self, namespace: &Namespace, interface: &str, group: &str) {
        let index = namespace.interface_index(interface).expect("an interface");
        let socket = socket2::SockRef::from(&self.0);
        match group.parse().expect("an address") {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
        }
        .expect("joined");
    }

    /// The source of each datagram that has come.
    pub fn received(&self) -> Vec<IpAddr> {
        let mut buffer = [0; 2048];
        std::iter::from_fn(|| self.0.recv_from(&mut buffer).ok()).map(|(_, from)| from.ip()).collect()
    }

    /// As [`Member::received`], but waits for `count` datagrams.
    pub fn receive(&self, count: u64) -> Vec<IpAddr> {
        let (start, mut received) = (Instant::now(), Vec::new());
        while received.len() < count as usize {
            received.extend(self.received());
            assert!(start.elapsed() < PATIENCE, "{} of {count} came", received.len());
            std::thread::sleep(Duration::from_millis(5));
        }
        received
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a member")
    }
}

pub fn start(lab: &Lab, mode: ReceiveMode, policy: DropUnwanted, wanted: &[&str]) -> Receiver {
    let receiver = open(lab, |builder| {
        let builder = builder.mode(ModeRequest::Exactly(mode)).drop_unwanted(policy);
        wanted.iter().fold(builder, |builder, wanted| builder.subscribe(subscription(wanted)))
    });
    receiver.expect("receiver")
}

pub fn report(handle: &Handle, of: &str) -> SubscriptionReport {
    let reports = handle.subscriptions().expect("subscriptions");
    reports.into_iter().find(|report| report.subscription.to_string() == of).expect("the subscription")
}

pub fn wait_for_warning(handle: &Handle, parts: &[&str]) {
    let is_there = |warning: &String| parts.iter().all(|part| warning.contains(part));
    wait(handle, &format!("a warning with {parts:?}"), || handle.warnings().iter().any(is_there));
}

pub fn wait(handle: &Handle, what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        let (warnings, reports) = (handle.warnings(), handle.subscriptions());
        assert!(start.elapsed() < PATIENCE, "not so until now: {what}; {warnings:?} {reports:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
