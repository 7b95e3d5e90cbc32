//! The one client of rtnetlink. Its socket stays open and in the network namespace that it was opened in, whichever
//! thread asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Answers that are skipped because they belong to a request that failed before its answer was read.
const MOST_STALE: u32 = 16;
/// A dump that changed while it was taken is repeated up to this many times.
const DUMP_TRIES: u32 = 8;
/// `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;

/// Requests to rtnetlink.
#[derive(Debug)]
pub struct Netlink(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: Socket,
    sequence: u32,
}

/// What the kernel counted on one interface since the interface was made (`ip -s link`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames received to multicast addresses, where the driver counts them.
    pub rx_multicast: u64,
    /// Frames dropped after the driver had received them.
    pub rx_dropped: u64,
    /// Frames that the device dropped because it had no buffer.
    pub rx_missed: u64,
    /// Frames dropped because they were to another host (Linux 6.0).
    pub rx_other_host: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames dropped before they were sent.
    pub tx_dropped: u64,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Duplicate address detection still runs or has failed: nothing can be sent from the address.
    pub tentative: bool,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace. Needs no privilege.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(Mutex::new(State { socket, sequence: 0 })))
    }

    /// The counters of an interface, by its index.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn link_counters(&self, interface: u32) -> io::Result<LinkCounters> {
        let mut request = LinkMessage::default();
        request.header.index = interface;
        let RouteNetlinkMessage::NewLink(link) = self.ask(RouteNetlinkMessage::GetLink(request))? else {
            return Err(unexpected());
        };
        counters(&link).ok_or_else(unexpected)
    }

    /// The addresses of an interface, by its index.
    ///
    /// # Errors
    /// As send(2) and recv(2).
    pub fn addresses(&self, interface: u32) -> io::Result<Vec<InterfaceAddress>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(answers.iter().filter_map(|answer| own_address(interface, answer)).collect())
    }

    /// Returns true if the kernel would refuse a datagram from this source to this group on this interface, although
    /// both are joined. The kernel answers by its route look-up for received packets (RTM_GETROUTE with RTA_IIF), which
    /// applies the reverse path filter.
    ///
    /// # Errors
    /// As send(2) and recv(2).
    pub fn refuses_source(&self, source: Ipv4Addr, group: Ipv4Addr, interface: u32) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        (request.header.destination_prefix_length, request.header.source_prefix_length) = (32, 32);
        request.attributes = vec![
            RouteAttribute::Destination(IpAddr::from(group).into()),
            RouteAttribute::Source(IpAddr::from(source).into()),
            RouteAttribute::Iif(interface),
        ];
        match self.ask(RouteNetlinkMessage::GetRoute(request)) {
            Ok(_) => Ok(false),
            // EXDEV until Linux 6.13, then EINVAL.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EXDEV | libc::EINVAL)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// One link: RTM_GETLINK by index or name.
    pub(crate) fn link(&self, request: LinkMessage) -> io::Result<LinkMessage> {
        match self.ask(RouteNetlinkMessage::GetLink(without_counters(request)))? {
            RouteNetlinkMessage::NewLink(link) => Ok(link),
            _ => Err(unexpected()),
        }
    }

    /// All links of the network namespace.
    pub(crate) fn links(&self) -> io::Result<Vec<LinkMessage>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(without_counters(LinkMessage::default())))?;
        let link = |answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(link).collect())
    }

    /// Sends one request and returns its answer; a refusal is the kernel's error number.
    fn ask(&self, request: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.send(request, 0)?;
        for _ in 0..MOST_STALE {
            let datagram = state.receive()?;
            let Some(first) = messages(&datagram).next() else { return Err(unexpected()) };
            let answer = parse(first)?;
            if answer.header.sequence_number != state.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(answer) => Ok(answer),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => Err(unexpected()),
            };
        }
        Err(unexpected())
    }

    /// Sends one request and returns all of its answers.
    fn dump(&self, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..DUMP_TRIES {
            state.send(request.clone(), NLM_F_DUMP)?;
            if let Some(answers) = state.collect()? {
                return Ok(answers);
            }
        }
        let reason = "the list changed each time while the kernel wrote it";
        Err(io::Error::new(io::ErrorKind::Interrupted, reason))
    }
}

impl State {
    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send(&buffer, 0).map(drop)
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            match self.socket.recv_from_full() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|(datagram, _)| datagram),
            }
        }
    }

    /// The answers of a dump; `None` if what it lists changed meanwhile, so that it can be incomplete.
    fn collect(&self) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut dump = Dump::new(self.sequence);
        while !dump.take(&self.receive()?)? {}
        Ok(dump.is_whole.then_some(dump.answers))
    }
}

/// The answers of one dump.
struct Dump {
    /// The number of its request.
    sequence: u32,
    answers: Vec<RouteNetlinkMessage>,
    /// False once the kernel reports that what is listed changed meanwhile.
    is_whole: bool,
}

impl Dump {
    fn new(sequence: u32) -> Self {
        Self { sequence, answers: Vec::new(), is_whole: true }
    }

    /// Takes the answers of one datagram. Returns true if the dump ends with it.
    fn take(&mut self, datagram: &[u8]) -> io::Result<bool> {
        for message in messages(datagram) {
            let answer = parse(message)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            self.is_whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => self.answers.push(inner),
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// What a datagram holds that answers request 1: addresses of interface 1, and links with their counters.
#[cfg(feature = "internals")]
pub fn answers(datagram: &[u8]) -> io::Result<(Vec<InterfaceAddress>, Vec<Option<LinkCounters>>)> {
    let mut dump = Dump::new(1);
    dump.take(datagram)?;
    let addresses = dump.answers.iter().filter_map(|answer| own_address(1, answer)).collect();
    let links = dump.answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(counters(link)),
        _ => None,
    });
    Ok((addresses, links.collect()))
}

/// The messages of one datagram, each at least as long as its header. What is damaged ends the list.
pub(crate) fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn parse(message: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel sent an answer that does not belong to the request")
}

fn counters(link: &LinkMessage) -> Option<LinkCounters> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(LinkCounters {
            rx_packets: stats.rx_packets,
            rx_multicast: stats.multicast,
            rx_dropped: stats.rx_dropped,
            rx_missed: stats.rx_missed_errors,
            rx_other_host: stats.rx_otherhost_dropped,
            tx_packets: stats.tx_packets,
            tx_dropped: stats.tx_dropped,
        }),
        _ => None,
    })
}

/// Counters are long, and few callers want them.
fn without_counters(mut request: LinkMessage) -> LinkMessage {
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    request
}

fn own_address(interface: u32, answer: &RouteNetlinkMessage) -> Option<InterfaceAddress> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    if message.header.index != interface {
        return None;
    }
    let (mut local, mut plain, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link, `Address` is the other end.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => plain = Some(*address),
            AddressAttribute::Flags(found) => flags = *found,
            _ => {}
        }
    }
    let failed = flags.contains(AddressFlags::Dadfailed);
    let tentative = failed || (flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic));
    Some(InterfaceAddress { address: local.or(plain)?, tentative })
}
