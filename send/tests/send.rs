//! The test sender on a real kernel: two namespaces, one veth pair, and at the other end kernel UDP sockets, which
//! verify checksums and reassemble, or a packet socket at the near end, which sees the frames as they leave. Needs
//! root.

mod support;

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netlab::Lab;
use receiver_host::InterfaceError;
use receiver_send::probe::{PROBE_LEN, ProbePayload, ProbeReport};
use receiver_send::{SendConfig, SendError, SendReport, Sender, Way};
use socket2::{Domain, Protocol, Socket, Type};
use support::{PORT, address, joined, receive};

fn config(lab: &Lab, group: &str, sources: &[&str]) -> SendConfig {
    let mut config = SendConfig::new(lab.tx_interface(), address(group), PORT);
    config.sources = sources.iter().map(|source| address(source)).collect();
    config.traffic.rate = 20_000;
    config.traffic.count = Some(1000);
    config
}

fn try_send(lab: &Lab, config: SendConfig) -> Result<SendReport, SendError> {
    lab.tx().run(|| Sender::new(config)?.run(&AtomicBool::new(false))).expect("the namespace")
}

fn send(lab: &Lab, config: SendConfig) -> SendReport {
    try_send(lab, config).unwrap_or_else(|error| panic!("{error}"))
}

/// Every flow that was sent came whole, from the right source and port.
fn assert_same(sent: &SendReport, received: &ProbeReport) {
    assert!(received.is_clean(), "{received:#?}");
    assert_eq!((received.received, received.foreign, received.restarts), (sent.packets, 0, 0));
    assert_eq!(received.latency.count, sent.packets, "{:?}", received.latency);
    assert_eq!(received.flows.len(), sent.flows.len());
    for flow in &sent.flows {
        let same = received.flows.iter().find(|received| received.stream == flow.stream).expect("the stream came");
        assert_eq!(same.source, flow.source);
        assert_eq!(
            (Some(same.first_sequence), Some(same.last_sequence), same.received),
            (flow.first_sequence, flow.last_sequence, flow.packets)
        );
    }
}

fn ways(report: &SendReport) -> Vec<Way> {
    report.flows.iter().map(|flow| flow.way).collect()
}

#[test]
fn own_and_spoofed_sources_take_turns_v4() {
    let lab = Lab::new().expect("a lab");
    let socket = joined(&lab, address("232.1.1.1"));
    let mut config = config(&lab, "232.1.1.1", &["10.0.0.1", "10.0.0.77", "192.0.2.9"]);
    config.traffic.count = Some(1001);
    let sent = send(&lab, config);
    assert_eq!(ways(&sent), [Way::Socket, Way::Raw, Way::Raw]);
    assert_eq!(sent.flows.iter().map(|flow| flow.packets).collect::<Vec<_>>(), [334, 334, 333]);
    assert_eq!((sent.packets, sent.bytes, sent.stopped), (1001, 1001 * PROBE_LEN as u64, false));
    assert_same(&sent, &receive(&socket, "232.1.1.1", PROBE_LEN));
}

#[test]
fn own_and_spoofed_sources_take_turns_v6() {
    let lab = Lab::new().expect("a lab");
    let socket = joined(&lab, address("ff3e::1"));
    let sources = ["2001:db8::1", "fe80::1", "fe80::77", "2001:db8:1::9"];
    let sent = send(&lab, config(&lab, "ff3e::1", &sources));
    assert_eq!(ways(&sent), [Way::Socket, Way::Socket, Way::Raw, Way::Raw]);
    assert_same(&sent, &receive(&socket, "ff3e::1", PROBE_LEN));
}

#[test]
fn link_local_group() {
    let lab = Lab::new().expect("a lab");
    let socket = joined(&lab, address("ff32::1"));
    let sent = send(&lab, config(&lab, "ff32::1", &["fe80::1", "fe80::99"]));
    assert_same(&sent, &receive(&socket, "ff32::1", PROBE_LEN));
}

#[test]
fn the_kernel_verifies_checksums_of_odd_and_even_frames() {
    let lab = Lab::new().expect("a lab");
    for (group, own) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::1")] {
        let socket = joined(&lab, address(group));
        for size in [PROBE_LEN, PROBE_LEN + 1, 1400, 1401] {
            let mut config = config(&lab, group, &[own]);
            (config.spoof, config.traffic.size) = (true, size);
            let sent = send(&lab, config);
            assert_eq!(ways(&sent), [Way::Raw]);
            assert_same(&sent, &receive(&socket, group, size));
        }
    }
}

#[test]
fn many_flows_over_threads_flat_out_are_exact() {
    let lab = Lab::new().expect("a lab");
    for spoof in [false, true] {
        let socket = joined(&lab, address("232.1.1.1"));
        let mut config = config(&lab, "232.1.1.1", &["10.0.0.1", "10.0.0.2"]);
        (config.traffic.source_port, config.traffic.source_ports, config.traffic.threads) = (Some(4000), 3, 3);
        (config.traffic.rate, config.traffic.count, config.spoof) = (0, Some(20_003), spoof);
        let sent = send(&lab, config);
        assert_eq!(sent.packets, 20_003);
        let ports: Vec<String> = sent.flows.iter().map(|flow| flow.source.to_string()).collect();
        assert_eq!(
            ports,
            ["10.0.0.1:4000", "10.0.0.1:4001", "10.0.0.1:4002", "10.0.0.2:4000", "10.0.0.2:4001", "10.0.0.2:4002"]
        );
        let packets: Vec<u64> = sent.flows.iter().map(|flow| flow.packets).collect();
        assert_eq!(packets, [3334, 3334, 3334, 3334, 3334, 3333]);
        assert_same(&sent, &receive(&socket, "232.1.1.1", PROBE_LEN));
    }
}

#[test]
fn fragments_are_reassembled() {
    let lab = Lab::new().expect("a lab");
    for (group, own) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::1")] {
        let socket = joined(&lab, address(group));
        let mut config = config(&lab, group, &[own]);
        (config.traffic.size, config.traffic.count) = (8000, Some(200));
        let sent = send(&lab, config);
        assert_same(&sent, &receive(&socket, group, 8000));
    }
}

#[test]
fn a_full_queue_is_tried_again() {
    let lab = Lab::new().expect("a lab");
    let interface = lab.tx_interface();
    // 2,000 frames of 64 bytes take half a second at this rate, and the queue holds 10.
    let qdisc = ["qdisc", "add", "dev", interface, "root", "tbf", "rate", "2mbit", "burst", "2kb", "limit", "640"];
    let status = lab.tx().command("tc").args(qdisc).status().expect("tc starts");
    assert!(status.success());
    for source in ["10.0.0.1", "10.0.0.77"] {
        let socket = joined(&lab, address("232.1.1.1"));
        let mut config = config(&lab, "232.1.1.1", &[source]);
        (config.traffic.rate, config.traffic.count) = (0, Some(2000));
        let sent = send(&lab, config);
        assert!(sent.retries > 0, "the queue was never full: {sent:?}");
        let mut received = receive(&socket, "232.1.1.1", PROBE_LEN);
        // The queue is emptied by its timer and by whoever sends, each on a CPU of its own; veth gives the frames of
        // each CPU to its own backlog.
        received.reordered = 0;
        assert_same(&sent, &received);
    }
}

/// Frames as they leave the sending interface; only those of the group.
fn frames(lab: &Lab, config: SendConfig) -> Vec<Vec<u8>> {
    lab.tx()
        .run(|| {
            const ETH_P_ALL: u16 = 3;
            let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let mut tap = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a packet socket");
            tap.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
            Sender::new(config).expect("a sender").run(&AtomicBool::new(false)).expect("sent");
            let (mut frames, mut buffer) = (Vec::new(), vec![0; 70_000]);
            while let Ok(length) = tap.read(&mut buffer) {
                if buffer.starts_with(&[0x01, 0x00, 0x5e, 1, 1, 1]) {
                    frames.push(buffer[..length].to_vec());
                }
            }
            frames
        })
        .expect("the namespace")
}

#[test]
fn tags_stand_where_they_belong() {
    let lab = Lab::new().expect("a lab");
    let probe_of = |frame: &[u8], sequence| {
        let probe = ProbePayload::parse(&frame[frame.len() - PROBE_LEN..]).expect("a probe");
        assert_eq!(probe.sequence, sequence);
    };
    for (vlan, expected) in [
        (vec![], vec![0x08, 0x00, 0x45]),
        (vec![100], vec![0x81, 0x00, 0, 100, 0x08, 0x00, 0x45]),
        (vec![4094, 2], vec![0x88, 0xa8, 0x0f, 0xfe, 0x81, 0x00, 0, 2, 0x08, 0x00, 0x45]),
    ] {
        let mut config = config(&lab, "232.1.1.1", &["10.0.0.1"]);
        (config.spoof, config.vlan, config.traffic.count) = (vlan.is_empty(), vlan, Some(2));
        let frames = frames(&lab, config);
        assert_eq!(frames.len(), 2);
        for (sequence, frame) in frames.iter().enumerate() {
            assert_eq!(frame[12..12 + expected.len()], expected, "{frame:02x?}");
            assert_eq!(frame.len(), 64 - 3 + expected.len());
            probe_of(frame, sequence as u64);
        }
    }
}

#[test]
fn ttl_is_as_asked_both_ways() {
    let lab = Lab::new().expect("a lab");
    for spoof in [false, true] {
        let mut config = config(&lab, "232.1.1.1", &["10.0.0.1"]);
        (config.spoof, config.traffic.ttl, config.traffic.count) = (spoof, 7, Some(1));
        assert_eq!(frames(&lab, config)[0][22], 7);
    }
}

#[test]
fn the_largest_frames_pass_and_larger_are_refused() {
    let lab = Lab::new().expect("a lab");
    for (group, source, vlan, max) in [
        ("232.1.1.1", "10.0.0.77", vec![], 1472),
        ("232.1.1.1", "10.0.0.1", vec![5], 1472),
        ("232.1.1.1", "10.0.0.1", vec![5, 6], 1464),
        ("ff3e::1", "2001:db8::77", vec![], 1452),
        ("ff3e::1", "2001:db8::1", vec![5, 6], 1444),
    ] {
        let mut config = config(&lab, group, &[source]);
        (config.vlan, config.traffic.size, config.traffic.count) = (vlan, max, Some(3));
        assert_eq!(send(&lab, config.clone()).packets, 3);
        config.traffic.size = max + 1;
        match try_send(&lab, config) {
            Err(error @ SendError::AboveMtu { max: message, .. }) => assert_eq!((message, error.exit_code()), (max, 1)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn default_source_is_the_interfaces_own() {
    let lab = Lab::new().expect("a lab");
    for (group, own) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::")] {
        let mut config = config(&lab, group, &[]);
        config.traffic.count = Some(1);
        let sent = send(&lab, config);
        assert!(sent.flows[0].source.ip().to_string().starts_with(own), "{sent:?}");
    }
}

#[test]
fn what_the_machine_does_not_allow_has_its_own_error() {
    let lab = Lab::new().expect("a lab");
    let with = |change: &dyn Fn(&mut SendConfig)| {
        let mut config = config(&lab, "232.1.1.1", &["10.0.0.77"]);
        change(&mut config);
        let error = try_send(&lab, config).expect_err("refused");
        assert_eq!(error.exit_code(), 1, "{error}");
        error
    };
    for name in ["nosuch0", "", "a-name-that-is-too-long", "../lo"] {
        assert!(
            matches!(
                with(&|c| c.traffic.interface = name.into()),
                SendError::Interface(InterfaceError::Unknown { .. })
            ),
            "{name}"
        );
    }
    lab.tx().ip(&["link", "add", "bare", "type", "veth", "peer", "name", "bare-peer"]).expect("a pair");
    assert!(matches!(
        with(&|c| c.traffic.interface = "bare".into()),
        SendError::Interface(InterfaceError::Down { .. })
    ));
    lab.tx().ip(&["link", "set", "bare-peer", "up"]).expect("up");
    lab.tx().ip(&["link", "set", "bare", "up"]).expect("up");
    let own = with(&|c| (c.traffic.interface, c.sources) = ("bare".into(), vec![]));
    assert!(matches!(own, SendError::NoOwnAddress { family: "IPv4", .. }), "{own}");
    lab.rx().ip(&["link", "set", lab.rx_interface(), "down"]).expect("down");
    assert!(matches!(with(&|_| ()), SendError::NoCarrier(_)));
}

#[test]
fn the_stop_flag_ends_a_thread_that_sleeps_long() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, "232.1.1.1", &["10.0.0.1"]);
    (config.traffic.rate, config.traffic.count) = (1, None);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let thread = scope.spawn(|| lab.tx().run(|| Sender::new(config).expect("a sender").run(&stop)));
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("no panic").expect("the namespace").expect("sent")
    });
    assert!(sent.stopped);
}

/// The caller decides between two batches, and may take its time.
#[test]
fn the_caller_holds_a_sender_up_and_ends_it() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, "232.1.1.1", &["10.0.0.1"]);
    (config.traffic.rate, config.traffic.count) = (100_000, None);
    let seen = Mutex::new(vec![]);
    let stop = |sent| {
        seen.lock().expect("the numbers").push(sent);
        // Longer than a sender catches up on.
        if sent == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        sent >= 2_000
    };
    let sent = lab.tx().run(|| Sender::new(config).expect("a sender").run_until(&stop).expect("sent"));
    let sent = sent.expect("the namespace");
    let seen = seen.into_inner().expect("the numbers");
    assert!(sent.stopped && sent.slipped > 0, "{sent:?}");
    assert_eq!(seen.first(), Some(&0));
    assert_eq!(seen.last(), Some(&sent.packets));
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 256), "{seen:?}");
}

#[test]
fn a_duration_at_a_rate_is_a_number_of_packets() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, "232.1.1.1", &["10.0.0.1", "10.0.0.77"]);
    (config.traffic.rate, config.traffic.count, config.traffic.duration) =
        (10_000, None, Some(Duration::from_millis(500)));
    let sent = send(&lab, config);
    // What was given up to keep time is reported.
    assert_eq!(sent.packets + sent.slipped, 5000, "{sent:?}");
}
