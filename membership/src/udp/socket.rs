//! One UDP socket that receives multicast: how it is opened, its options, and its drops.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};

use crate::errno::Errno;
use crate::sockopt::{self as opt, Flag, Opt};

/// The identity of one data socket among all of this process, those that are closed included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(u64);

impl SocketId {
    /// The number behind the identity.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}", self.0)
    }
}

/// The options of a data socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes of receive buffer to ask for. With `CAP_NET_ADMIN` the kernel grants all of it, else up to
    /// `net.core.rmem_max`: see [`UdpDataSocket::receive_buffer`]. Memory is only used while datagrams are queued.
    pub receive_buffer: usize,
    /// Ask the kernel for the time each datagram arrived (`SO_TIMESTAMPNS`); it costs a clock read per packet.
    pub timestamps: bool,
    /// Bind the socket to the interface, so that the kernel sorts out what comes in by another one. IPv6 needs it:
    /// Linux matches an IPv6 membership without its interface. If the kernel refuses, such datagrams are refused on
    /// receipt.
    pub bind_to_interface: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer: 8 << 20, timestamps: false, bind_to_interface: true }
    }
}

/// A step of opening a data socket that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("could not open a UDP socket because the kernel refused {step}: {errno}")]
pub struct OpenError {
    /// The call or option, as `bind` or `IP_PKTINFO`.
    pub step: &'static str,
    /// The kernel's answer.
    pub errno: Errno,
}

/// A non-blocking UDP socket for one port, and for one group or for the wildcard address.
#[derive(Debug)]
pub struct UdpDataSocket {
    socket: Socket,
    id: SocketId,
    address: SocketAddr,
    interface_index: u32,
    /// True if the socket is bound to one group and one interface, so that datagrams need not carry theirs.
    only_destination: bool,
}

impl UdpDataSocket {
    /// Opens a socket for `address` (a group or the wildcard address, and a port), which is not bound yet: before
    /// [`UdpDataSocket::bind`] nothing is received, so that a filter can be complete before the first datagram.
    ///
    /// # Errors
    /// The step that failed: `EMFILE` and `ENFILE` if descriptors ran out, `EAFNOSUPPORT` without IPv6.
    pub fn open(address: SocketAddr, interface_index: u32, options: &SocketOptions) -> Result<Self, OpenError> {
        let v6 = address.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = step("socket", Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)))?;
        step("SO_REUSEADDR", socket.set_reuse_address(true))?;
        // Without these two, a socket receives what any other socket of the host has joined.
        if v6 {
            step("IPV6_V6ONLY", socket.set_only_v6(true))?;
            step("IPV6_MULTICAST_ALL", socket.set_multicast_all_v6(false))?;
        } else {
            step("IP_MULTICAST_ALL", socket.set_multicast_all_v4(false))?;
        }
        if options.timestamps {
            switch_on(&socket, opt::SO_TIMESTAMPNS)?;
        }
        // Linux before 5.7 refuses it without CAP_NET_RAW; the check on receipt does the same then.
        let index = NonZeroU32::new(interface_index);
        let bound = options.bind_to_interface
            && index.is_some()
            && if v6 { socket.bind_device_by_index_v6(index) } else { socket.bind_device_by_index_v4(index) }.is_ok();
        // Control messages are a good part of the cost of a datagram, so the destination is only asked for if unknown.
        let only_destination = bound && address.ip().is_multicast();
        if !only_destination && v6 {
            switch_on(&socket, opt::IPV6_RECVPKTINFO)?;
        } else if !only_destination {
            switch_on(&socket, opt::IP_PKTINFO)?;
        }
        if set_socket_recv_buffer_size_force(&socket, options.receive_buffer / 2).is_err() {
            step("SO_RCVBUF", socket.set_recv_buffer_size(options.receive_buffer / 2))?;
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = SocketId(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { socket, id, address, interface_index, only_destination })
    }

    /// Binds to the address. From then on datagrams are queued.
    ///
    /// # Errors
    /// `EADDRINUSE` if another socket holds the port without `SO_REUSEADDR`, `EACCES` for a privileged port.
    pub fn bind(&self) -> Result<(), OpenError> {
        let address = match self.address {
            // Link-local groups need the interface; for others the kernel ignores it.
            SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.interface_index).into(),
            SocketAddr::V4(_) => self.address,
        };
        step("bind", self.socket.bind(&address.into()))
    }

    /// The identity.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The group that it is bound to; `None` for a wildcard socket.
    pub fn group(&self) -> Option<IpAddr> {
        Some(self.address.ip()).filter(IpAddr::is_multicast)
    }

    /// The group and interface of every datagram, if there is only one of each.
    pub(super) fn only_destination(&self) -> Option<(IpAddr, u32)> {
        self.only_destination.then_some((self.address.ip(), self.interface_index))
    }

    /// Returns true for an IPv6 socket.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// The interface whose datagrams are wanted.
    pub fn interface_index(&self) -> u32 {
        self.interface_index
    }

    /// Bytes of receive buffer that the kernel granted. The kernel counts a datagram with its overhead: one with 64
    /// bytes of payload takes some 800 bytes.
    ///
    /// # Errors
    /// As `getsockopt`.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }

    /// Datagrams that this socket dropped since it was opened, modulo 2³²: its buffer was full, or a checksum was
    /// wrong. Exact at the time of the call (`SO_MEMINFO`), also if nothing is received after a drop.
    ///
    /// # Errors
    /// As `getsockopt`; `ENOPROTOOPT` before Linux 4.12.
    pub fn drops(&self) -> io::Result<u32> {
        Ok(opt::drops(self.as_fd())?)
    }
}

impl AsFd for UdpDataSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The wildcard address and the port, in the family of `group`.
pub(crate) fn wildcard(group: IpAddr, port: u16) -> SocketAddr {
    match group {
        IpAddr::V4(_) => ([0, 0, 0, 0], port).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

fn switch_on(socket: &Socket, option: Opt<Flag>) -> Result<(), OpenError> {
    opt::switch_on(socket.as_fd(), option).map_err(|errno| OpenError { step: option.name, errno })
}

fn step<T>(step: &'static str, result: io::Result<T>) -> Result<T, OpenError> {
    result.map_err(|error| OpenError { step, errno: Errno::of(&error) })
}
