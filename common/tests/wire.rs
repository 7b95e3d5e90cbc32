//! The parser over arbitrary and corrupted frames: it never panics, and every accepted payload lies where it should.

#[path = "../../receiver/tests/support/frames.rs"]
mod frames;
#[path = "support/properties.rs"]
mod properties;

use proptest::collection::vec;
use proptest::prelude::*;
use receiver_common::wire::VlanTags;

const OUTER: u16 = 200;
const INNER: u16 = 100;

fn tags() -> impl Strategy<Value = VlanTags> {
    (0..=2_u32).prop_map(|count| VlanTags {
        count,
        outer: if count > 0 { OUTER } else { 0 },
        inner: if count > 1 { INNER } else { 0 },
    })
}

/// A whole multicast datagram under these tags, its payload's length, and what stands behind it.
fn valid(tags: VlanTags) -> impl Strategy<Value = (Vec<u8>, usize)> {
    let v4 = (any::<[u8; 4]>(), 0xe0..=0xef_u8, any::<[u8; 3]>(), any::<u16>(), 0..1472_usize).prop_map(
        |(source, first, [b, c, d], port, length)| (frames::v4(source, [first, b, c, d], port, length), length),
    );
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), 0..1452_usize).prop_map(
        |(source, mut group, port, length)| {
            group[0] = 0xff;
            (frames::v6(source, group, port, length), length)
        },
    );
    let ids = [(0x88a8, OUTER), (0x8100, INNER)];
    prop_oneof![v4, v6].prop_map(move |(frame, length)| (frames::tagged(&frame, &ids[..tags.count as usize]), length))
}

fn tags_and_valid() -> impl Strategy<Value = (VlanTags, Vec<u8>, usize)> {
    tags().prop_flat_map(|tags| valid(tags).prop_map(move |(frame, length)| (tags, frame, length)))
}

/// One way to spoil a frame; places are taken modulo the length of its headers.
#[derive(Clone, Debug)]
enum Spoil {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, [u8; 4]),
    Pad(usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Spoil::Set(at, byte)),
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Spoil::Flip(at, bit)),
        any::<usize>().prop_map(Spoil::Cut),
        (any::<usize>(), any::<[u8; 4]>()).prop_map(|(at, bytes)| Spoil::Insert(at, bytes)),
        (0..64_usize).prop_map(Spoil::Pad),
    ]
}

impl Spoil {
    fn apply(&self, frame: &mut Vec<u8>) {
        let headers = frame.len().clamp(1, 70);
        if frame.is_empty() {
            return;
        }
        match *self {
            Self::Set(at, byte) => frame[at % headers] = byte,
            Self::Flip(at, bit) => frame[at % headers] ^= 1 << bit,
            Self::Cut(at) => frame.truncate(at % headers),
            Self::Insert(at, bytes) => drop(frame.splice(at % headers..at % headers, bytes)),
            Self::Pad(more) => frame.resize(frame.len() + more, 0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes(tags in tags(), frame in vec(any::<u8>(), 0..120)) {
        properties::payload(&frame, tags);
    }

    #[test]
    fn any_bytes_behind_an_honest_start(tags in tags(), v6 in any::<bool>(), rest in vec(any::<u8>(), 0..90)) {
        let mut frame = frames::tagged(&[0; 12], &[(0x88a8, OUTER), (0x8100, INNER)][..tags.count as usize]);
        frame.extend(if v6 { [0x86, 0xdd, 0x60] } else { [0x08, 0x00, 0x45] });
        frame.extend(rest);
        properties::payload(&frame, tags);
    }

    #[test]
    fn spoiled_frames((tags, frame, _) in tags_and_valid(), spoils in vec(spoil(), 1..5)) {
        let mut frame = frame;
        for spoil in spoils {
            spoil.apply(&mut frame);
            properties::payload(&frame, tags);
        }
    }

    #[test]
    fn whole_frames_are_accepted_and_padding_is_cut((tags, frame, length) in tags_and_valid(), padding in 0..64_usize) {
        let padded = frames::padded(frame.clone(), frame.len() + padding);
        prop_assert_eq!(properties::payload(&padded, tags), Some(frame.len() - length..frame.len()));
    }

    #[test]
    fn a_frame_cut_short_is_never_accepted((tags, frame, _) in tags_and_valid(), at in any::<usize>()) {
        prop_assert_eq!(properties::payload(&frame[..at % frame.len()], tags), None);
    }
}
