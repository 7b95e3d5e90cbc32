//! A minimal AF_XDP receiver: copy mode, an XDP program that redirects every frame, no filter, no checksums, no
//! counters. It reads each byte of each payload and does nothing else. xdpsock does the same without reading anything.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use receiver::Interface;
use receiver_xsk::{BindConfig, BindMode, XskSocket};

use super::observer::{Observer, Shared, with_observer};
use super::{Arguments, Counts, Running, consumer};
use crate::baseline::{Baseline, REDIRECT_ONLY};

/// Packets of one batch, as in xdpsock.
const BATCH: usize = 64;
/// The headers of Ethernet, IPv4 without options, and UDP.
const HEADERS: usize = 42;
/// The source address in the frame.
const SOURCE: usize = 26;

pub fn start(arguments: &Arguments) -> Result<Running> {
    let interface = Interface::lookup(&arguments.interface)?;
    let mut baseline = Baseline::load(REDIRECT_ONLY)?;
    baseline.attach(interface.index)?;
    let mut config = BindConfig::new(interface.index, &*interface.name, 0, BindMode::Copy);
    if let Some(slots) = arguments.ring {
        config = config.with_rx_ring_size(slots);
        config.umem.frame_count = 4 * slots;
    }
    let got = format!("native, copy, {} slots", config.rx_ring_size);
    let socket = XskSocket::bind(&config)?;
    baseline.set_socket(0, socket.as_fd())?;
    let monitor = socket.monitor().context("a monitor of the AF_XDP socket")?;
    let shared = Arc::new(Shared::new());
    let thread = {
        let (shared, arguments) = (Arc::clone(&shared), arguments.clone());
        consumer(arguments.cpu, move || with_observer!(arguments, |observer| consume(socket, observer, &shared)))?
    };
    let add_counts = move |counts: &mut Counts| {
        counts.waiting = monitor.pending().into();
        let Ok(statistics) = monitor.statistics() else { return };
        let losses = [("xsk_rx_ring_full", statistics.rx_ring_full), ("xsk_rx_dropped", statistics.rx_dropped)];
        counts.loss =
            losses.into_iter().filter(|(_, lost)| *lost > 0).map(|(name, lost)| (name.to_owned(), lost)).collect();
    };
    let end = move || {
        drop(baseline);
        let _ = thread.join();
    };
    Ok(Running { shared, add_counts: Box::new(add_counts), end: Box::new(end), got })
}

fn consume(mut socket: XskSocket, mut observer: impl Observer, shared: &Shared) {
    let mut sum = 0u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let packets = socket.receive(BATCH, |packet| {
            let bytes = packet.bytes();
            let payload = bytes.get(HEADERS..).unwrap_or(&[]);
            sum = sum.wrapping_add(read(payload));
            let source = || match bytes.get(SOURCE..SOURCE + 4) {
                Some(&[a, b, c, d]) => [a, b, c, d].into(),
                _ => [0; 4].into(),
            };
            observer.observe(shared, source, payload);
            ControlFlow::Continue(())
        });
        shared.add(packets as u64);
    }
    std::hint::black_box(sum);
}

/// Reads each byte.
#[inline]
fn read(payload: &[u8]) -> u64 {
    let mut words = payload.chunks_exact(8);
    let sum = words
        .by_ref()
        .fold(0u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(word.try_into().unwrap_or_default())));
    words.remainder().iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn no_byte_is_left_out() {
        let mut payload = vec![0u8; 21];
        for at in 0..payload.len() {
            payload[at] = 1;
            assert_ne!(read(&payload), 0, "byte {at}");
            payload[at] = 0;
        }
    }
}
