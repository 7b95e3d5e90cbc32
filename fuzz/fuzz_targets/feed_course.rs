//! The arbiter over sound datagrams in any order: nothing is delivered twice in one numbering, what is delivered is
//! what was sent, bounds are kept, and the counters add up. `feed_arbiter` takes datagrams of any bytes instead.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Event, LegId};
use receiver_feed::protocol::{AnyProtocol, MoldUdp64, NysePillar, Protocol, Rtp};

/// Datagrams that a stream may hold.
const HELD: usize = 16;

/// A datagram whose messages are their sequence numbers, as far as the protocol has messages.
fn datagram(protocol: AnyProtocol, kind: u8, first: u32, count: u8, sent: u32) -> Vec<u8> {
    let numbers = (0..u32::from(count)).map(|at| first.wrapping_add(at).to_be_bytes());
    match protocol {
        AnyProtocol::MoldUdp64(_) => {
            let count = if kind == 0 { 0xffff } else { u16::from(count) };
            let head = [&b"SESSION-01"[..], &u64::from(first).to_be_bytes(), &count.to_be_bytes()].concat();
            [head, numbers.flat_map(|number| [&[0, 4], &number[..]].concat()).collect()].concat()
        }
        AnyProtocol::NysePillar(_) => {
            let flag = [12, 13, 1, 17].get(usize::from(kind)).copied().unwrap_or(11);
            let size = (16 + 6 * u16::from(count)).to_le_bytes();
            let head = [&size[..], &[flag, count], &first.to_le_bytes(), &sent.to_le_bytes(), &[0; 4]].concat();
            [head, numbers.flat_map(|number| [&[6, 0], &number[..]].concat()).collect()].concat()
        }
        _ => [&[0x80, 96], &(first as u16).to_be_bytes()[..], &sent.to_be_bytes(), &[0, 0, 0, kind % 2]].concat(),
    }
}

fuzz_target!(|input: (u8, u8, Vec<(u8, u8, u16, u16, u8, u16)>)| {
    let (protocol, base, datagrams) = input;
    let protocol: AnyProtocol = [MoldUdp64.into(), NysePillar.into(), Rtp.into()][usize::from(protocol % 3)];
    // Numbers wrap in some courses.
    let base = if base % 2 == 0 { 1 } else { u32::MAX - 200 };
    let config = Config::new(3).window_ns(1_000).held(HELD).leg_timeout_ns(20_000).stale_ns(100_000).max_jump(500);
    let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(protocol, config.recovery_ns(5_000).max_streams(4));
    let (mut now_ns, mut delivered) = (0, BTreeSet::new());
    for (leg, kind, first, pause_ns, count, sent) in datagrams {
        now_ns += u64::from(pause_ns);
        let wire = base.wrapping_add(u32::from(first % 1_000));
        let datagram = Bytes::from(datagram(protocol, kind % 32, wire, count % 8, u32::from(sent)));
        let parsed = arbiter.push(LegId::new(leg % 3), now_ns, datagram, |delivery| match delivery.event {
            Event::Data(data) | Event::Recovered(data) => {
                let bytes = data.datagram.as_ref();
                let packet = protocol.parse(bytes).expect("it was parsed before");
                let texts = packet.messages(bytes).skip(data.skip as usize).take(data.count as usize);
                for (sequence, text) in (data.first..).zip(texts) {
                    assert_eq!(text[text.len() - 4..], (sequence as u32).to_be_bytes());
                }
                for sequence in data.first..data.first + u64::from(data.count) {
                    assert!(delivered.insert((delivery.stream.index(), sequence)), "{sequence} came twice");
                }
            }
            Event::Reset { .. } => delivered.retain(|(stream, _)| *stream != delivery.stream.index()),
            _ => {}
        });
        assert!(parsed.is_ok() || count % 8 == 0 || kind % 32 == 0, "{protocol}");
        for stream in arbiter.streams() {
            assert!(stream.statistics().held <= 2 * HELD as u64);
        }
    }
    arbiter.poll::<Bytes>(now_ns + 1_000_000, |_| ());
    for stream in arbiter.streams() {
        let statistics = stream.statistics();
        assert!(statistics.recovered + statistics.lost <= statistics.missing, "{statistics:?}");
    }
});
