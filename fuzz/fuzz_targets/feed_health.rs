//! The measurements over any bytes at any times: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::health::{Bursts, Mdi, RtpHealth, TsConfig, TsHealth};
use receiver_feed::protocol::RtpHeader;

fuzz_target!(|datagrams: Vec<(u32, Vec<u8>)>| {
    let mut ts = TsHealth::new(TsConfig::default().precise_arrivals());
    let (mut rtp, mut mdi, mut bursts, mut now_ns) = (RtpHealth::new(90_000), Mdi::new(), Bursts::default(), 0u64);
    for (pause_ns, datagram) in &datagrams {
        now_ns += u64::from(*pause_ns);
        ts.observe(datagram, now_ns);
        mdi.observe(now_ns, datagram.len(), 0);
        bursts.observe(now_ns, datagram.len());
        if let Ok(header) = RtpHeader::parse(datagram) {
            rtp.observe(&header, now_ns);
            ts.observe(&datagram[header.payload..header.end], now_ns);
        }
    }
    let _ = (ts.report(), rtp.report(), mdi.last(), bursts.peak_bit_rates());
});
