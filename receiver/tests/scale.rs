//! Ten thousand (S,G) pairs through the receiver, in native modes and mode socket, on the limits of a stock kernel. It
//! prints what it took, and asserts that all are heard, and nothing beside them. Also: sockets end with the receiver.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{ModeRequest, ReceiveMode, Receiver, SourceFilter, Subscription, Wait, Worker};
use socket2::{Domain, Socket, Type};
use support::{causes, open};

const PAIRS: u32 = 10_000;
const PORT: u16 = 5000;
/// Pairs that are sent to, spread over all.
const TRIED: u32 = 100;

/// Bytes of resident memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("number") << 10
}

/// Bytes of the kernel's slab, of the whole machine.
fn slab() -> i64 {
    let info = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = info.lines().find_map(|line| line.strip_prefix("Slab:")).expect("Slab");
    line.trim().trim_end_matches(" kB").trim().parse::<i64>().expect("number") << 10
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("fd").count()
}

/// The sockets that send, by source.
struct Senders<'a> {
    lab: &'a Lab,
    sockets: BTreeMap<IpAddr, UdpSocket>,
}

impl Senders<'_> {
    fn send(&mut self, source: IpAddr, group: IpAddr) {
        let lab = self.lab;
        let socket = self.sockets.entry(source).or_insert_with(|| sending_socket(lab, source));
        socket.send_to(&payload(source, group), (group, PORT)).expect("send");
    }
}

fn payload(source: IpAddr, group: IpAddr) -> Vec<u8> {
    format!("{source} {group}").into_bytes()
}

fn sending_socket(lab: &Lab, source: IpAddr) -> UdpSocket {
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

/// Takes what comes until nothing has for half a second: (source, group), each as often as it came.
fn collect(workers: &mut [Worker]) -> BTreeMap<(IpAddr, IpAddr), u32> {
    let mut heard = BTreeMap::new();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(500) {
        for worker in workers.iter_mut() {
            worker
                .poll_while(Wait::For(Duration::from_millis(5)), |datagram| {
                    let key = (datagram.source().ip(), datagram.group());
                    assert_eq!(datagram.payload(), payload(key.0, key.1));
                    *heard.entry(key).or_insert(0) += 1;
                    last = Instant::now();
                    ControlFlow::Continue(())
                })
                .expect("poll");
        }
    }
    heard
}

fn group(v4: bool, n: u32) -> IpAddr {
    match v4 {
        true => Ipv4Addr::from(0xe801_0000 + 2 * n).into(),
        false => Ipv6Addr::from((0xff3e_u128 << 112) + 0x8000_0000 + u128::from(2 * n)).into(),
    }
}

/// Descriptors and memory are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Told per run: how long it took, and what it costs.
struct Cost {
    start: Instant,
    resident: u64,
    slab: i64,
    descriptors: usize,
}

impl Cost {
    fn begin() -> Self {
        Self { start: Instant::now(), resident: resident(), slab: slab(), descriptors: descriptors() }
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {:.2} s, {} descriptors, {:.1} MiB of memory, {:.1} MiB of kernel slab (machine-wide)",
            self.start.elapsed().as_secs_f64(),
            descriptors() - self.descriptors,
            resident().saturating_sub(self.resident) as f64 / f64::from(1 << 20),
            (slab() - self.slab) as f64 / f64::from(1 << 20),
        );
    }
}

fn opened(lab: &Lab, mode: ReceiveMode, subscriptions: &[Subscription]) -> Receiver {
    let receiver = open(lab, |mut builder| {
        for subscription in subscriptions {
            builder = builder.subscribe(subscription.clone());
        }
        builder.mode(ModeRequest::Exactly(mode))
    })
    .expect("receiver");
    assert_eq!(receiver.handle().mode(), mode);
    receiver
}

/// Every second group of a range is joined, each with one of three sources in turn.
fn distinct_groups(mode: ReceiveMode, v4: bool) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().expect("lab");
    let sources: Vec<IpAddr> = match v4 {
        true => lab.sources_v4().into_iter().map(IpAddr::V4).collect(),
        false => lab.sources_v6().into_iter().map(IpAddr::V6).collect(),
    };
    let wanted = |n: u32| sources[n as usize % 3];
    let subscriptions: Vec<Subscription> = (1..=PAIRS)
        .map(|n| Subscription::new(group(v4, n), PORT, SourceFilter::Include([wanted(n)].into())).expect("valid"))
        .collect();
    let cost = Cost::begin();
    let receiver = opened(&lab, mode, &subscriptions);
    cost.print(&format!("{PAIRS} pairs, {mode}, {}, joined", if v4 { "IPv4" } else { "IPv6" }));
    let handle = receiver.handle();
    let mut workers = receiver.into_workers();
    // The sockets are made known to epoll.
    assert!(collect(&mut workers).is_empty());

    // Pairs all over, the first and the last with them.
    let tried: BTreeSet<u32> = (0..TRIED).map(|i| 1 + i * 7919 % PAIRS).chain([1, PAIRS]).collect();
    let mut senders = Senders { lab: &lab, sockets: BTreeMap::new() };
    for &n in &tried {
        senders.send(wanted(n), group(v4, n));
        for unwanted in sources.iter().filter(|&&source| source != wanted(n)).take(3) {
            senders.send(*unwanted, group(v4, n));
        }
        // The groups between are not joined.
        let neighbour = |by: i64| match group(v4, n) {
            IpAddr::V4(g) => IpAddr::from(Ipv4Addr::from(g.to_bits().wrapping_add_signed(by as i32))),
            IpAddr::V6(g) => IpAddr::from(Ipv6Addr::from(g.to_bits().wrapping_add_signed(by.into()))),
        };
        senders.send(wanted(n), neighbour(1));
        senders.send(wanted(n), neighbour(-1));
    }
    let heard = collect(&mut workers);
    let ledger = handle.ledger().expect("ledger");
    let expected: BTreeMap<_, _> = tried.iter().map(|&n| ((wanted(n), group(v4, n)), 1)).collect();
    assert!(heard == expected, "{} heard of {}: {}", heard.len(), expected.len(), causes(&ledger));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    if mode != ReceiveMode::Socket {
        // XDP takes what is wanted before the sockets see it: the joins cost no copies.
        assert_eq!(ledger.count("kernel_received").expect("a cause"), 0, "{}", causes(&ledger));
    }
    let start = Instant::now();
    let reports = handle.subscriptions().expect("subscriptions");
    println!("subscriptions() of {PAIRS} pairs: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let unwanted = sources.len().saturating_sub(1).min(3) as u64;
    for (n, report) in (1..).zip(&reports) {
        let tried = u64::from(tried.contains(&n));
        let blocked = (mode != ReceiveMode::Socket).then_some(tried * unwanted);
        assert_eq!((report.packets, report.blocked), (tried, blocked), "{}", report.subscription);
    }
    assert_eq!(reports.len() as u32, PAIRS);
    let start = Instant::now();
    drop((workers, handle));
    println!("left in {:.2} s", start.elapsed().as_secs_f64());
}

#[test]
fn ten_thousand_pairs_copy_v4() {
    distinct_groups(ReceiveMode::Copy, true);
}

#[test]
fn ten_thousand_pairs_copy_v6() {
    distinct_groups(ReceiveMode::Copy, false);
}

#[test]
fn ten_thousand_pairs_mapped_v4() {
    distinct_groups(ReceiveMode::Mapped, true);
}

#[test]
fn ten_thousand_pairs_mapped_v6() {
    distinct_groups(ReceiveMode::Mapped, false);
}

#[test]
fn ten_thousand_pairs_socket_v4() {
    distinct_groups(ReceiveMode::Socket, true);
}

/// Ten thousand sources of one group: with 10 (IPv4) or 64 (IPv6) a socket, they need a thousand sockets, or 157.
fn one_group(mode: ReceiveMode, v4: bool) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().expect("lab");
    let group = group(v4, 1);
    let source = |n: u32| -> IpAddr {
        match v4 {
            true => Ipv4Addr::from(0x0a00_0000 + n).into(),
            false => Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(n)).into(),
        }
    };
    // The sending end has the first nine addresses; 10,000 in all with those.
    let filter = SourceFilter::Include((1..=PAIRS).filter(|&n| n != 5).map(source).collect());
    let subscription = Subscription::new(group, PORT, filter).expect("valid");
    let cost = Cost::begin();
    let receiver = opened(&lab, mode, &[subscription]);
    cost.print(&format!("one group of {} sources, {mode}, {}", PAIRS - 1, if v4 { "IPv4" } else { "IPv6" }));
    let handle = receiver.handle();
    let mut workers = receiver.into_workers();
    assert!(collect(&mut workers).is_empty());
    let mut senders = Senders { lab: &lab, sockets: BTreeMap::new() };
    for n in 1..=9 {
        senders.send(source(n), group);
    }
    let heard = collect(&mut workers);
    let ledger = handle.ledger().expect("ledger");
    let expected: BTreeMap<_, _> = (1..=9).filter(|&n| n != 5).map(|n| ((source(n), group), 1)).collect();
    assert_eq!(heard, expected, "{}", causes(&ledger));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));

    // One more and one less, in the middle of them all.
    let id = handle.subscriptions().expect("subscriptions")[0].id;
    let start = Instant::now();
    lab.rx()
        .run(|| {
            handle.join_source(id, source(5)).expect("join source");
            handle.leave_source(id, source(6)).expect("leave source");
        })
        .expect("run");
    println!("one source more and one less: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for n in 1..=9 {
        senders.send(source(n), group);
    }
    let expected: BTreeMap<_, _> = (1..=9).filter(|&n| n != 6).map(|n| ((source(n), group), 1)).collect();
    assert_eq!(collect(&mut workers), expected);
}

#[test]
fn ten_thousand_sources_copy_v4() {
    one_group(ReceiveMode::Copy, true);
}

#[test]
fn ten_thousand_sources_mapped_v4() {
    one_group(ReceiveMode::Mapped, true);
}

#[test]
fn ten_thousand_sources_socket_v4() {
    one_group(ReceiveMode::Socket, true);
}

#[test]
fn ten_thousand_sources_copy_v6() {
    one_group(ReceiveMode::Copy, false);
}

#[test]
fn sockets_that_no_worker_has_taken_are_closed_with_the_workers() {
    const GROUPS: u32 = 100;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().expect("lab");
    let source = SourceFilter::Include([Ipv4Addr::new(10, 0, 0, 1).into()].into());
    let subscriptions: Vec<_> =
        (1..=GROUPS).map(|n| Subscription::new(group(true, n), PORT, source.clone()).expect("valid")).collect();
    let receiver = opened(&lab, ReceiveMode::Socket, &subscriptions);
    let handle = receiver.handle();
    let open = descriptors();
    handle.shutdown().expect("shutdown");
    drop(receiver);
    let closed = open.saturating_sub(descriptors());
    assert!(closed >= GROUPS as usize, "only {closed} descriptors were closed, while the handle is kept");
}
