//! Busy polling: each queue on a thread of its own, datagrams read in place.
//!
//! `cargo run --release --example poll -- INTERFACE SUBSCRIPTION...`

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use receiver::{Receiver, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let interface = arguments.next().ok_or("usage: poll INTERFACE SUBSCRIPTION...")?;
    let mut builder = Receiver::builder(&interface);
    for subscription in arguments {
        builder = builder.subscribe(subscription.parse()?);
    }
    let receiver = builder.build()?;
    let handle = receiver.handle();
    println!("mode {}", handle.mode());

    let bytes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for mut worker in receiver.into_workers() {
            let bytes = &bytes;
            scope.spawn(move || {
                // The work goes where the comment stands; the frame is free again when the closure returns.
                while let Ok(_count) = worker.poll(Wait::Never, |datagram| {
                    bytes.fetch_add(datagram.payload().len() as u64, Ordering::Relaxed);
                }) {}
            });
        }
        std::thread::sleep(Duration::from_secs(5));
        handle.shutdown()
    })?;
    let ledger = handle.ledger()?;
    println!("{} datagrams, {} bytes, {} unaccounted", ledger.delivered(), bytes.into_inner(), ledger.unaccounted());
    Ok(())
}
