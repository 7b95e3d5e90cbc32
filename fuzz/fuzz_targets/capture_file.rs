//! Capture files: whatever the bytes are, packets and datagrams are found or refused, each within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/analyze/capture.rs"]
mod capture;
#[path = "../../cli/src/analyze/frame.rs"]
mod frame;

fuzz_target!(|file: &[u8]| {
    let mut frames = frame::Frames::default();
    let (mut packets, mut datagrams) = (0, 0);
    let _ = capture::packets(file, |packet| {
        packets += 1;
        frames.take(&packet, |found| {
            datagrams += 1;
            // A datagram in fragments can be longer than the file: each repeats in memory what it was given.
            assert!(found.payload.len() <= 65_535 * 2, "{}", found.payload.len());
        });
    });
    let counts = frames.counts;
    assert_eq!(counts.packets, packets);
    assert!(counts.not_udp + counts.malformed + datagrams <= counts.packets, "{counts:?} {datagrams}");
});
