//! What is built is parsed to the same numbers, for every protocol.

use proptest::prelude::*;
use receiver_feed::protocol::{AnyProtocol, Kind, Protocol};

use super::super::span::Span;
use super::*;
use crate::random::{Purpose, Random};

/// What a header holds of a sequence number.
fn on_the_wire(protocol: AnyProtocol, sequence: u64) -> u64 {
    match protocol.name() {
        "rtp" | "mpeg-ts" => sequence & 0xffff,
        "moldudp64" | "iex-tp" | "memx" | "probe" => sequence,
        _ => sequence & 0xffff_ffff,
    }
}

#[test]
fn every_protocol_can_be_made() {
    let timing = Timing { rate: 1000, streams: 1 };
    for protocol in AnyProtocol::ALL {
        assert!(builder(*protocol, timing, None, false).is_some(), "{protocol}");
    }
}

proptest! {
    #[test]
    fn what_is_built_is_parsed(
        which in 0usize..13, stream in 0u32..20, session: u32, near_wrap in 0u64..20, wide: bool, messages in 1u32..9,
        smallest in 0u32..60, more in 0u32..60, utc_ns in 0u64..1 << 61, seed: u64,
    ) {
        let protocol = AnyProtocol::ALL[which];
        let timing = Timing { rate: 1000, streams: 1 };
        let builder = builder(protocol, timing, Some(messages), false).expect("a builder");
        let limits = builder.limits();
        let first = if wide { u64::MAX - 1000 } else { (1 << 32) - 10 } + near_wrap;
        // Pitch has no sequence number 0.
        let first = if protocol.name() == "cboe-pitch" && on_the_wire(protocol, first) == 0 { first + 1 } else { first };
        let least = smallest.clamp(limits.size.least, limits.size.most);
        let span = Span::new(least, (least + more).min(limits.size.most));
        let packing = Span::one(messages.min(limits.messages));
        let sizes = Sizes { random: Random::new(seed, Purpose::Size, 0), span, packing };
        let count = if limits.counts == Counts::Messages { packing.least } else { 1 };
        let key = builder.key(stream % limits.streams, session);
        let draft = Draft {
            key, stream, first, position: first & 0xffff_ffff, count, offset: 99, utc_ns, tai_ns: utc_ns, sizes: &sizes,
        };
        // Room for a frame's headers comes first.
        let mut bytes = vec![0xee; 42];
        builder.data(&mut bytes, &draft);
        let datagram = &bytes[42..];
        let packet = protocol.parse(datagram).unwrap_or_else(|error| panic!("{protocol}: {error}"));
        prop_assert_eq!((packet.kind, packet.stream), (Kind::Data, key), "{}", protocol);
        prop_assert_eq!((packet.first, packet.count), (on_the_wire(protocol, first), count), "{}", protocol);
        if packet.sent_ns.is_some() {
            let seconds_fit = ["nyse-pillar", "opra", "siac"].contains(&protocol.name());
            prop_assert!(packet.sent_ns == Some(utc_ns) || seconds_fit && utc_ns >> 62 != 0, "{}", protocol);
        }
        // Where the header delimits messages, they are those of the draft.
        let lengths: Vec<usize> = packet.messages(datagram).map(<[u8]>::len).collect();
        let expected: Vec<usize> = match (limits.counts, protocol.name()) {
            (Counts::Messages, _) => draft.messages().map(|(_, length)| length).collect(),
            (_, "opra" | "rtp" | "probe") => Vec::new(),
            _ => draft.packet_messages().map(|(_, length)| length).collect(),
        };
        prop_assert_eq!(&lengths, &expected, "{}", protocol);
        prop_assert!(datagram.len() <= limits.overhead.0
            + packing.least as usize * (limits.overhead.1 + span.most as usize), "{}", protocol);

        let mut bytes = Vec::new();
        if builder.heartbeat(&mut bytes, &draft) {
            let packet = protocol.parse(&bytes).unwrap_or_else(|error| panic!("{protocol}: {error}"));
            prop_assert_eq!((packet.kind, packet.stream), (Kind::Heartbeat, key), "{}", protocol);
            let next = on_the_wire(protocol, packet.first.wrapping_add(packet.count.into()));
            prop_assert_eq!(next, on_the_wire(protocol, first), "{}", protocol);
        }
        let mut bytes = Vec::new();
        if builder.end(&mut bytes, &draft) {
            let kind = protocol.parse(&bytes).map(|packet| packet.kind);
            prop_assert!(matches!(kind, Ok(Kind::End | Kind::Heartbeat)), "{}: {:?}", protocol, kind);
        }
    }
}
