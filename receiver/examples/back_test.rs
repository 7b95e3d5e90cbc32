//! One program for live runs and back tests: it counts datagrams and bytes of each subscription.
//!
//! `cargo run --release --features recording --example back_test -- INTERFACE|FILE SUBSCRIPTION...`

use std::collections::BTreeMap;
use std::error::Error;

use receiver::{DatagramSource, Receiver, Recording, Subscription, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: back_test INTERFACE|FILE SUBSCRIPTION...")?;
    let subscriptions = arguments.map(|text| text.parse()).collect::<Result<Vec<Subscription>, _>>()?;
    let mut source: Box<dyn DatagramSource> = if std::path::Path::new(&name).is_file() {
        Box::new(Recording::open(&name, subscriptions)?)
    } else {
        Box::new(Receiver::builder(&name).subscribe_all(subscriptions).build()?)
    };
    // From here on nothing depends on where the datagrams come from.
    let mut counts = BTreeMap::new();
    let result = loop {
        let received = source.receive(Wait::Forever, &mut |datagram| {
            let (datagrams, bytes) = counts.entry(datagram.subscription()).or_insert((0u64, 0));
            *datagrams += 1;
            *bytes += datagram.payload().len();
        });
        match received {
            Ok(_) => {}
            Err(receiver::Error::Stopped) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    for (subscription, (datagrams, bytes)) in counts {
        println!("subscription {}: {datagrams} datagrams, {bytes} bytes", subscription.number());
    }
    Ok(result?)
}
