//! UDP sockets with the kernel's own source filters, and nothing of the receiver: what the receiver is compared with.
#![allow(unsafe_code)] // Membership options, which no library offers for both families.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use netlab::Lab;
use receiver::{SourceFilter, Subscription};
use socket2::{Domain, Socket, Type};

/// One socket for each subscription.
pub struct PlainSockets(Vec<UdpSocket>);

impl PlainSockets {
    pub fn open(lab: &Lab, subscriptions: &[Subscription]) -> Self {
        let interface = lab.rx().interface_index(lab.rx_interface()).expect("an index");
        let joined = |wanted: &Subscription| joined(wanted.group(), wanted.port(), wanted.filter(), interface);
        Self(lab.rx().run(|| subscriptions.iter().map(joined).collect()).expect("a thread in rx"))
    }

    /// A socket for any source of one group, which need not be one that can be subscribed to.
    pub fn any_source(lab: &Lab, group: IpAddr, port: u16) -> Self {
        let interface = lab.rx().interface_index(lab.rx_interface()).expect("an index");
        let filter = SourceFilter::Exclude(BTreeSet::new());
        Self(lab.rx().run(|| vec![joined(group, port, &filter, interface)]).expect("a thread in rx"))
    }

    /// Makes [`PlainSockets::take_ready`] return at once.
    pub fn without_waiting(self) -> Self {
        for socket in &self.0 {
            socket.set_nonblocking(true).expect("a mode of the socket");
        }
        self
    }

    /// Gives what is there now: sender, group and port, payload. Returns how many datagrams there were.
    pub fn take_ready(&self, buffer: &mut [u8], mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> usize {
        let mut count = 0;
        for socket in &self.0 {
            let to = socket.local_addr().expect("an address");
            loop {
                match socket.recv_from(buffer) {
                    Ok((length, from)) => each(from, to, &buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                count += 1;
            }
        }
        count
    }

    /// What came, by source port, until nothing has come for a while.
    pub fn take(&self) -> BTreeMap<u16, Vec<Vec<u8>>> {
        let mut taken: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        let mut buffer = vec![0; 65_536];
        for socket in &self.0 {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, from)) => taken.entry(from.port()).or_default().push(buffer[..length].to_vec()),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        taken
    }
}

fn joined(group: IpAddr, port: u16, filter: &SourceFilter, interface: u32) -> UdpSocket {
    let socket = Socket::new(Domain::for_address((group, 0).into()), Type::DGRAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 << 20).expect("a buffer");
    // Of an IPv6 address of link-local scope, bind asks for the interface.
    let address = match group {
        IpAddr::V4(_) => SocketAddr::new(group, port),
        IpAddr::V6(group) => std::net::SocketAddrV6::new(group, port, 0, interface).into(),
    };
    socket.bind(&address.into()).expect("bound");
    match filter {
        SourceFilter::Include(sources) => {
            for &source in sources {
                join(&socket, libc::MCAST_JOIN_SOURCE_GROUP, interface, group, Some(source));
            }
        }
        SourceFilter::Exclude(sources) => {
            join(&socket, libc::MCAST_JOIN_GROUP, interface, group, None);
            for &source in sources {
                join(&socket, libc::MCAST_BLOCK_SOURCE, interface, group, Some(source));
            }
        }
    }
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    socket
}

fn join(socket: &Socket, option: i32, interface: u32, group: IpAddr, source: Option<IpAddr>) {
    let mut request = vec![0; size_of::<libc::group_req>()];
    if source.is_some() {
        request.resize(size_of::<libc::group_source_req>(), 0);
    }
    request[..4].copy_from_slice(&interface.to_ne_bytes());
    put(&mut request[offset_of!(libc::group_source_req, gsr_group)..], group);
    if let Some(source) = source {
        put(&mut request[offset_of!(libc::group_source_req, gsr_source)..], source);
    }
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let length = request.len() as u32;
    // SAFETY: the kernel reads the request, whose length it is given.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, request.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{group} {source:?}: {}", std::io::Error::last_os_error());
}

/// Writes a `sockaddr_storage` of an address.
fn put(storage: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            storage[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            storage[4..8].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            storage[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            storage[8..24].copy_from_slice(&address.octets());
        }
    }
}
