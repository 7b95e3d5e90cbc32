//! A receiver whose first worker counts on a thread of its own while a test changes the link under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Datagram, Error, Handle, ModeRequest, ReceiveMode, Receiver, Wait};

use super::{PATIENCE, Sending, causes, open, stream, subscription};

pub struct Counting {
    pub handle: Handle,
    counts: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Counting {
    /// On one IPv4 and one IPv6 subscription.
    pub fn open(lab: &Lab, mode: ReceiveMode) -> Self {
        let receiver = open(lab, |builder| {
            builder
                .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
                .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
                .mode(ModeRequest::Exactly(mode))
        });
        Self::start(receiver.expect("receiver"))
    }

    pub fn start(receiver: Receiver) -> Self {
        let handle = receiver.handle();
        let (counts, stop) = (Arc::new([const { AtomicU64::new(0) }; 2]), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&counts), Arc::clone(&stop));
        let mut worker = receiver.into_workers().remove(0);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let each = |datagram: Datagram<'_>| {
                    counted[usize::from(datagram.group().is_ipv6())].fetch_add(1, Ordering::Relaxed);
                };
                match worker.poll(Wait::For(Duration::from_millis(20)), each) {
                    Ok(_) => {}
                    Err(Error::Stopped) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { handle, counts, stop, thread }
    }

    /// Datagrams of one family, or of both.
    pub fn count(&self, ipv6: Option<bool>) -> u64 {
        let of = |ipv6: bool| self.counts[usize::from(ipv6)].load(Ordering::Relaxed);
        ipv6.map_or_else(|| of(false) + of(true), of)
    }

    /// How long it takes until the next packet.
    pub fn next_packet(&self) -> Duration {
        self.next(None)
    }

    /// How long it takes until the next packet of one family, or of any.
    pub fn next(&self, ipv6: Option<bool>) -> Duration {
        let (start, before) = (Instant::now(), self.count(ipv6));
        self.wait_until("a packet comes", || self.count(ipv6) > before);
        start.elapsed()
    }

    pub fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let ledger = self.handle.ledger().expect("ledger");
            let warnings = self.handle.warnings();
            assert!(start.elapsed() < PATIENCE, "not so until now: {what}\n{}\n{warnings:?}", causes(&ledger));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn wait_for_outages(&self, count: u64) {
        self.wait_until("the outage is recorded", || self.handle.ledger().expect("ledger").link().outages >= count);
    }

    pub fn wait_for_warning(&self, part: &str) {
        self.wait_until(part, || self.handle.warnings().iter().any(|warning| warning.contains(part)));
    }

    /// The receiver looks at its link once more, after all that was done before: it follows the MTU to another value
    /// and back.
    pub fn next_look(&self, lab: &Lab) {
        let mtu = self.handle.interface().mtu;
        for mtu in [mtu - 1, mtu] {
            let name = self.handle.interface().name;
            lab.rx().ip(&["link", "set", &name, "mtu", &mtu.to_string()]).expect("mtu");
            self.wait_until("the MTU is followed", || self.handle.interface().mtu == mtu);
        }
    }

    /// Everything that came is accounted for, once it is at rest.
    pub fn finish(self) {
        self.wait_until("nothing is unaccounted", || self.handle.ledger().expect("ledger").unaccounted() == 0);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the consumer");
        let ledger = self.handle.ledger().expect("ledger");
        assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    }
}

/// Frames of their own making, which need no address. A link that is down for a while does not end them.
pub fn sending(lab: &Lab) -> Sending {
    spoofing(lab, "232.1.1.1", "10.0.0.1", 10_000)
}

pub fn sending_v6(lab: &Lab) -> Sending {
    spoofing(lab, "ff3e::1", "2001:db8::1", 1_000)
}

fn spoofing(lab: &Lab, group: &str, source: &str, rate: u64) -> Sending {
    let mut config = stream(lab, group, 5000, &[source]);
    (config.traffic.rate, config.spoof) = (rate, true);
    Sending::start(lab, config)
}

/// The kernel's memberships of a namespace: the table of that name.
pub fn table(namespace: &netlab::Namespace, name: &str) -> String {
    let path = format!("/proc/thread-self/net/{name}");
    namespace.run(|| std::fs::read_to_string(path)).expect("a thread").expect("the table")
}

/// Returns true if this group of IPv6, in hexadecimal, is joined with sources. The kernel shows no sources of an
/// interface whose latest group is that of an address (`igmp6_mcf_get_first`): then the group itself is what there is.
pub fn is_joined_v6(namespace: &netlab::Namespace, group: &str) -> bool {
    let sources = table(namespace, "mcfilter6");
    let are_hidden = sources.lines().count() <= 1;
    sources.contains(group) || (are_hidden && table(namespace, "igmp6").contains(group))
}
