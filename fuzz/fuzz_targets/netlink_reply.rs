//! What the kernel answers by netlink: datagrams of any bytes are answers, events or errors. The first byte chooses
//! whether the rest is a datagram, or the bodies of messages whose headers fit, as chance would hardly find them.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use receiver_host::internals::{answers, events_of};

/// RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, NLMSG_ERROR, NLMSG_DONE, RTM_NEWNETCONF, RTM_DELNETCONF.
const KINDS: [u16; 7] = [16, 17, 20, 2, 3, 80, 81];

fn messages(bytes: &[u8]) -> Option<Vec<u8>> {
    let input: (u8, Vec<(u8, Vec<u8>)>) = Arbitrary::arbitrary_take_rest(Unstructured::new(bytes)).ok()?;
    let (flags, messages) = input;
    let mut datagram = Vec::new();
    for (kind, body) in messages {
        match KINDS.get(usize::from(kind) % 14) {
            Some(kind) => {
                datagram.extend((16 + body.len() as u32).to_ne_bytes());
                datagram.extend(kind.to_ne_bytes());
                datagram.extend(u16::from(flags).to_ne_bytes());
                datagram.extend([1, 0, 0, 0, 0, 0, 0, 0]);
                datagram.extend(body);
                datagram.resize(datagram.len().next_multiple_of(4), 0);
            }
            None => datagram.extend(body),
        }
    }
    Some(datagram)
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let datagram = if *choice == u8::MAX { Some(rest.to_vec()) } else { messages(rest) };
    let Some(datagram) = datagram else { return };
    // Each event and each answer takes at least a header.
    assert!(events_of(&datagram).count() <= datagram.len() / 16);
    if let Ok((addresses, links)) = answers(&datagram) {
        assert!(addresses.len() + links.len() <= datagram.len() / 16);
    }
});
