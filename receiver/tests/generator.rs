//! The load generator in the kernel against our own receiver in copy mode: every frame arrives, in order, with right
//! checksums, and the mix is what was asked for.

mod support;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use netlab::Lab;
use receiver::{Ledger, ModeRequest, ReceiveMode};
use receiver_send::probe::PROBE_LEN;
use receiver_send::{Burst, Load, LoadConfig, SendError, SendReport, StreamSpecs, Way};
use support::{Checking, causes, open, subscription};

fn config(lab: &Lab, streams: &[&str]) -> LoadConfig {
    let streams = streams.iter().flat_map(|text| text.parse::<StreamSpecs>().expect(text).0).collect();
    LoadConfig::new(lab.tx_interface(), streams)
}

fn try_send(lab: &Lab, config: LoadConfig) -> Result<SendReport, SendError> {
    lab.tx().run(|| Load::new(config)?.run(&AtomicBool::new(false))).expect("a thread in tx")
}

/// Sends to a receiver of `wanted`, and checks that all of it came as it was sent.
fn arrives(lab: &Lab, wanted: &[&str], config: LoadConfig) -> (SendReport, Ledger) {
    let receiver = open(lab, |builder| {
        let builder = wanted.iter().fold(builder, |builder, text| builder.subscribe(subscription(text)));
        builder.mode(ModeRequest::Exactly(ReceiveMode::Copy)).ring_size(32_768).frames(131_072)
    })
    .expect("receiver");
    let checking = Checking::start(receiver);
    let sent = try_send(lab, config).expect("send");
    let (report, ledger, _workers) = checking.finish();
    let message = format!("{sent}\n{report}\n{}", causes(&ledger));
    assert!(report.is_clean(), "{message}");
    assert_eq!((report.foreign, report.restarts), (0, 0), "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
    assert_eq!(ledger.lost(), 0, "{message}");
    // Complete ones, which were verified: none was taken for one that a NIC was to finish, none was absent.
    // By chance, one in 65,536 complete ones looks like the pseudo header's sum alone.
    assert!(ledger.count("checksum_partial").expect("a cause") <= 3 + sent.packets / 10_000, "{message}");
    for cause in ["checksum_absent", "udp_checksum", "ip_checksum"] {
        assert_eq!(ledger.count(cause).expect("a cause"), 0, "{cause}: {message}");
    }
    let link = sent.link.expect("the generator asks the interface");
    // The kernel itself sends a few on a new interface: membership reports, router solicitations.
    assert!((sent.packets..sent.packets + 20).contains(&link.packets) && link.dropped == 0, "{message}");
    for flow in sent.flows.iter() {
        assert_eq!(flow.way, Way::Xdp);
        let Some(same) = report.flows.iter().find(|received| received.stream == flow.stream) else { continue };
        assert_eq!((same.source, same.received), (flow.source, flow.packets), "{message}");
        assert_eq!(
            (Some(same.first_sequence), Some(same.last_sequence)),
            (flow.first_sequence, flow.last_sequence),
            "{message}"
        );
    }
    let all: u64 = report.flows.iter().map(|flow| flow.received).sum();
    assert_eq!(report.received, all, "{message}");
    assert_eq!(report.latency.count, all, "the send time is on the receiver's clock: {message}");
    (sent, ledger)
}

const V4: &str = "10.0.0.1@232.1.1.1:5000";
const V6: &str = "[2001:db8::1]@[ff3e::1]:5000";

#[test]
fn counts_are_exact_and_everything_arrives_v4() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, &[V4]);
    (config.traffic.count, config.traffic.rate) = (Some(100_003), 200_000);
    let (sent, _) = arrives(&lab, &[V4], config);
    assert_eq!((sent.packets, sent.bytes), (100_003, 100_003 * PROBE_LEN as u64));
}

#[test]
fn counts_are_exact_and_everything_arrives_v6() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, &[V6]);
    (config.traffic.count, config.traffic.rate) = (Some(100_003), 200_000);
    let (sent, _) = arrives(&lab, &[V6], config);
    assert_eq!(sent.packets, 100_003);
}

/// Frames of both families and lengths from one recycled stock, with odd payloads.
#[test]
fn a_mix_keeps_its_shares() {
    let lab = Lab::new().expect("a lab");
    for size in [PROBE_LEN, 101, 1400] {
        let v4 = format!("{V4}=97");
        let v6 = format!("{V6}=2");
        let mut config = config(&lab, &[&v4, &v6, "10.0.0.9@232.1.1.1:5000=1"]);
        (config.traffic.count, config.traffic.rate, config.traffic.size) = (Some(10_000), 100_000, size);
        let (sent, ledger) = arrives(&lab, &[V4, V6], config);
        assert_eq!(sent.flows.iter().map(|flow| flow.packets).collect::<Vec<_>>(), [9_700, 200, 100]);
        assert_eq!(ledger.count("dropped_not_included").expect("a cause"), 100, "{}", causes(&ledger));
    }
}

#[test]
fn threads_have_flows_and_ports_of_their_own() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, &[V4, V6]);
    (config.traffic.count, config.traffic.rate, config.traffic.threads) = (Some(20_001), 100_000, 2);
    (config.traffic.source_port, config.traffic.source_ports) = (Some(4000), 2);
    // Two threads on one CPU too: each has a program of its own.
    config.cpus = vec![0, 0];
    let (sent, _) = arrives(&lab, &[V4, V6], config);
    assert_eq!(sent.packets, 20_001);
    let mut ports: Vec<u16> = sent.flows.iter().map(|flow| flow.source.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [4000, 4000, 4001, 4001, 4002, 4002, 4003, 4003]);
}

#[test]
fn bursts_come_as_often_as_asked() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, &[V4]);
    config.burst = Some(Burst { packets: 100, every: Duration::from_millis(10) });
    config.traffic.count = Some(1_050);
    let (sent, _) = arrives(&lab, &[V4], config);
    assert_eq!(sent.packets, 1_050);
    assert!(sent.elapsed_seconds >= 0.1, "the eleventh burst is not before its time: {sent}");
}

/// Without an XDP program or GRO at the other end, veth takes no redirected frame, and reports it to nobody but its
/// counters.
#[test]
fn a_link_that_takes_nothing_is_told() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, &[V4]);
    config.traffic.count = Some(100);
    let result = try_send(&lab, config);
    assert!(matches!(&result, Err(SendError::NotRedirected(_))), "{result:?}");
}

#[test]
fn refusals() {
    let lab = Lab::new().expect("a lab");
    let refused = |change: fn(&mut LoadConfig)| {
        let mut config = config(&lab, &[V4]);
        config.traffic.count = Some(1);
        change(&mut config);
        try_send(&lab, config).expect_err("refused")
    };
    assert!(matches!(refused(|c| c.streams.clear()), SendError::NoStream));
    assert!(matches!(refused(|c| c.streams[0].weight = 0), SendError::Weight(_)));
    assert!(matches!(refused(|c| c.traffic.size = PROBE_LEN - 1), SendError::SizeTooSmall { .. }));
    assert!(matches!(refused(|c| c.traffic.size = 1473), SendError::AboveMtu { max: 1472, .. }));
    assert!(matches!(refused(|c| (c.traffic.threads, c.cpus) = (2, vec![0])), SendError::TooFewCpus { .. }));
    assert!(matches!(refused(|c| c.cpus = vec![1023]), SendError::Os { .. }));
    assert!(matches!(
        refused(|c| (c.traffic.source_port, c.traffic.source_ports) = (Some(65_535), 2)),
        SendError::SourcePortRange { .. }
    ));
}
