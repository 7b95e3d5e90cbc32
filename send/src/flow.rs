//! One flow: a source address and port, its stream id, its sequence, and how it is sent.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::SendConfig;
use crate::error::SendError;
use crate::frame::FrameTemplate;
use crate::link::Link;
use crate::probe::ProbePayload;
use crate::raw;
use crate::report::{FlowSent, Way};

/// Bytes of send buffer, if the kernel's limit allows it.
pub(crate) const SEND_BUFFER: usize = 4 << 20;

/// Sending waits up to this long before it reads the stop flag again.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// A flow and its progress.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) source: SocketAddr,
    pub(super) stream: u32,
    /// The sequence number of the next datagram, which is also the number of those that were sent.
    pub(super) next: u64,
    pub(super) exit: Exit,
}

/// How a flow is sent.
#[derive(Debug)]
pub(super) enum Exit {
    /// Bound to the source, connected to the group.
    Socket(Socket),
    /// By the thread's packet socket.
    Raw(FrameTemplate),
}

impl Flow {
    #[inline]
    pub(super) fn probe(&self, ahead: u64, sent_ns: u64) -> ProbePayload {
        ProbePayload { stream: self.stream, sequence: self.next + ahead, sent_ns }
    }

    pub(super) fn report(&self, group: IpAddr, port: u16) -> FlowSent {
        FlowSent {
            source: self.source,
            group,
            port,
            stream: self.stream,
            way: match self.exit {
                Exit::Socket(_) => Way::Socket,
                Exit::Raw(_) => Way::Raw,
            },
            packets: self.next,
            first_sequence: (self.next > 0).then_some(0),
            last_sequence: self.next.checked_sub(1),
        }
    }
}

/// Opens a UDP socket that sends from `source` (port 0: one that is free) to the group, out of the interface.
pub(crate) fn open_socket(
    config: &SendConfig,
    link: &Link,
    source: IpAddr,
    port: u16,
) -> Result<(SocketAddr, Socket), SendError> {
    let what = || format!("opening a UDP socket from {} on {}", SocketAddr::new(source, port), link.name);
    let connect = || -> io::Result<(SocketAddr, Socket)> {
        let socket = Socket::new(Domain::for_address(SocketAddr::new(source, 0)), Type::DGRAM, Some(Protocol::UDP))?;
        if source.is_ipv6() {
            socket.set_only_v6(true)?;
            sockopt::set_ipv6_multicast_if(&socket, link.index)?;
            sockopt::set_ipv6_multicast_hops(&socket, config.traffic.ttl.into())?;
        } else {
            let any = std::net::Ipv4Addr::UNSPECIFIED;
            sockopt::set_ip_multicast_if_with_ifindex(&socket, &any, &any, link.index)?;
            sockopt::set_ip_multicast_ttl(&socket, config.traffic.ttl.into())?;
        }
        raw::report_full_queue(&socket, source.is_ipv6())?;
        // As large as the limit allows; less only costs speed.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        if port != 0 {
            // Another sender may use the port; the stream ids tell them apart.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&scoped(source, port, link).into())?;
        let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        socket.connect(&scoped(config.group, config.port, link).into())?;
        Ok((SocketAddr::new(source, bound.port()), socket))
    };
    connect().map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => SendError::Os {
            what: what(),
            source: error,
            remedy: "; each flow takes one descriptor, so raise the limit with `ulimit -n`, or take fewer flows",
        },
        _ => SendError::os(what())(error),
    })
}

/// Link-local addresses are valid on one interface only.
fn scoped(address: IpAddr, port: u16, link: &Link) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, link.index).into(),
    }
}
