//! The arbiter over any datagrams on any legs at any times: no panic, bounds are kept, and the counters add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::arbiter::{Arbiter, Config, LegId};
use receiver_feed::protocol::AnyProtocol;

fuzz_target!(|input: (u8, Vec<(u8, u16, Vec<u8>)>)| {
    let (protocol, datagrams) = input;
    let protocol = AnyProtocol::ALL[usize::from(protocol) % AnyProtocol::ALL.len()];
    let config = Config::new(3).window_ns(1_000).held(16).leg_timeout_ns(20_000).stale_ns(100_000).max_streams(8);
    let mut arbiter = Arbiter::new(protocol, config.recovery_ns(5_000));
    let mut now_ns = 0;
    for (leg, pause_ns, datagram) in &datagrams {
        now_ns += u64::from(*pause_ns);
        let _ = arbiter.push(LegId::new(leg % 4), now_ns, &datagram[..], |_| ());
    }
    arbiter.poll::<&[u8]>(now_ns + 1_000_000, |_| ());
    for stream in arbiter.streams() {
        let statistics = stream.statistics();
        assert!(statistics.held_peak <= 17);
        assert!(statistics.recovered + statistics.lost <= statistics.missing);
    }
});
