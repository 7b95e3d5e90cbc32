//! The frame parser over slices. The first byte chooses the VLAN configuration, and whether the rest is the frame, or
//! changes of a sound one: chance would hardly find its headers.
#![no_main]

#[path = "../../common/tests/support/properties.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;
use receiver_common::wire::VlanTags;

/// Ethernet, IPv4 and UDP of a datagram to 232.1.1.1:5000 with 8 bytes of payload, without addresses of Ethernet.
const V4: [u8; 38] = [
    0x08, 0x00, 0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 232, 1, 1, 1, 0x9c, 0x40, 0x13, 0x88, 0, 16,
    0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
];
/// The same over IPv6, to ff3e::1.
const V6: [u8; 58] = [
    0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 17, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x3e, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x9c, 0x40, 0x13, 0x88, 0, 16, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8,
];

/// A sound frame with these tags, in which each three bytes of `changes` change one byte or cut the end off.
fn changed(packet: &[u8], tags: VlanTags, changes: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1];
    for (at, id) in [tags.outer, tags.inner].into_iter().enumerate().take(tags.count as usize) {
        let outermost_of_two = at == 0 && tags.count == 2;
        frame.extend([if outermost_of_two { 0x88a8_u16 } else { 0x8100 }.to_be_bytes(), id.to_be_bytes()].concat());
    }
    frame.extend(packet);
    for change in changes.chunks_exact(3) {
        match change[0] {
            0xff => frame.truncate(change[1].into()),
            0xfe => frame.extend([change[2]].repeat(change[1].into())),
            at => {
                let at = usize::from(at) % frame.len().max(1);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = if change[1] % 2 == 0 { change[2] } else { byte.wrapping_add(change[2]) };
                }
            }
        }
    }
    frame
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let tags = match first % 3 {
        0 => VlanTags::default(),
        1 => VlanTags { count: 1, outer: 200, inner: 0 },
        _ => VlanTags { count: 2, outer: 200, inner: 100 },
    };
    let frame = match first / 3 % 3 {
        0 => rest.to_vec(),
        1 => changed(&V4, tags, rest),
        _ => changed(&V6, tags, rest),
    };
    if properties::payload(&frame, tags).is_some() {
        // What stands behind the IP packet changes nothing.
        let padded = [&frame[..], &[0; 7]].concat();
        assert_eq!(properties::payload(&padded, tags), properties::payload(&frame, tags));
    }
});
