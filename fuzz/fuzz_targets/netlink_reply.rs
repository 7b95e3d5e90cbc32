//! What the kernel answers by netlink: datagrams of any bytes are answers, events or errors. One in two begins with
//! a header that fits, as chance would hardly find it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_host::internals::{answers, events_of};

/// RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, NLMSG_ERROR, NLMSG_DONE, RTM_NEWNETCONF, RTM_DELNETCONF.
const KINDS: [u16; 7] = [16, 17, 20, 2, 3, 80, 81];

fuzz_target!(|input: (u8, Vec<(u8, Vec<u8>)>)| {
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
    // Each event and each answer takes at least a header.
    assert!(events_of(&datagram).count() <= datagram.len() / 16);
    if let Ok((addresses, links)) = answers(&datagram) {
        assert!(addresses.len() + links.len() <= datagram.len() / 16);
    }
});
