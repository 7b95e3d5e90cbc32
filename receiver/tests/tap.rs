//! The tap of a running receiver: what XDP drops or passes arrives with its verdict, in each mode and of each IP
//! version; the ledger has each frame; a tap that is read late loses counted frames alone.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Error, Handle, Ledger, ReceiveMode, Receiver, Tap, TapConfig, Verdict, VerdictSet, Wait};
use support::{PATIENCE, Sending, causes, open, stream, subscription};

const MODES: [ReceiveMode; 3] = [ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic];

/// The frames of one verdict that came, and the bytes of the last.
#[derive(Default)]
struct Seen(BTreeMap<Verdict, (u64, Vec<u8>)>);

impl Seen {
    fn count(&self, verdict: Verdict) -> u64 {
        self.0.get(&verdict).map_or(0, |(count, _)| *count)
    }

    /// Takes what is there, waiting for a moment.
    fn take(&mut self, tap: &mut Tap) -> Result<usize, Error> {
        tap.poll(Wait::For(Duration::from_millis(20)), |frame| {
            let (count, bytes) = self.0.entry(frame.verdict()).or_default();
            *count += 1;
            *bytes = frame.bytes().to_vec();
            assert_eq!(frame.length(), bytes.len(), "a frame of a short MTU is not cut");
            assert!(frame.time().nanoseconds > 0 && frame.queue() == 0);
        })
    }
}

/// Takes frames until the ledger shows that the reader has all of them, and that nothing else is on its way.
fn settle(tap: &mut Tap, receiver: &mut Receiver, seen: &mut Seen) -> Ledger {
    let handle = receiver.handle();
    let deadline = Instant::now() + PATIENCE;
    let mut before = handle.ledger().expect("ledger");
    loop {
        seen.take(tap).expect("the tap");
        receiver.poll(Wait::For(Duration::from_millis(20)), |_| {}).expect("poll");
        let now = handle.ledger().expect("ledger");
        if now.is_at_rest_since(&before) && now.tap().in_ring == 0 && now.unaccounted() == 0 {
            return now;
        }
        assert!(Instant::now() < deadline, "no rest: {}", causes(&now));
        before = now;
    }
}

fn wait_for(handle: &Handle, tap: &mut Tap, receiver: &mut Receiver, seen: &mut Seen, verdict: Verdict, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while handle.ledger().expect("ledger").verdict(verdict) < count {
        seen.take(tap).expect("the tap");
        receiver.poll(Wait::Never, |_| {}).expect("poll");
        let now = || causes(&handle.ledger().expect("ledger"));
        assert!(Instant::now() < deadline, "{count} of {verdict:?} do not come: {}", now());
    }
}

/// A source that is not wanted sends, and one whose group nobody has asked for.
#[test]
fn what_is_not_delivered_arrives_in_each_mode_and_of_each_version() {
    const COUNT: u64 = 500;
    for mode in MODES {
        for (wanted, group, other, [source, stranger]) in [
            ("10.0.0.1@232.1.1.1:5000", "232.1.1.1", "232.1.1.9", ["10.0.0.1", "10.0.0.2"]),
            ("[2001:db8::1]@[ff3e::1]:5000", "ff3e::1", "ff3e::9", ["2001:db8::1", "2001:db8::2"]),
        ] {
            let lab = Lab::new().expect("lab");
            let tap = TapConfig { verdicts: VerdictSet::UNDELIVERED, ..TapConfig::default() };
            let mut receiver =
                open(&lab, |builder| builder.subscribe(subscription(wanted)).mode(mode).tap(tap)).expect("receiver");
            let mut tap = receiver.take_tap().expect("a tap");
            assert!(receiver.take_tap().is_none(), "once");
            let handle = receiver.handle();
            let mut seen = Seen::default();
            for (group, source) in [(group, source), (group, stranger), (other, source)] {
                let mut config = stream(&lab, group, 5000, &[source]);
                (config.traffic.count, config.traffic.rate) = (Some(COUNT), 20_000);
                Sending::start(&lab, config).wait();
            }
            // A veth device may drop frames under load, uncounted: some of each kind are enough.
            for verdict in [Verdict::DroppedNotIncluded, Verdict::PassedOtherGroup] {
                wait_for(&handle, &mut tap, &mut receiver, &mut seen, verdict, 1);
            }
            let ledger = settle(&mut tap, &mut receiver, &mut seen);
            let counts = ledger.tap();
            assert_eq!(counts.frames, counts.taken + counts.lost(), "{mode} {group}: {}", causes(&ledger));
            // The kernel of the namespace sends frames of its own, such as MLD: they count too.
            let lost = counts.lost();
            for verdict in VerdictSet::UNDELIVERED.iter() {
                let (came, of_ledger) = (seen.count(verdict), ledger.verdict(verdict));
                assert!(came <= of_ledger && of_ledger <= came + lost, "{mode} {verdict:?}: {}", causes(&ledger));
            }
            assert_eq!(seen.0.values().map(|(count, _)| count).sum::<u64>(), counts.taken, "{mode} {group}");
            assert_eq!(seen.count(Verdict::Mapped) + seen.count(Verdict::Redirected), 0, "{mode}: a wanted frame");
            assert!(ledger.delivered() > 0 && seen.count(Verdict::DroppedNotIncluded) > 0, "{}", causes(&ledger));
            // The reader gets the end, too.
            handle.shutdown().expect("shutdown");
            let deadline = Instant::now() + PATIENCE;
            while !matches!(seen.take(&mut tap), Err(Error::Stopped)) {
                assert!(Instant::now() < deadline, "no end");
            }
            drop(tap);
            let end = handle.ledger().expect("ledger").tap();
            assert_eq!((end.frames, end.in_ring), (end.taken + end.lost(), 0), "{mode}: {end:?}");
        }
    }
}

/// The reader sleeps while frames come: what its ring cannot hold is counted, and the receiver gets all of its own.
#[test]
fn a_tap_that_is_read_late_loses_counted_frames() {
    const COUNT: u64 = 2_000;
    let lab = Lab::new().expect("lab");
    let tap = TapConfig { verdicts: VerdictSet::BLOCKED, slots: 64 };
    let wanted = subscription("10.0.0.1@232.1.1.1:5000");
    let mut receiver =
        open(&lab, |builder| builder.subscribe(wanted).mode(ReceiveMode::Mapped).tap(tap)).expect("receiver");
    let mut tap = receiver.take_tap().expect("a tap");
    let handle = receiver.handle();
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.2"]);
    (config.traffic.count, config.traffic.rate) = (Some(COUNT), 50_000);
    Sending::start(&lab, config).wait();
    let deadline = Instant::now() + PATIENCE;
    while handle.ledger().expect("ledger").tap().ring_full == 0 {
        assert!(Instant::now() < deadline, "{}", causes(&handle.ledger().expect("ledger")));
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut seen = Seen::default();
    let ledger = settle(&mut tap, &mut receiver, &mut seen);
    let counts = ledger.tap();
    assert!(counts.taken >= 64, "the ring has kept the first ones: {}", causes(&ledger));
    assert_eq!(counts.frames, counts.taken + counts.ring_full, "{}", causes(&ledger));
    assert_eq!(ledger.count("tap_ring_full"), Some(counts.ring_full));
    assert_eq!((seen.count(Verdict::DroppedNotIncluded), ledger.lost()), (counts.taken, 0), "{}", causes(&ledger));
}

/// Frames come one after the other, and each wakes the sleeping reader long before its timeout.
#[test]
fn a_sleeping_reader_is_woken() {
    let lab = Lab::new().expect("lab");
    let wanted = subscription("10.0.0.1@232.1.1.1:5000");
    let tap = TapConfig::default();
    let mut receiver =
        open(&lab, |builder| builder.subscribe(wanted).mode(ReceiveMode::Mapped).tap(tap)).expect("receiver");
    let mut tap = receiver.take_tap().expect("a tap");
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.2"]);
    (config.traffic.count, config.traffic.rate) = (None, 2_000);
    let sending = Sending::start(&lab, config);
    let mut came = 0;
    while came < 1_000 {
        let start = Instant::now();
        came += tap.poll(Wait::For(PATIENCE), |_| {}).expect("the tap");
        assert!(start.elapsed() < PATIENCE / 2, "slept through a frame, after {came}");
    }
    sending.stop();
    while tap.poll(Wait::For(Duration::from_millis(100)), |_| {}).expect("the tap") > 0 {}
}

#[test]
fn a_mode_without_a_program_has_no_tap() {
    let lab = Lab::new().expect("lab");
    let wanted = || subscription("10.0.0.1@232.1.1.1:5000");
    let error = open(&lab, |builder| builder.subscribe(wanted()).mode(ReceiveMode::Socket).tap(TapConfig::default()));
    let error = error.expect_err("mode socket has no XDP program");
    assert!(error.is_usage() && error.to_string().contains("ask for mode auto, mapped, copy or generic"), "{error}");
    // A tap that nobody takes costs nothing but its counts.
    let receiver = open(&lab, |builder| builder.subscribe(wanted()).tap(TapConfig::default())).expect("receiver");
    let handle = receiver.handle();
    let workers = receiver.into_workers();
    assert_eq!(handle.ledger().expect("ledger").tap().taken, 0);
    drop(workers);
}
