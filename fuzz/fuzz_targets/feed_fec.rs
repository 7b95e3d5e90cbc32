//! ST 2022-1 over any media and parity packets: no panic, and what is recovered is RTP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::fec::FecDecoder;

fuzz_target!(|packets: Vec<(bool, Vec<u8>)>| {
    let mut decoder = FecDecoder::new();
    let check = |packet: receiver_feed::Bytes| assert!(packet.len() >= 12 && packet[0] >> 6 == 2);
    for (parity, packet) in &packets {
        if *parity {
            let _ = decoder.parity(packet, check);
        } else {
            decoder.media(packet, check);
        }
    }
});
