//! The frame parser over slices: the first byte chooses the VLAN configuration, the rest is the frame.
#![no_main]

#[path = "../../common/tests/support/properties.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;
use receiver_common::wire::VlanTags;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, frame)) = bytes.split_first() else { return };
    let tags = match first % 3 {
        0 => VlanTags::default(),
        1 => VlanTags { count: 1, outer: 200, inner: 0 },
        _ => VlanTags { count: 2, outer: 200, inner: 100 },
    };
    if properties::payload(frame, tags).is_some() {
        // What stands behind the IP packet changes nothing.
        let padded = [frame, &[0; 7]].concat();
        assert_eq!(properties::payload(&padded, tags), properties::payload(frame, tags));
    }
});
