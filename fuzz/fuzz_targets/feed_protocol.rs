//! Every feed protocol over the same bytes: no parser panics, and messages stay within the datagram. Where a protocol
//! has a checksum, it is made right, as chance would hardly find it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::protocol::{AnyProtocol, Detector, Opra, ParseError, Protocol, Siac};

fuzz_target!(|datagram: &[u8]| {
    // A datagram after itself, and after those of its numbers.
    let mut detector = Detector::default();
    let mut next = datagram.to_vec();
    for at in 0..8 {
        let _ = detector.observe(&next);
        if let Some(number) = next.get_mut(3) {
            *number = number.wrapping_add(at);
        }
    }
    for (protocol, checksum) in [(AnyProtocol::from(Opra), 19), (Siac.into(), 18)] {
        let mut datagram = datagram.to_vec();
        if let Err(ParseError::Checksum { computed, .. }) = protocol.parse(&datagram) {
            datagram[checksum..checksum + 2].copy_from_slice(&computed.to_be_bytes());
            check(protocol, &datagram);
        }
    }
    for &protocol in AnyProtocol::ALL {
        check(protocol, datagram);
    }
});

fn check(protocol: AnyProtocol, datagram: &[u8]) {
    let Ok(packet) = protocol.parse(datagram) else { return };
    let _ = protocol.stream_name(packet.stream);
    let taken: usize = packet.messages(datagram).map(<[u8]>::len).sum();
    assert!(packet.body as usize + taken <= datagram.len(), "{protocol}: {packet:?}");
}
