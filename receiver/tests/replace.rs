//! `set_sources` {1,2} to {2,3} and back, a thousand times under load: source 2 loses nothing, and 1 and 3 are heard in
//! their turns only.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Error, ModeRequest, ReceiveMode, Wait};
use receiver_send::probe::ProbeChecker;
use support::{PATIENCE, Sending, addresses, causes, observe, open, stream, subscription};

const SWITCHES: usize = 1_000;
/// While a call is under way, either may be heard.
const EITHER: u8 = 0;

fn replace(mode: ReceiveMode, group: &'static str, sources: [&'static str; 3], first: &str) {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription(first))
            .mode(ModeRequest::Exactly(mode))
            .ring_size(32_768)
            .frames(131_072)
            .socket_buffer(64 << 20)
    })
    .expect("receiver");
    let handle = receiver.handle();
    let all = addresses(&sources);
    let (one, three) = (all[0], all[2]);

    // Whose turn it is: source 1, source 3, or either.
    let turn = Arc::new(AtomicU8::new(1));
    let heard = Arc::new([const { AtomicU64::new(0) }; 2]);
    let ending = Arc::new(AtomicBool::new(false));
    let consumer = {
        let (turn, heard, ending) = (Arc::clone(&turn), Arc::clone(&heard), Arc::clone(&ending));
        std::thread::spawn(move || {
            let mut workers = receiver.into_workers();
            let (mut checker, mut wrong) = (ProbeChecker::new(), 0_u64);
            loop {
                let last = ending.load(Ordering::SeqCst);
                let mut count = 0;
                for worker in &mut workers {
                    let polled = worker.poll_while(Wait::For(Duration::from_millis(1)), |datagram| {
                        // The turn as it was before this callback: it was set after the call had returned.
                        let turn = turn.load(Ordering::SeqCst);
                        let source = datagram.source().ip();
                        for (i, (of, number)) in [(one, 1), (three, 3)].into_iter().enumerate() {
                            if source == of {
                                heard[i].fetch_add(1, Ordering::SeqCst);
                                wrong += u64::from(turn != EITHER && turn != number);
                            }
                        }
                        observe(&mut checker, &datagram);
                        ControlFlow::Continue(())
                    });
                    match polled {
                        Ok(some) => count += some,
                        Err(Error::Stopped) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                if last && count == 0 {
                    return (checker.report(), wrong, workers);
                }
            }
        })
    };
    let id = handle.subscriptions().expect("subscriptions")[0].id;
    let mut config = stream(&lab, group, 5000, &sources);
    config.traffic.rate = 30_000;
    let sending = Sending::start(&lab, config);
    let controlled = handle.clone();
    let switching = lab
        .rx()
        .run(|| {
            let start = Instant::now();
            for n in 0..SWITCHES {
                let (who, at) = if n % 2 == 0 { (&all[1..], 1) } else { (&all[..2], 0) };
                turn.store(EITHER, Ordering::SeqCst);
                controlled.set_sources(id, who.iter().copied().collect()).expect("set_sources");
                turn.store(if at == 1 { 3 } else { 1 }, Ordering::SeqCst);
                // The newcomer is heard, before the next switch.
                let before = heard[at].load(Ordering::SeqCst);
                while heard[at].load(Ordering::SeqCst) == before {
                    assert!(start.elapsed() < PATIENCE, "source {} is not heard after switch {n}", who[0]);
                    std::thread::yield_now();
                }
            }
            start.elapsed()
        })
        .expect("run");
    let sent = sending.stop();
    ending.store(true, Ordering::SeqCst);
    let (report, wrong, workers) = consumer.join().expect("consumer");
    let ledger = handle.ledger().expect("ledger");
    println!("{SWITCHES} switches in {:.2} s, {} packets sent: {report}", switching.as_secs_f64(), sent.packets);
    let message = format!("{report}\n{}", causes(&ledger));
    assert_eq!(wrong, 0, "heard out of turn: {message}");
    let two = report.flows.iter().find(|flow| flow.source.ip() == all[1]).expect("source 2");
    assert_eq!((two.lost, two.duplicated, two.reordered, two.first_sequence), (0, 0, 0, 0), "{message}");
    let of_two = sent.flows.iter().find(|flow| flow.source.ip() == all[1]).expect("source 2").packets;
    assert_eq!(two.received, of_two, "{message}");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
    drop(workers);
}

const V4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const V6: [&str; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];

#[test]
fn copy_v4() {
    replace(ReceiveMode::Copy, "232.1.1.1", V4, "10.0.0.1,10.0.0.2@232.1.1.1:5000");
}

#[test]
fn copy_v6() {
    replace(ReceiveMode::Copy, "ff3e::1", V6, "[2001:db8::1],[2001:db8::2]@[ff3e::1]:5000");
}

#[test]
fn mapped_v4() {
    replace(ReceiveMode::Mapped, "232.1.1.1", V4, "10.0.0.1,10.0.0.2@232.1.1.1:5000");
}

#[test]
fn mapped_v6() {
    replace(ReceiveMode::Mapped, "ff3e::1", V6, "[2001:db8::1],[2001:db8::2]@[ff3e::1]:5000");
}

#[test]
fn socket_v4() {
    replace(ReceiveMode::Socket, "232.1.1.1", V4, "10.0.0.1,10.0.0.2@232.1.1.1:5000");
}

#[test]
fn socket_v6() {
    replace(ReceiveMode::Socket, "ff3e::1", V6, "[2001:db8::1],[2001:db8::2]@[ff3e::1]:5000");
}
