//! Listens for some seconds: for queriers, by raw sockets, and for the subscriptions, by a receiver that shares its
//! packets and by plain kernel sockets.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use receiver::{Evidence, Ledger, ReceiveMode, Receiver, Subscription, SubscriptionReport, Wait};
use receiver_host::{LinkCounters, Netlink};
use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::target::Target;

/// How long one turn waits for packets.
const TURN: Duration = Duration::from_millis(5);
/// The protocol number of IGMP.
const IGMP: i32 = 2;
/// The type of an IGMP query.
const IGMP_QUERY: u8 = 0x11;
/// The type of an MLD query.
const MLD_QUERY: u8 = 130;

/// A query of a querier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The protocol and its version.
    pub version: &'static str,
    /// True if the version does not know sources.
    pub is_old: bool,
    /// Who asked.
    pub source: IpAddr,
}

/// Why something could not be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheard(pub String);

/// What was heard.
#[derive(Debug)]
pub struct Heard {
    pub elapsed: Duration,
    pub igmp: Result<Vec<Query>, Unheard>,
    pub mld: Result<Vec<Query>, Unheard>,
    /// MLD queries that the interface had received before.
    pub mld_before: u64,
    /// What came for the subscriptions.
    pub stages: Result<Counted, Unheard>,
}

/// What was counted at each stage.
#[derive(Debug)]
pub struct Counted {
    /// The NIC's counters, before and after.
    pub nic: Option<(LinkCounters, LinkCounters)>,
    /// By a receiver in mode `mapped` that shares its packets, or why there was none.
    pub xdp: Result<Stage, String>,
    /// By kernel sockets.
    pub socket: Stage,
}

/// What one receiver has counted.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    pub ledger: Ledger,
    pub reports: Vec<SubscriptionReport>,
    pub evidence: Evidence,
}

impl Stage {
    /// The datagrams that were delivered for a subscription.
    pub fn packets(&self, subscription: &Subscription) -> u64 {
        self.reports.iter().filter(|report| report.subscription == *subscription).map(|report| report.packets).sum()
    }

    fn of(receiver: &Receiver) -> Result<Self, receiver::Error> {
        let handle = receiver.handle();
        Ok(Self { ledger: handle.ledger()?, reports: handle.subscriptions()?, evidence: handle.evidence()? })
    }
}

/// The receivers that count.
struct Receivers {
    xdp: Result<Receiver, String>,
    socket: Receiver,
}

impl Receivers {
    fn open(target: &Target, can_share: bool) -> Result<Self, Unheard> {
        if target.subscriptions.is_empty() {
            return Err(Unheard("no subscription was named".to_owned()));
        }
        if let Some(holder) = &target.holder {
            return Err(Unheard(format!("an XDP program on {} may take the packets: {holder}", target.name())));
        }
        let builder = || {
            Receiver::builder(target.name())
                .vlan(target.vlan)
                .queues(target.queues.clone())
                .subscribe_all(target.subscriptions.iter().cloned())
        };
        let xdp = match can_share {
            true => builder().share(true).build().map_err(|error| error.to_string()),
            false => Err("mode mapped, which can share packets, is not available or was not tried".to_owned()),
        };
        let socket = builder().mode(ReceiveMode::Socket).build().map_err(|error| Unheard(error.to_string()))?;
        Ok(Self { xdp, socket })
    }

    /// Receives for one turn.
    fn turn(&mut self) -> Result<(), receiver::Error> {
        if let Ok(xdp) = &mut self.xdp {
            xdp.poll(Wait::Never, |_| {})?;
        }
        self.socket.poll(Wait::For(TURN), |_| {}).map(drop)
    }

    fn counted(self, nic: Option<(LinkCounters, LinkCounters)>) -> Result<Counted, receiver::Error> {
        let xdp = match &self.xdp {
            Ok(receiver) => Ok(Stage::of(receiver)?),
            Err(reason) => Err(reason.clone()),
        };
        Ok(Counted { nic, xdp, socket: Stage::of(&self.socket)? })
    }
}

impl Heard {
    /// Listens for as long as was asked for. `can_share`: mode `mapped` is available.
    pub fn listen(target: &Target, can_share: bool) -> Self {
        let mld_before = mld_queries(&target.joined_on.name);
        let device = target.joined_on.name.as_str();
        let sockets = [raw(Domain::IPV4, Protocol::from(IGMP), device), raw(Domain::IPV6, Protocol::ICMPV6, device)];
        let counters = || Netlink::open().and_then(|netlink| netlink.link_counters(target.interface.index)).ok();
        let mut receivers = Receivers::open(target, can_share);
        let before = counters();
        let mut queries = [Vec::new(), Vec::new()];
        let (start, mut progress) = (Instant::now(), Progress::new(target.wait));
        let mut failed = None;
        while start.elapsed() < target.wait {
            match &mut receivers {
                Ok(receivers) if failed.is_none() => failed = receivers.turn().err(),
                _ => std::thread::sleep(TURN),
            }
            for (socket, queries) in sockets.iter().zip(&mut queries) {
                if let Ok(socket) = socket {
                    queries.extend(std::iter::from_fn(|| next(socket)).flatten());
                }
            }
            progress.show(start.elapsed());
        }
        progress.end();
        let elapsed = start.elapsed();
        let nic = before.zip(counters());
        let unheard = |error: receiver::Error| Unheard(error.to_string());
        let stages = receivers.and_then(|receivers| match failed {
            Some(error) => Err(unheard(error)),
            None => receivers.counted(nic).map_err(unheard),
        });
        let [igmp, mld] = sockets;
        let [of_igmp, of_mld] = queries;
        Self { elapsed, igmp: igmp.map(|_| of_igmp), mld: mld.map(|_| of_mld), mld_before, stages }
    }
}

/// A raw socket on one interface. Its messages are those that the kernel accepts as well.
fn raw(domain: Domain, protocol: Protocol, device: &str) -> Result<Socket, Unheard> {
    let open = || {
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    };
    open().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unheard("that needs CAP_NET_RAW".to_owned()),
        _ => Unheard(error.to_string()),
    })
}

/// The next message of a raw socket; `Some(None)` if it is no query.
fn next(socket: &Socket) -> Option<Option<Query>> {
    let mut buffer = [0; 2048];
    let (length, _, from) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()).ok()?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| from.ip());
    let message = &buffer[..length.min(buffer.len())];
    Some(from.and_then(|source| query(source, message)))
}

/// A query in a message: an IPv4 packet, or an ICMPv6 message without its IPv6 header.
fn query(source: IpAddr, message: &[u8]) -> Option<Query> {
    let (version, is_old) = match source {
        IpAddr::V4(_) => {
            let header = usize::from(message.first()? & 0x0f) * 4;
            let igmp = message.get(header..).filter(|igmp| igmp.len() >= 8 && igmp[0] == IGMP_QUERY)?;
            // The versions differ by length and by the maximum response time (RFC 3376, section 7.1).
            match (igmp.len(), igmp[1]) {
                (8, 0) => ("IGMPv1", true),
                (8, _) => ("IGMPv2", true),
                _ => ("IGMPv3", false),
            }
        }
        // RFC 3810, section 8.1.
        IpAddr::V6(_) if message.first() == Some(&MLD_QUERY) => match message.len() {
            24 => ("MLDv1", true),
            _ => ("MLDv2", false),
        },
        IpAddr::V6(_) => return None,
    };
    Some(Query { version, is_old, source })
}

/// MLD queries that an interface has received since it was made.
fn mld_queries(interface: &str) -> u64 {
    let counters = fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{interface}")).unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("Icmp6InGroupMembQueries"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// A line on a terminal that shows how long is left.
struct Progress {
    wait: Duration,
    shown: Option<u64>,
    is_terminal: bool,
}

impl Progress {
    fn new(wait: Duration) -> Self {
        Self { wait, shown: None, is_terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, elapsed: Duration) {
        let second = elapsed.as_secs();
        if self.is_terminal && self.shown != Some(second) {
            self.shown = Some(second);
            // A terminal that is gone needs no progress.
            let _ = write!(io::stderr(), "\rlistening: {second} of {} s", self.wait.as_secs_f64().ceil());
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn igmp(length: usize, kind: u8, time: u8) -> Vec<u8> {
        let mut packet = vec![0; 24 + length];
        (packet[0], packet[24], packet[25]) = (0x46, kind, time);
        packet
    }

    #[test]
    fn versions_of_queries() {
        let v4 = |message: &[u8]| query([10, 0, 0, 1].into(), message).map(|query| query.version);
        assert_eq!(v4(&igmp(8, 0x11, 0)), Some("IGMPv1"));
        assert_eq!(v4(&igmp(8, 0x11, 100)), Some("IGMPv2"));
        assert_eq!(v4(&igmp(12, 0x11, 100)), Some("IGMPv3"));
        assert_eq!((v4(&igmp(8, 0x22, 0)), v4(&[]), v4(&[0x45; 20])), (None, None, None));
        let v6 = |length, kind| {
            let mut message = vec![0; length];
            message[0] = kind;
            query("fe80::1".parse().expect("an address"), &message).map(|query| query.version)
        };
        assert_eq!((v6(24, 130), v6(28, 130), v6(28, 131)), (Some("MLDv1"), Some("MLDv2"), None));
    }
}
