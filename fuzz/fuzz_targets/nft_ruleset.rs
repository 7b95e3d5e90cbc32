//! The rules of nftables as nft prints them: any JSON is a ruleset or none, and each packet has a fate.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/doctor/nftables.rs"]
mod nftables;

use nftables::{Packet, Payload, Ruleset};

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    let Some(rules) = Ruleset::of_json(&json) else { return };
    for (source, group) in [(Some("10.0.0.1"), "232.1.1.1"), (None, "ff3e::8000:1")] {
        for payload in [Payload::Udp { port: 5000 }, Payload::Igmp, Payload::MldQuery] {
            let source = source.map(|source| source.parse().expect("an address"));
            let group = group.parse().expect("an address");
            rules.fate(&Packet { interface: "eth1".to_owned(), source, group, payload });
        }
    }
});
