//! Async: owned datagrams that can be kept and sent elsewhere. Their payloads are not copied.
//!
//! `cargo run --release --example subscribe -- INTERFACE SUBSCRIPTION...`

use std::error::Error;

use receiver::Receiver;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let interface = arguments.next().ok_or("usage: subscribe INTERFACE SUBSCRIPTION...")?;
    let mut builder = Receiver::builder(&interface);
    for subscription in arguments {
        builder = builder.subscribe(subscription.parse()?);
    }
    let mut receiver = builder.build()?.into_async()?;
    println!("mode {}", receiver.handle().mode());
    loop {
        tokio::select! {
            datagram = receiver.recv() => match datagram? {
                Some(datagram) => {
                    let (group, port) = (datagram.group, datagram.port);
                    println!("{} to {group}:{port}: {} bytes", datagram.source, datagram.payload.len());
                }
                None => return Ok(()),
            },
            signal = tokio::signal::ctrl_c() => {
                signal?;
                return Ok(());
            }
        }
    }
}
