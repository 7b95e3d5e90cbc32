//! Every feed protocol over the same bytes: no parser panics, and messages stay within the datagram.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::protocol::{AnyProtocol, Detector, Protocol};

fuzz_target!(|datagram: &[u8]| {
    let _ = Detector::default().observe(datagram);
    for protocol in AnyProtocol::ALL {
        let Ok(packet) = protocol.parse(datagram) else { continue };
        let _ = protocol.stream_name(packet.stream);
        let taken: usize = packet.messages(datagram).map(<[u8]>::len).sum();
        assert!(packet.body as usize + taken <= datagram.len(), "{protocol}: {packet:?}");
    }
});
