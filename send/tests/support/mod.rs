//! A kernel socket at the receiving end, and what it received: for the tests of the sender and of `receiver send`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netlab::Lab;
use receiver_send::probe::{ProbeChecker, ProbeReport, now_ns};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

pub const PORT: u16 = 5000;
/// Room for all that a test sends, so that nothing is lost at a busy receiver.
const RECEIVE_BUFFER: usize = 64 << 20;

pub fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// A kernel UDP socket in the receiving namespace that joined the group for all sources.
pub fn joined(lab: &Lab, group: IpAddr) -> UdpSocket {
    let join = || -> io::Result<UdpSocket> {
        let index = lab.rx().interface_index(lab.rx_interface()).map_err(io::Error::other)?;
        let any: IpAddr = if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let bound = SocketAddr::new(any, PORT);
        let socket = Socket::new(Domain::for_address(bound), Type::DGRAM, Some(Protocol::UDP))?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        socket.bind(&bound.into())?;
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
        }
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(socket.into())
    };
    lab.rx().run(join).expect("the namespace").expect("a joined socket")
}

/// Takes all that is queued at the socket, until nothing comes any more. `size` is that of every payload.
pub fn receive(socket: &UdpSocket, group: &str, size: usize) -> ProbeReport {
    let mut checker = ProbeChecker::new();
    let mut payload = vec![0; 70_000];
    while let Ok((length, mut source)) = socket.recv_from(&mut payload) {
        assert_eq!(length, size);
        if let SocketAddr::V6(source) = &mut source {
            source.set_scope_id(0);
        }
        checker.observe(source, address(group), PORT, &payload[..length], now_ns());
    }
    checker.report()
}
