//! Which capabilities the XDP modes need, on threads that have given up the others. The command is tested row by row.

mod support;

use netlab::Lab;
use receiver::internals::{Buffers, PartialChecksums, Program};
use receiver::{Capability, Error, Interface, Lack, ReceiveMode, Receiver, ReceiverConfig, Vlan};
use rustix::thread::CapabilitySet;
use support::{RINGS, XDP, XDP_CAPABILITIES, burst, keep_capabilities, stream, subscription};

const PACKETS: u64 = 300;

/// Each entry, with each setting that changes what the verifier sees.
#[test]
fn the_program_loads_without_cap_perfmon() {
    let lab = Lab::new().expect("lab");
    let load = || {
        keep_capabilities(XDP_CAPABILITIES);
        let interface = Interface::lookup(lab.rx_interface()).expect("the interface");
        for tags in [None, Some("5"), Some("5.6")] {
            for switches in 0..8 {
                let [stamp, trace, pass_partial] = [1, 2, 4].map(|switch| switches & switch != 0);
                let vlan: Option<Vlan> = tags.map(|tags| tags.parse().expect("tags"));
                let mut config = ReceiverConfig::default();
                (config.vlan, config.timestamps, config.trace_verdicts) = (vlan, stamp, trace);
                let checksums = if pass_partial { PartialChecksums::Pass } else { PartialChecksums::Redirect };
                for buffers in [Buffers::One, Buffers::Several] {
                    let loaded = Program::load(&interface, &config, checksums)
                        .and_then(|mut program| program.set_buffers(buffers));
                    assert!(loaded.is_ok(), "{config:?} {checksums:?} {buffers:?}: {}", loaded.expect_err("an error"));
                }
            }
        }
    };
    lab.rx().run(load).expect("run");
}

/// What the library names is what is lacking.
#[test]
fn the_library_names_what_is_lacking() {
    let lab = Lab::new().expect("lab");
    let rows = [
        (CapabilitySet::NET_ADMIN, Capability::NetAdmin),
        (CapabilitySet::NET_RAW, Capability::NetRaw),
        (CapabilitySet::BPF, Capability::Bpf),
    ];
    let build = |mode: ReceiveMode, kept: CapabilitySet| {
        let build = || {
            keep_capabilities(kept);
            let builder = Receiver::builder(lab.rx_interface()).subscribe(subscription("10.0.0.1@232.1.1.1:5000"));
            builder.mode(mode).build()
        };
        lab.rx().run(build).expect("run")
    };
    for ((bit, missing), mode) in rows.into_iter().flat_map(|row| XDP.map(|mode| (row, mode))) {
        // Only AF_XDP sockets need it.
        if RINGS.contains(&mode) && missing == Capability::NetRaw {
            continue;
        }
        let error = build(mode, XDP_CAPABILITIES - bit).expect_err("refused");
        let lack = Lack::Capabilities(vec![missing]);
        assert!(matches!(&error, Error::NotPermitted { lack: named, .. } if *named == lack), "{mode}: {error:?}");
    }
    let program_alone = CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    for (mode, enough) in XDP.map(|mode| (mode, if RINGS.contains(&mode) { program_alone } else { XDP_CAPABILITIES })) {
        let mut receiver = build(mode, enough).expect("a receiver");
        let config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
        assert_eq!(burst(&lab, &mut receiver, config, PACKETS, |_| {}), PACKETS, "{mode}");
    }
}
