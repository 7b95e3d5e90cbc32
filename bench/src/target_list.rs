//! All targets, and the tables that their values come from.

use receiver_send::probe::PROBE_LEN;

use crate::measured::Measured;
use crate::peers::recorder::Recorder;
use crate::rows::BASE;
use crate::statistics::Ratio;
use crate::tables::streams::{self, Pattern};
use crate::tables::{joins, loss_free, record, rules};
use crate::targets::Target;

/// Bytes of seven packets of MPEG transport stream.
const STREAM: usize = 1316;

/// The targets of mode mapped come first.
pub fn all(measured: &Measured) -> Vec<Target> {
    let mut targets = mapped(measured);
    targets.extend(costs(measured));
    targets.extend(other_modes(measured));
    targets.extend(feeds(measured));
    targets.extend(recording(measured));
    targets
}

fn mapped(measured: &Measured) -> Vec<Target> {
    let ratio = |of: &str, to: &str| measured.throughput.ratio(of, to);
    let latency = |value| measured.latency.ratio("mapped", "copy", value);
    let sizes = measured.sizes.ratio("mapped", "xdpsock", STREAM);
    let small = |of: &str, to: &str| ratio(of, to).or_else(|| measured.sizes.ratio(of, to, PROBE_LEN));
    vec![
        Target::at_least("mapped / xdpsock, 64-byte frames", small("mapped", "xdpsock"), 1.3),
        Target::at_least("mapped / testpmd, 64-byte frames", small("mapped", "testpmd"), 1.4),
        Target::at_least("mapped / recvmmsg", small("mapped", BASE), 6.5),
        Target::at_least("mapped / xdp_drop", ratio("mapped", "xdp_drop"), 0.85),
        Target::at_least("mapped_owned / mapped", small("mapped_owned", "mapped"), 0.85),
        Target::at_least("mapped / xdpsock, 1,316 bytes of payload", sizes, 1.0),
        Target::at_least("mapped_blocked / xdp_drop", ratio("mapped_blocked", "xdp_drop"), 0.95),
        Target::at_least(
            "highest rate without loss, mapped / xdpsock",
            loss_free::ratio(&measured.loss_free, "mapped", "xdpsock"),
            1.2,
        ),
        Target::at_most("latency p50, mapped / copy, same rate", latency(|one| one.p50), 1.0),
        Target::at_most("latency p99, mapped / copy, same rate", latency(|one| one.p99), 1.0),
    ]
}

fn costs(measured: &Measured) -> Vec<Target> {
    let rule = |of, to| rules::ratio(&measured.rules, of, to);
    let allowed = |family, entries| (if family == 4 { "allowed, v4" } else { "allowed, v6" }, Some(entries));
    let joins = |of| joins::seconds(&measured.joins, "mapped", "IPv4", of);
    let published = |size| {
        let found = measured.nats.iter().find(|published| published.size == size);
        found.map(|published| Ratio { median: published.ratio, low: published.low, high: published.high })
    };
    // Counts, without an error.
    let wakeups = measured.idle.iter().map(|asleep| asleep.idle.wakeups_per_second).reduce(f64::max);
    vec![
        Target::at_most("IPv6 allowed verdict / IPv4, 1 entry", rule(allowed(6, 1), allowed(4, 1)), 1.3),
        Target::at_most("IPv6 allowed verdict / IPv4, 1,000 entries", rule(allowed(6, 1_000), allowed(4, 1_000)), 1.3),
        Target::at_most(
            "verdict allowed v4 / redirect_only, 1 entry",
            rule(allowed(4, 1), ("redirect_only", None)),
            1.5,
        ),
        Target::at_most(
            "verdict allowed v4, 1,000,000 entries / 1,000",
            rule(allowed(4, 1_000_000), allowed(4, 1_000)),
            1.5,
        ),
        Target::at_most("idle, wake-ups a second, worst mode", wakeups.map(|count| Ratio::within(count, 0.0)), 2.0),
        Target::at_least("NATS, messages of 64 bytes: sink / client alone", published(64), 0.8),
        Target::at_least("NATS, messages of 1,316 bytes: sink / client alone", published(1316), 0.8),
        Target::at_most("10,000 joins one by one, mapped, IPv4, seconds", joins(|seconds| seconds.join), 0.5),
        Target::at_most(
            "10,000 joins in one call, mapped, IPv4, seconds",
            joins(|seconds| seconds.join_all.unwrap_or(f64::NAN)),
            0.5,
        ),
    ]
}

/// The targets of modes copy and socket, and of the filter under a flood.
fn other_modes(measured: &Measured) -> Vec<Target> {
    let ratio = |of: &str, to: &str| measured.throughput.ratio(of, to);
    // Medians of rounds have about this error.
    let by = |of: Option<f64>, to: Option<f64>, share| Some(Ratio::within(of? / to.filter(|to| *to > 0.0)?, share));
    let p99 = |name: &str| measured.latency.get(name).map(|latencies| latencies.common.latency.p99 as f64);
    let flood =
        |name: &str| measured.flood.iter().find(|flood| flood.name == name && flood.others == 99 && !flood.flat_out);
    let wanted = |name: &str| flood(name).map(|flood| Ratio::within(flood.share, 0.0));
    let p99_of_ours = [p99("copy"), p99("copy_busy_poll")].into_iter().flatten().reduce(f64::min);
    vec![
        Target::at_least("copy / xdpsock", ratio("copy", "xdpsock"), 0.97),
        Target::at_least("copy / testpmd", ratio("copy", "testpmd"), 1.15),
        Target::at_least("copy / recvmmsg", ratio("copy", BASE), 5.5),
        Target::at_least("copy_owned / copy", ratio("copy_owned", "copy"), 0.85),
        Target::at_least("copy_blocked / xdp_drop", ratio("copy_blocked", "xdp_drop"), 0.95),
        Target::at_least("copy_blocked / kernel_dropped", ratio("copy_blocked", "kernel_dropped"), 4.0),
        Target::at_least("flood 99:1, copy: share of the wanted", wanted("copy"), 1.0),
        Target::at_most("flood 99:1, recvmmsg: share of the wanted", wanted(BASE), 0.5),
        Target::at_least("socket / recvmmsg", ratio("socket", BASE), 0.97),
        Target::at_most("latency p99, busy poll / recvmmsg, same rate", by(p99_of_ours, p99(BASE), 0.1), 0.5),
    ]
}

fn feeds(measured: &Measured) -> Vec<Target> {
    let streams = |pattern| streams::ratio(&measured.streams, pattern, 10_000);
    vec![
        Target::at_least("feed of two legs, 0.1 % lost on each / plain, mapped", measured.feeds.ratio("mapped"), 0.8),
        Target::at_least("feed of two legs, 0.1 % lost on each / plain, socket", measured.feeds.ratio("socket"), 0.8),
        Target::at_most("cost of a datagram, 10,000 streams in turn / 10", streams(Pattern::InTurn), 1.3),
        Target::at_most("cost of a datagram, 10,000 streams of two legs / 10", streams(Pattern::TwoLegs), 1.3),
        Target::at_most("cost of a datagram, 10,000 streams shuffled / 10", streams(Pattern::Shuffled), 1.3),
        Target::at_most("health of 500 streams of 10 Mbit/s, share of a core", measured.transport.share(), 1.0),
        Target::at_most("allocations per datagram in order", streams::allocations(&measured.streams), 0.0),
    ]
}

fn recording(measured: &Measured) -> Vec<Target> {
    let targets = |payload: usize| {
        let of = |peer: Recorder, limit| {
            let what = format!("recording without loss, {payload} bytes of payload, ours / {}", peer.name());
            Target::at_least(&what, record::ratio(&measured.record, payload, peer), limit)
        };
        [of(Recorder::Dumpcap, 2.0), of(Recorder::Tcpdump, 2.0), of(Recorder::NetsniffNg, 1.5)]
    };
    record::PAYLOADS.into_iter().flat_map(targets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_table_nothing_is_judged() {
        let targets = all(&Measured::default());
        assert!(targets.len() > 20 && targets.iter().all(|target| target.met.is_none()));
    }
}
