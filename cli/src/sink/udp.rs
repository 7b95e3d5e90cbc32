//! `udp://HOST:PORT`: sends each payload on. A datagram leaves a fixed time after it came, so that the spacing of the
//! input stays.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use receiver::{SourceFilter, Subscription};
use receiver_send::impair::Fate;
use receiver_send::probe::now_ns;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::netdevice::name_to_index;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sockopt};
use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::grammar::UdpTarget;
use super::impaired::Impaired;
use super::traits::{Context, Sink};
use super::written::{Written, payload};
use crate::errors::UsageError;
use crate::outlet::{Batch, Device, DropReason, Gate, Impairments, Outlet, Trouble};
use crate::signals;

/// The hop limit to a group and to a host.
const GROUP_TTL: u8 = 1;
const HOST_TTL: u8 = 64;
/// The most datagrams of one call.
const BATCH: usize = 64;
/// Datagrams that are due within this time leave together.
const TOGETHER: u64 = 20_000;
/// A datagram that leaves later than this after it was due is late.
const LATE: u64 = 1_000_000;
/// The longest sleep, after which the thread checks if it still should wait.
const LONGEST_SLEEP: u64 = 50_000_000;
/// How often a datagram that was counted already is tried.
const TRIES: usize = 1000;
/// The pause between two sockets after errors.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Opens the relay.
///
/// # Errors
/// A [`UsageError`] if it would relay into its own subscription; another error if the host, the interface or the source
/// does not exist.
pub fn open(target: &UdpTarget, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let (socket, destination) =
        connect(target).map_err(|Failure { doing, error }| anyhow!("cannot open {name}: {doing}: {error}"))?;
    refuse_loop(target, name, &destination, context)?;
    let delay = u64::try_from(target.delay.as_nanos()).unwrap_or(u64::MAX);
    let device = Relay {
        target: target.clone(),
        connection: Connection::new(socket, &destination),
        delay,
        renewed: Instant::now(),
        is_precise: false,
        impaired: Impaired::of(target),
        done: Impairments::default(),
    };
    let outlet = Outlet::over(name, device, context.on_failure());
    Ok(Box::new(Written::new(outlet, limit, payload).timed()))
}

/// Where a relay sends to.
struct Destination {
    address: SocketAddr,
    /// The interface of a group.
    interface: Option<u32>,
}

/// What could not be done, and why.
struct Failure {
    doing: String,
    error: io::Error,
}

fn connect(target: &UdpTarget) -> Result<(UdpSocket, Destination), Failure> {
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |error: io::Error| Failure { doing, error }
    };
    let mut address = resolve(target).map_err(failed(&format!("the host {}", target.host)))?;
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = target.source.unwrap_or(any);
    let socket =
        UdpSocket::bind((source, 0)).map_err(failed(&format!("the source {source}; write an address of this host")))?;
    let interface = match &target.interface {
        None => None,
        Some(interface) => Some(
            name_to_index(&socket, interface)
                .map_err(io::Error::from)
                .map_err(failed(&format!("the interface {interface}")))?,
        ),
    };
    if let (SocketAddr::V6(v6), Some(index)) = (address, interface) {
        address = SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into();
    }
    let destination = Destination { address, interface };
    set_options(&socket, target, &destination).map_err(|errno| failed("the options of its socket")(errno.into()))?;
    Ok((socket, destination))
}

/// The host's first address that the source can send to.
fn resolve(target: &UdpTarget) -> io::Result<SocketAddr> {
    let fits = |address: &SocketAddr| target.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
    let found = (target.host.as_str(), target.port).to_socket_addrs()?.find(fits);
    match found {
        Some(address) if address.ip().is_multicast() && target.interface.is_none() => {
            Err(io::Error::other(format!("it is the group {}; write the group itself", address.ip())))
        }
        Some(address) => Ok(address),
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn set_options(socket: &UdpSocket, target: &UdpTarget, destination: &Destination) -> rustix::io::Result<()> {
    match (destination.address.is_ipv4(), destination.interface) {
        (true, Some(index)) => {
            sockopt::set_ip_multicast_if_with_ifindex(socket, &Ipv4Addr::UNSPECIFIED, &Ipv4Addr::UNSPECIFIED, index)?;
            sockopt::set_ip_multicast_ttl(socket, target.ttl.unwrap_or(GROUP_TTL).into())?;
            sockopt::set_ip_multicast_loop(socket, target.looped)
        }
        (false, Some(index)) => {
            sockopt::set_ipv6_multicast_if(socket, index)?;
            sockopt::set_ipv6_multicast_hops(socket, target.ttl.unwrap_or(GROUP_TTL).into())?;
            sockopt::set_ipv6_multicast_loop(socket, target.looped)
        }
        (true, None) => sockopt::set_ip_ttl(socket, target.ttl.unwrap_or(HOST_TTL).into()),
        (false, None) => sockopt::set_ipv6_unicast_hops(socket, Some(target.ttl.unwrap_or(HOST_TTL))),
    }
}

/// Refuses a relay whose datagrams this receiver would get.
fn refuse_loop(
    target: &UdpTarget,
    name: &str,
    destination: &Destination,
    context: &Context<'_>,
) -> Result<(), UsageError> {
    if destination.interface != Some(context.interface) {
        return Ok(());
    }
    let returns = |subscription: &&Subscription| {
        let is_group = (subscription.group(), subscription.port()) == (destination.address.ip(), target.port);
        is_group && is_wanted(subscription.filter(), target.source)
    };
    match context.subscriptions.iter().map(|(_, subscription)| subscription).find(returns) {
        None => Ok(()),
        Some(subscription) => Err(UsageError(format!(
            "{name} would send into the subscription {subscription} on the same interface, and receive it again; write \
             another group or port, or source=ADDRESS with a source that the subscription does not want"
        ))),
    }
}

/// Returns true if datagrams from this source may be wanted.
fn is_wanted(filter: &SourceFilter, source: Option<IpAddr>) -> bool {
    source.is_none_or(|source| filter.sources().contains(&source) != filter.is_exclude())
}

/// A socket and where it sends to.
struct Connection {
    socket: UdpSocket,
    destination: SocketAddrAny,
}

impl Connection {
    fn new(socket: UdpSocket, destination: &Destination) -> Self {
        Self { socket, destination: destination.address.as_any() }
    }

    fn send<'a>(&self, datagrams: impl Iterator<Item = &'a [u8]>) -> Result<usize, Errno> {
        let parts: Vec<[IoSlice<'_>; 1]> = datagrams.map(|datagram| [IoSlice::new(datagram)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = parts.iter().map(|_| Default::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> = parts
            .iter()
            .zip(&mut controls)
            .map(|(part, control)| MMsgHdr::new_with_addr(&self.destination, part, control))
            .collect();
        sendmmsg(&self.socket, &mut messages, SendFlags::NOSIGNAL)
    }

    /// Sends a datagram that was counted already, unless the kernel refuses it again and again.
    fn send_surely(&self, datagram: &[u8]) {
        for _ in 0..TRIES {
            match self.send(std::iter::once(datagram)) {
                Err(errno) if is_temporary(errno) => std::thread::yield_now(),
                _ => return,
            }
        }
    }
}

/// Returns true if the same datagram may be sent later.
fn is_temporary(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN | Errno::NOBUFS)
}

struct Relay {
    target: UdpTarget,
    connection: Connection,
    delay: u64,
    renewed: Instant,
    is_precise: bool,
    impaired: Option<Impaired>,
    /// What was done to the datagrams of the last write on purpose.
    done: Impairments,
}

impl Relay {
    /// After an error: the interface may have another index now.
    fn renew(&mut self) {
        if self.renewed.elapsed() < RENEW_EVERY {
            return;
        }
        self.renewed = Instant::now();
        if let Ok((socket, destination)) = connect(&self.target) {
            self.connection = Connection::new(socket, &destination);
        }
    }

    /// Sends the first `count` datagrams. If the target asks for impairments, does to the first one alone what its fate
    /// is. Returns how many are done.
    fn send(&mut self, batch: Batch<'_>, count: usize) -> Result<usize, Errno> {
        let Some(impaired) = &mut self.impaired else {
            return self.connection.send((0..count).map(|at| batch.unit(at)));
        };
        let datagram = batch.unit(0);
        match impaired.fate() {
            Fate::Lost => {
                impaired.take();
                self.done = Impairments { lost: 1, lost_bytes: datagram.len() as u64, ..Impairments::default() };
            }
            Fate::HeldBack => {
                impaired.hold(datagram);
                self.done.reordered = 1;
            }
            fate => {
                let sent = self.connection.send(std::iter::once(datagram));
                if !sent.is_err_and(is_temporary) {
                    impaired.take();
                }
                sent?;
                if fate == Fate::Twice {
                    self.connection.send_surely(datagram);
                    self.done.duplicated = 1;
                }
                for held in impaired.overtaken() {
                    self.connection.send_surely(&held);
                }
            }
        }
        Ok(1)
    }
}

impl Device for Relay {
    fn write(&mut self, batch: Batch<'_>, _: &dyn Gate) -> Result<usize, Trouble> {
        if !self.is_precise {
            // By default the kernel lets a thread sleep 50 microseconds longer. Where it refuses, it does so here too.
            let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
            self.is_precise = true;
        }
        let mut now = now_ns();
        let most = batch.len().min(BATCH);
        let mut count = most;
        if self.delay > 0 && !signals::is_hurried() {
            let due = batch.time(0).saturating_add(self.delay);
            // A clock that was set back must not hold datagrams for longer than the delay.
            let wait = due.saturating_sub(now);
            if wait > 0 && wait <= self.delay {
                sleep(wait.min(LONGEST_SLEEP));
                now = now_ns();
                if now < due {
                    return Ok(0);
                }
            }
            let until = (now + TOGETHER).saturating_sub(self.delay);
            count = (1..most).find(|&at| batch.time(at) > until).unwrap_or(most);
        }
        self.done = Impairments::default();
        match self.send(batch, count) {
            Ok(sent) => {
                let late = |at: &usize| batch.time(*at).saturating_add(self.delay + LATE) < now;
                if self.delay > 0 {
                    batch.counts().add_late((0..sent).filter(late).count() as u64);
                }
                Ok(sent)
            }
            Err(errno) if is_temporary(errno) => Ok(0),
            Err(Errno::MSGSIZE) => Err(Trouble::skip(Errno::MSGSIZE.into(), DropReason::TooLong)),
            Err(errno) => {
                self.renew();
                Err(Trouble::skip(errno.into(), DropReason::Refused))
            }
        }
    }

    fn impairments(&self) -> Impairments {
        self.done
    }

    fn keeps_units(&self) -> bool {
        self.turns_at().is_some()
    }

    fn turns_at(&self) -> Option<SystemTime> {
        self.impaired.as_ref().and_then(Impaired::until)
    }

    /// Sends what was held back for long enough.
    fn turn(&mut self) -> Result<(), Trouble> {
        for held in self.impaired.as_mut().map(Impaired::waited).unwrap_or_default() {
            self.connection.send_surely(&held);
        }
        Ok(())
    }
}

/// Sleeps on a clock that nobody sets. The end is absolute, so that what delays the call does not add to the sleep.
fn sleep(nanoseconds: u64) {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let until = tv_nsec as u64 + nanoseconds;
    let until = Timespec { tv_sec: tv_sec + (until / 1_000_000_000) as i64, tv_nsec: (until % 1_000_000_000) as i64 };
    // A signal ends the sleep early, which the caller notices.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &until);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_wanted_makes_no_loop() {
        let wanted = |subscription: &str, source: Option<&str>| {
            let subscription: Subscription = subscription.parse().expect("a subscription");
            is_wanted(subscription.filter(), source.map(|source| source.parse().expect("an address")))
        };
        assert!(wanted("10.0.0.1@232.1.1.1:5000", Some("10.0.0.1")));
        assert!(!wanted("10.0.0.1@232.1.1.1:5000", Some("10.0.0.9")));
        assert!(wanted("10.0.0.1@232.1.1.1:5000", None), "the kernel chooses a source");
        assert!(wanted("239.1.1.1:5000", Some("10.0.0.9")));
        assert!(!wanted("!10.0.0.9@239.1.1.1:5000", Some("10.0.0.9")));
    }
}
