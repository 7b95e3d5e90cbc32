//! One UDP socket that multicast is received on: how it is opened, what options it has, and what it dropped.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

/// Tells one data socket of this process from all others, those that are closed included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(u64);

impl SocketId {
    /// The number that tells it.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}", self.0)
    }
}

/// What a data socket is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes of receive buffer to ask for. With `CAP_NET_ADMIN` it is got in full, else `net.core.rmem_max` caps it:
    /// see [`UdpDataSocket::receive_buffer`]. Nothing of it is taken before datagrams queue.
    pub receive_buffer: usize,
    /// Ask the kernel for the time each datagram arrived (`SO_TIMESTAMPNS`); it costs a clock read per packet.
    pub timestamps: bool,
    /// Tie the socket to the interface, so that the kernel sorts out what came in by another one. IPv6 needs it: Linux
    /// matches an IPv6 membership without its interface. Where it is refused, the datagrams are refused on receipt.
    pub bind_to_interface: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer: 8 << 20, timestamps: false, bind_to_interface: true }
    }
}

/// A step of opening a data socket that failed, with what the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct OpenError {
    /// The call or option, as `bind` or `IP_PKTINFO`.
    pub step: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

/// A non-blocking UDP socket for one port, and for one group or for the wildcard address.
#[derive(Debug)]
pub struct UdpDataSocket {
    socket: Socket,
    id: SocketId,
    address: SocketAddr,
    interface_index: u32,
    receive_buffer: usize,
    /// It is bound to one group and one interface, so datagrams need not tell theirs.
    only_destination: bool,
}

impl UdpDataSocket {
    /// Opens a socket for `address` (a group or the wildcard address, and a port), which is not bound yet: before
    /// [`UdpDataSocket::bind`] nothing is received, so that a filter can be complete before the first datagram.
    ///
    /// # Errors
    /// The step that failed: `EMFILE` and `ENFILE` where descriptors ran out, `EAFNOSUPPORT` without IPv6.
    pub fn open(address: SocketAddr, interface_index: u32, options: &SocketOptions) -> Result<Self, OpenError> {
        let v6 = address.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = step("socket", Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)))?;
        step("SO_REUSEADDR", socket.set_reuse_address(true))?;
        // Without these two, a socket hears what any other socket of the host has joined.
        if v6 {
            step("IPV6_V6ONLY", socket.set_only_v6(true))?;
            step("IPV6_MULTICAST_ALL", socket.set_multicast_all_v6(false))?;
        } else {
            step("IP_MULTICAST_ALL", socket.set_multicast_all_v4(false))?;
        }
        if options.timestamps {
            flag(&socket, "SO_TIMESTAMPNS", libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
        }
        // Refused by kernels before 5.7 without CAP_NET_RAW; the check on receipt does the same then.
        let tied = options.bind_to_interface && {
            let index = interface_index.to_ne_bytes();
            sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &index).is_ok()
        };
        // What each datagram must tell costs a good part of its receipt: it is asked for only where it is not known.
        let only_destination = tied && address.ip().is_multicast();
        if !only_destination && v6 {
            flag(&socket, "IPV6_RECVPKTINFO", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        } else if !only_destination {
            flag(&socket, "IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        }
        if sockopt::set_socket_recv_buffer_size_force(&socket, options.receive_buffer / 2).is_err() {
            step("SO_RCVBUF", socket.set_recv_buffer_size(options.receive_buffer / 2))?;
        }
        let receive_buffer = step("SO_RCVBUF", socket.recv_buffer_size())?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = SocketId(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { socket, id, address, interface_index, receive_buffer, only_destination })
    }

    /// Binds to the address, from when on datagrams are queued.
    ///
    /// # Errors
    /// `EADDRINUSE` where another socket holds the port without `SO_REUSEADDR`, `EACCES` for a privileged port.
    pub fn bind(&self) -> Result<(), OpenError> {
        let address = match self.address {
            // Link-local groups need the interface; for others it is ignored.
            SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.interface_index).into(),
            SocketAddr::V4(_) => self.address,
        };
        step("bind", self.socket.bind(&address.into()))
    }

    /// The identity.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The UDP port it is for.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The one group it is bound to; `None` for a wildcard socket.
    pub fn group(&self) -> Option<IpAddr> {
        Some(self.address.ip()).filter(IpAddr::is_multicast)
    }

    /// The group and interface of every datagram, where there is only one of each.
    pub(super) fn only_destination(&self) -> Option<(IpAddr, u32)> {
        self.only_destination.then_some((self.address.ip(), self.interface_index))
    }

    /// Is it an IPv6 socket?
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// The interface whose datagrams are wanted.
    pub fn interface_index(&self) -> u32 {
        self.interface_index
    }

    /// Bytes of receive buffer that the kernel gave. It books a datagram with its overhead: at 64 bytes of payload,
    /// some 800 bytes each.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Datagrams this socket dropped since it was opened, modulo 2³²: buffer full, or checksum wrong. Exact at the time
    /// of the call (`SO_MEMINFO`), also when nothing is received after a drop.
    ///
    /// # Errors
    /// As `getsockopt`; `ENOPROTOOPT` before Linux 4.12.
    pub fn drops(&self) -> io::Result<u32> {
        const DROPS: usize = 4 * libc::SK_MEMINFO_DROPS as usize;
        let mut info = [0; DROPS + 4];
        let length = sys::get_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
        if length < info.len() {
            return Err(Errno::NOPROTOOPT.into());
        }
        Ok(u32::from_ne_bytes([info[DROPS], info[DROPS + 1], info[DROPS + 2], info[DROPS + 3]]))
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

fn flag(socket: &Socket, name: &'static str, level: i32, option: i32) -> Result<(), OpenError> {
    sys::set_option(socket.as_fd(), level, option, &1_i32.to_ne_bytes())
        .map_err(|errno| OpenError { step: name, errno })
}

fn step<T>(step: &'static str, result: io::Result<T>) -> Result<T, OpenError> {
    result.map_err(|error| OpenError { step, errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) })
}
