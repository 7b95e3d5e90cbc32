//! This project's receiver, driven by a thread that polls without sleeping, unless it is configured to wait.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use receiver::{BusyPoll, Datagram, Handle, Ledger, ModeRequest, Receiver, Subscription, Wait, Worker};
use receiver_send::probe::ProbeChecker;

use super::observer::{Observer, Shared, with_observer};
use super::{Arguments, Counts, Running, consumer};

/// The least that every mode accepts.
const FRAMES_PER_SLOT: u32 = 4;
/// Names in the ledger of lost wanted datagrams.
const LOSSES: [&str; 12] = [
    "dropped_ring_full",
    "dropped_ring_busy",
    "passed_too_long",
    "xsk_rx_ring_full",
    "xsk_rx_dropped",
    "kernel_dropped",
    "not_kept",
    "revoked",
    "ip_checksum",
    "udp_checksum",
    "malformed",
    "passed_no_socket",
];
/// Names in the ledger of unwanted datagrams.
const UNWANTED: [&str; 2] = ["dropped_not_included", "dropped_blocked"];

pub fn start(arguments: &Arguments) -> Result<Running> {
    let Arguments { source, group, port, block, .. } = arguments;
    let not = if *block { "!" } else { "" };
    let second = arguments.second.map_or_else(String::new, |second| format!(",{second}"));
    let subscription: Subscription = format!("{not}{source}{second}@{group}:{port}").parse()?;
    let mode: ModeRequest = arguments.mode.parse()?;
    let busy_poll = arguments.busy_poll.then_some(BusyPoll { budget: 64, microseconds: 20 });
    let mut builder = Receiver::builder(&arguments.interface)
        .subscribe(subscription)
        .mode(mode)
        .verify_checksums(!arguments.no_verify)
        .busy_poll(busy_poll)
        .share(arguments.share)
        .allow_asm_in_ssm_range(true);
    if let Some(slots) = arguments.ring {
        builder = builder.ring_size(slots).frames(FRAMES_PER_SLOT * slots);
    }
    let receiver = builder.build()?;
    let handle = receiver.handle();
    let got = handle.mode().to_string();
    let mut workers = receiver.into_workers();
    let (Some(worker), None) = (workers.pop(), workers.pop()) else { bail!("not one queue, but several") };
    let shared = Arc::new(Shared::new());
    let thread = {
        let (arguments, shared) = (arguments.clone(), Arc::clone(&shared));
        consumer(arguments.cpu, move || consume(worker, &arguments, &shared))?
    };
    let add_counts = {
        let handle = handle.clone();
        move |counts: &mut Counts| count_losses(&handle, counts)
    };
    let end = move || {
        let _ = handle.shutdown();
        let _ = thread.join();
    };
    Ok(Running { shared, add_counts: Box::new(add_counts), end: Box::new(end), got })
}

fn count_losses(handle: &Handle, counts: &mut Counts) {
    let Ok(ledger) = handle.ledger() else { return };
    let named = |names: &[&str], ledger: &Ledger| -> Vec<(String, u64)> {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), ledger.count(name)?)))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    counts.loss = named(&LOSSES, &ledger).into_iter().collect();
    counts.unwanted = named(&UNWANTED, &ledger).iter().map(|(_, count)| count).sum();
    counts.waiting = ledger.in_flight();
    counts.unaccounted = ledger.unaccounted();
}

fn consume(worker: Worker, arguments: &Arguments, shared: &Shared) {
    if arguments.probe {
        return check(worker, shared);
    }
    if arguments.feed {
        return super::feed::consume(worker, arguments, shared);
    }
    let wait = if arguments.wait { Wait::For(Duration::from_millis(100)) } else { Wait::Never };
    with_observer!(arguments, |observer| drive(worker, wait, observer, arguments.owned, shared));
}

fn drive(worker: Worker, wait: Wait, mut observer: impl Observer, owned: bool, shared: &Shared) {
    if owned {
        poll(worker, wait, shared, |datagram| {
            if let Some(datagram) = datagram.into_owned() {
                observer.observe(shared, || datagram.source.ip(), &datagram.payload);
            }
        });
    } else {
        poll(worker, wait, shared, |datagram| observer.observe(shared, || datagram.source().ip(), datagram.payload()));
    }
}

/// Passes each datagram to the checker of test streams.
fn check(worker: Worker, shared: &Shared) {
    let mut checker = ProbeChecker::new();
    poll(worker, Wait::Never, shared, |datagram| {
        let time = datagram.time().nanoseconds;
        checker.observe(datagram.source(), datagram.group(), datagram.port(), datagram.payload(), time);
    });
    std::hint::black_box(checker.report());
}

fn poll(mut worker: Worker, wait: Wait, shared: &Shared, mut consumer: impl FnMut(Datagram<'_>)) {
    while let Ok(packets) = worker.poll(wait, &mut consumer) {
        shared.add(packets as u64);
    }
}
