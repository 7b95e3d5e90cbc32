//! Framed streams: whatever the bytes are, records are found or refused, each within the input.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/tests/framed/reader.rs"]
mod reader;

fuzz_target!(|rest: &[u8]| {
    let stream = [&reader::PREAMBLE[..], rest].concat();
    let mut payloads = 0;
    for record in reader::Reader::new(&stream).expect("it has a preamble") {
        if let Ok(reader::Record::Packet(packet)) = record {
            payloads += packet.payload.len();
        }
    }
    assert!(payloads <= rest.len());
});
