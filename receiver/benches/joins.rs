//! What joins and leaves cost by the thousand: all in one call, one by one, and what a loop of plain sockets costs.
//!
//! ```text
//! cargo bench -p receiver --bench joins              10,000 subscriptions, in each mode and family
//! cargo bench -p receiver --bench joins -- 1000 copy v6
//! ```
//!
//! It needs root, and makes network namespaces of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{ReceiveMode, Receiver, SourceFilter, Subscription, Wait};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};

const PORT: u16 = 5000;
const MODES: [ReceiveMode; 3] = [ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Socket];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let any_mode = !MODES.iter().any(|mode| asked(&mode.to_string()));
    let any_family = !asked("v4") && !asked("v6");
    println!(
        "{count} subscriptions, each of one source to a group of its own; milliseconds of time (of processor time)"
    );
    for v4 in [true, false].into_iter().filter(|&v4| any_family || asked(if v4 { "v4" } else { "v6" })) {
        plain_sockets(count, v4);
        for mode in MODES.into_iter().filter(|mode| any_mode || asked(&mode.to_string())) {
            receiver(count, v4, mode);
        }
    }
}

/// The time that a call takes, and the processor time of its thread.
fn timed<R>(call: impl FnOnce() -> R) -> (R, String) {
    let processor = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (start, before) = (Instant::now(), processor());
    let result = call();
    let (elapsed, used) = (start.elapsed(), processor() - before);
    (result, format!("{:.0} ({:.0})", elapsed.as_secs_f64() * 1e3, used.as_secs_f64() * 1e3))
}

fn group(v4: bool, n: u32) -> IpAddr {
    match v4 {
        true => Ipv4Addr::from(0xe801_0000 + n).into(),
        false => Ipv6Addr::from((0xff3e_u128 << 112) + 0x8000_0000 + u128::from(n)).into(),
    }
}

fn source(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::new(10, 0, 0, 1).into() } else { "2001:db8::1".parse().expect("an address") }
}

fn subscriptions(count: u32, v4: bool) -> Vec<Subscription> {
    let filter = SourceFilter::Include([source(v4)].into());
    (1..=count).map(|n| Subscription::new(group(v4, n), PORT, filter.clone()).expect("valid")).collect()
}

/// The lower bound: sockets that are bound to the group and join it, without any option beyond.
fn plain_sockets(count: u32, v4: bool) {
    let lab = Lab::new().expect("lab");
    let index = lab.rx().interface_index(lab.rx_interface()).expect("interface");
    lab.rx()
        .run(|| {
            let all = || (1..=count).map(|n| plain_socket(group(v4, n), index)).collect::<Vec<_>>();
            let (sockets, joined) = timed(all);
            // From the latest on, as the kernel looks for them.
            let ((), left) = timed(|| sockets.into_iter().rev().for_each(drop));
            let sockets = all();
            let ((), left_in_order) = timed(|| sockets.into_iter().for_each(drop));
            let family = family(v4);
            println!(
                "{family} plain sockets: joined {joined}; closed from the latest on {left}, in order {left_in_order}"
            );
        })
        .expect("run");
}

/// Joins any source: `socket2` has no join of a source for IPv6. That of a source costs the kernel a little more.
fn plain_socket(group: IpAddr, index: u32) -> Socket {
    let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, None).expect("socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&SocketAddr::new(group, PORT).into()).expect("bind");
    match (group, source(true)) {
        (IpAddr::V4(group), IpAddr::V4(source)) => {
            socket.join_ssm_v4(&source, &group, &Ipv4Addr::UNSPECIFIED).expect("join")
        }
        (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, index).expect("join"),
        _ => unreachable!("the source is IPv4"),
    }
    socket
}

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

fn opened(lab: &Lab, mode: ReceiveMode) -> Receiver {
    let first = "10.0.0.1@232.255.0.1:6000".parse().expect("a subscription");
    Receiver::builder(lab.rx_interface()).mode(mode).subscribe(first).build().expect("receiver")
}

/// Polls the workers in a thread of its own, which ends with the receiver.
fn polled(receiver: Receiver) -> JoinHandle<()> {
    let mut workers = receiver.into_workers();
    assert_eq!(workers.len(), 1, "the lab's interface has one queue");
    let poll = move || while workers[0].poll(Wait::Forever, |_| {}).is_ok() {};
    std::thread::spawn(poll)
}

fn receiver(count: u32, v4: bool, mode: ReceiveMode) {
    let all = subscriptions(count, v4);
    let lab = Lab::new().expect("lab");
    let (together, left_together, shut_down, one_by_one, left) = lab
        .rx()
        .run(|| {
            let receiver = opened(&lab, mode);
            let handle = receiver.handle();
            let thread = polled(receiver);
            let (joined, together) = timed(|| handle.join_all(&all));
            let ids = joined.expect("join");
            let (result, left_together) = timed(|| handle.leave_all(&ids));
            result.expect("leave");
            handle.join_all(&all).expect("join");
            let ((), shut_down) = timed(|| {
                handle.shutdown().expect("shutdown");
                thread.join().expect("a thread");
            });
            let receiver = opened(&lab, mode);
            let handle = receiver.handle();
            let thread = polled(receiver);
            let (ids, one_by_one) = timed(|| all.iter().map(|one| handle.join(one).expect("join")).collect::<Vec<_>>());
            let ((), left) = timed(|| ids.into_iter().for_each(|id| handle.leave(id).expect("leave")));
            handle.shutdown().expect("shutdown");
            thread.join().expect("a thread");
            (together, left_together, shut_down, one_by_one, left)
        })
        .expect("run");
    println!(
        "{} {mode}: joined in one call {together}, left in one call {left_together}, shut down {shut_down}; one by one \
         joined {one_by_one}, left {left}",
        family(v4)
    );
}
