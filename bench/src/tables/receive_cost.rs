//! The cost of receiving alone: each receiver's own program is fed with live frames, directly on the receiving
//! interface. So neither the generator's program nor the transfer over veth is in the measurement.
//!
//! One CPU runs the program and what the kernel does for its action: the copy into the ring, the redirect, or the whole
//! stack. The receiver's consumer runs on the other CPU. The receiving interface's NAPI does not run meanwhile, so the
//! feed is the only producer of a ring. The program is the one attached to the interface (for xdpsock and testpmd the
//! dispatcher of libxdp); a socket's frames pass through a program that returns XDP_PASS. A program in generic mode is
//! fed the same way, so the row shows it without the kernel's generic path around it.
//!
//! Each round feeds short bursts, which every ring can hold, and then frames without a pause. The bursts show the cost
//! of a frame that is delivered. Without a pause the consumer is the slower side: that shows the rate that it delivers,
//! and the cost of a frame is then mostly that of one that finds the ring full.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use netlab::Namespace;
use serde_json::{Value, json};

use crate::baseline::{Baseline, DROP_ALL, PASS_ALL};
use crate::child::{Counts, Observation, pin};
use crate::frames;
use crate::lab::{Bench, GENERATOR_CPU, GROUP, PORT, WANTED};
use crate::peers::Session;
use crate::peers::testpmd::Settings;
use crate::report::{self, Table, millions};
use crate::rows::{BASE, Measures, Row, of_table, start};
use crate::sample::drain;
use crate::statistics::{Interval, Ratio, interval, median, ratio};

/// Compared rows are adjacent.
pub const ROWS: [&str; 11] = [
    BASE,
    "socket",
    "generic",
    "testpmd",
    "xdpsock",
    "mapped",
    "xsk_read",
    "copy",
    "mapped_owned",
    "mapped_blocked",
    "xdp_drop",
];
/// Bytes of payload: a frame of 64 bytes.
const PAYLOAD: usize = 22;
/// Frames of a burst: half of the smallest ring.
const BURST: u32 = 1024;
/// Bursts of a round, of which the first fill the caches and do not count.
const BURSTS: usize = 14;
const COLD: usize = 4;
/// The time for the consumer to empty its ring after a burst.
const EMPTY: Duration = Duration::from_millis(2);
/// Frames of the feed that shows how many frames the measured feed takes.
const FIRST: u32 = 100_000;
/// Duration of a measured feed.
const LENGTH: Duration = Duration::from_millis(350);
/// Frames that the kernel itself sends on the link meanwhile: some peers count them too.
const STRAY: u64 = 20;

/// One feed.
#[derive(Clone, Debug)]
struct Fed {
    /// Frames of the feed without a pause, and the mean time of one.
    frames: u64,
    nanoseconds: f64,
    delivered: u64,
    /// The median time of a frame in a burst, and the share of the bursts' frames that was delivered.
    burst_nanoseconds: f64,
    burst_delivered: f64,
    loss: BTreeMap<String, u64>,
    /// Frames that the receiver neither delivered nor counted as lost.
    unaccounted: u64,
}

impl Fed {
    fn per_second(&self) -> f64 {
        let seconds = self.frames as f64 * self.nanoseconds / 1e9;
        if seconds > 0.0 { self.delivered as f64 / seconds } else { 0.0 }
    }
}

/// All feeds, by row and round.
#[derive(Debug, Default)]
pub struct ReceiveCost {
    feeds: BTreeMap<&'static str, Vec<Option<Fed>>>,
    missing: BTreeMap<&'static str, String>,
}

/// Measures those of `rows` that belong to this table.
pub fn measure(bench: &Bench, rows: &[&'static Row], rounds: usize, testpmd: Settings) -> Result<ReceiveCost> {
    let rows = of_table(&ROWS, rows);
    let mut table = ReceiveCost::default();
    for round in 0..rounds {
        for row in &rows {
            bench.go_on()?;
            if table.missing.contains_key(row.name) {
                continue;
            }
            let fed = match one(bench, row, testpmd) {
                Ok(fed) => Some(fed),
                Err(error) => {
                    bench.go_on()?;
                    eprintln!("  {}: round {}: {error:#}", row.name, round + 1);
                    if round == 0 {
                        table.missing.insert(row.name, format!("{error:#}"));
                        continue;
                    }
                    None
                }
            };
            if let Some(fed) = &fed {
                let (rate, cost) = (fed.per_second() / 1e6, fed.nanoseconds);
                eprintln!("  round {} {:19} {rate:6.3} M/s, {cost:.0} ns a frame", round + 1, row.name);
            }
            let feeds = table.feeds.entry(row.name).or_default();
            feeds.resize(round, None);
            feeds.push(fed);
        }
    }
    Ok(table)
}

fn one(bench: &Bench, row: &Row, testpmd: Settings) -> Result<Fed> {
    let mut session = start(bench, row, Observation::Count, testpmd)?;
    let namespace = bench.lab.rx();
    let interface = namespace.interface_index(bench.lab.rx_interface())?;
    let frame = frames::v4_with_payload(WANTED, GROUP, PORT, PAYLOAD);
    // A socket has no program, and the ceiling's needs no interface.
    let mut baseline = match row.name {
        BASE | "socket" => Some(Baseline::load(PASS_ALL)?),
        "xdp_drop" => Some(Baseline::load(DROP_ALL)?),
        _ => None,
    };
    let program = match &mut baseline {
        Some(baseline) => baseline.descriptor()?,
        None => attached(namespace, bench.lab.rx_interface())?,
    };
    let feed = |count: u32| -> Result<u32> {
        let fed = namespace.run(|| -> Result<u32> {
            pin(GENERATOR_CPU)?;
            Ok(netlab::feed_live(program.as_fd(), interface, &frame, count)?.nanoseconds)
        })?;
        fed.context("the kernel refused to feed the program with live frames")
    };
    let start = session.totals()?.packets;
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        bursts.push(f64::from(feed(BURST)?));
        sleep(EMPTY);
    }
    drain(session.as_mut())?;
    let in_bursts = session.totals()?.packets - start;
    let first = feed(FIRST)?.max(1);
    drain(session.as_mut())?;
    let before = session.totals()?;
    let frames = (LENGTH.as_nanos() as u32 / first).max(FIRST);
    let nanoseconds = feed(frames)?;
    drain(session.as_mut())?;
    let after = session.totals()?;
    let own = end(session, bench)?;
    let mut fed = compare(row, frames.into(), nanoseconds.into(), &before, &after);
    let all_bursts = BURST as f64 * BURSTS as f64;
    fed.burst_nanoseconds = median(&bursts[COLD..]);
    fed.burst_delivered = (in_bursts as f64 / all_bursts).min(1.0);
    if row.measures == Measures::Dropped {
        fed.burst_delivered = 1.0;
    }
    if let (Some(own), "xdpsock") = (own, row.name) {
        // The interface's counters have what its NAPI saw, and not these frames. Its own report has the packets of all
        // feeds, at the end alone. So its share of all of them counts; it does not count what it lost.
        let all = all_bursts + f64::from(FIRST) + fed.frames as f64;
        fed.delivered = (fed.frames as f64 * (own as f64 / all).min(1.0)) as u64;
        fed.burst_delivered = f64::NAN;
        fed.loss = [("not_delivered".to_owned(), fed.frames - fed.delivered)].into();
        fed.unaccounted = 0;
    }
    Ok(fed)
}

/// Ends a receiver. xdpsock reports its packets once a second, and at the end.
fn end(session: Box<dyn Session + '_>, bench: &Bench) -> Result<Option<u64>> {
    bench.go_on()?;
    sleep(Duration::from_millis(20));
    session.end()
}

/// The XDP program that is attached to an interface.
fn attached(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    let listing = namespace.ip(&["-json", "-details", "link", "show", "dev", interface])?;
    let id = program_id(&listing).with_context(|| format!("no XDP program is attached to {interface}"))?;
    let program = loaded_programs().flatten().find(|program| program.id() == id);
    let program = program.with_context(|| format!("the XDP program with id {id} is gone"))?;
    let opened = program.fd().with_context(|| format!("opening the XDP program with id {id}"))?;
    Ok(opened.as_fd().try_clone_to_owned()?)
}

/// The id in the listing of one interface by ip(8).
fn program_id(listing: &str) -> Option<u32> {
    let links: Value = serde_json::from_str(listing).ok()?;
    links.get(0)?.get("xdp")?.get("prog")?.get("id")?.as_u64()?.try_into().ok()
}

fn compare(row: &Row, frames: u64, nanoseconds: f64, before: &Counts, after: &Counts) -> Fed {
    let since = |name: &String, count: u64| count - before.loss.get(name).copied().unwrap_or(0).min(count);
    let loss: BTreeMap<String, u64> = after
        .loss
        .iter()
        .map(|(cause, &count)| (cause.clone(), since(cause, count)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let counted = after.packets - before.packets;
    let is_dropping = row.measures == Measures::Dropped;
    let delivered = if is_dropping { frames } else { counted.min(frames) };
    let explained = counted + loss.values().sum::<u64>();
    let unaccounted = match row.name {
        // It counts nothing, and drops every frame.
        "xdp_drop" => 0,
        _ if is_dropping => frames.abs_diff(after.unwanted - before.unwanted),
        _ if explained >= frames => explained - frames,
        _ => frames - explained,
    };
    let unaccounted = if unaccounted <= STRAY && explained >= frames { 0 } else { unaccounted };
    let unaccounted = unaccounted + after.unaccounted;
    Fed { frames, nanoseconds, delivered, burst_nanoseconds: 0.0, burst_delivered: 0.0, loss, unaccounted }
}

impl ReceiveCost {
    fn values(&self, name: &str, of: fn(&Fed) -> f64) -> Vec<Option<f64>> {
        self.feeds.get(name).into_iter().flatten().map(|fed| fed.as_ref().map(of)).collect()
    }

    /// The nanoseconds of a frame in a burst.
    pub fn costs(&self, name: &str) -> Option<Interval> {
        interval(&self.values(name, |fed| fed.burst_nanoseconds))
    }

    /// A row's delivered packets per second.
    fn rates(&self, name: &str) -> Option<Interval> {
        interval(&self.values(name, Fed::per_second))
    }

    /// The ratio of the rates of two rows, within the rounds.
    fn ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        ratio(&self.values(of, Fed::per_second), &self.values(to, Fed::per_second))
    }

    /// The ratio of the costs of a frame in a burst.
    fn cost_ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        let costs = |name| self.values(name, |fed| fed.burst_nanoseconds);
        ratio(&costs(of), &costs(to))
    }

    fn line(&self, name: &'static str) -> Option<Line> {
        let feeds: Vec<&Fed> = self.feeds.get(name)?.iter().flatten().collect();
        let frames: u64 = feeds.iter().map(|fed| fed.frames).sum();
        let delivered: u64 = feeds.iter().map(|fed| fed.delivered).sum();
        let mut loss = BTreeMap::new();
        for (cause, count) in feeds.iter().flat_map(|fed| &fed.loss) {
            *loss.entry(cause.clone()).or_insert(0) += count;
        }
        let middle = |of: fn(&Fed) -> f64| median(&feeds.iter().map(|fed| of(fed)).collect::<Vec<_>>());
        (frames > 0).then(|| Line {
            nanoseconds: middle(|fed| fed.nanoseconds),
            burst_nanoseconds: middle(|fed| fed.burst_nanoseconds),
            burst_lost: feeds
                .iter()
                .all(|fed| fed.burst_delivered.is_finite())
                .then(|| 1.0 - middle(|fed| fed.burst_delivered)),
            lost_share: 1.0 - delivered as f64 / frames as f64,
            loss,
            unaccounted: feeds.iter().map(|fed| fed.unaccounted).sum(),
        })
    }

    pub fn json(&self) -> Value {
        let row = |name: &&'static str| {
            if let Some(reason) = self.missing.get(name) {
                return Some(json!({ "name": name, "not_available": reason }));
            }
            let (line, rates) = (self.line(name)?, self.rates(name)?);
            let with_interval = |ratio: Ratio| json!({ "ratio": ratio.median, "between": [ratio.low, ratio.high] });
            let to = |other: &str| self.ratio(name, other).map(with_interval);
            Some(json!({
                "name": name,
                "burst_nanoseconds_per_frame": line.burst_nanoseconds,
                "burst_lost": line.burst_lost,
                "burst_cost_to_xdpsock": self.cost_ratio(name, "xdpsock").map(with_interval),
                "nanoseconds_per_frame": line.nanoseconds,
                "packets_per_second": rates.median.round(),
                "between": [rates.low.round(), rates.high.round()],
                "to_recvmmsg": to(BASE),
                "to_xdpsock": to("xdpsock"),
                "loss": line.lost_share,
                "loss_by_cause": line.loss,
                "unaccounted": line.unaccounted,
                "rounds": self.values(name, Fed::per_second),
            }))
        };
        ROWS.iter().filter_map(row).collect()
    }
}

/// A row's medians and sums.
struct Line {
    nanoseconds: f64,
    burst_nanoseconds: f64,
    /// `None` if the receiver does not report it.
    burst_lost: Option<f64>,
    lost_share: f64,
    loss: BTreeMap<String, u64>,
    unaccounted: u64,
}

pub fn report(table: &ReceiveCost) -> String {
    let mut text = Table::new(&[
        "row",
        "burst ns/frame",
        "of xdpsock",
        "lost %",
        "flat out: ns/frame",
        "M/s",
        "of recvmmsg",
        "of xdpsock",
        "lost %",
        "unaccounted",
        "",
    ]);
    for name in ROWS {
        if let Some(reason) = table.missing.get(name) {
            let mut line = vec![name.to_owned()];
            line.extend(["-"; 9].map(str::to_owned));
            line.push(format!("not available: {reason}"));
            text.line(line);
            continue;
        }
        let (Some(line), Some(rates)) = (table.line(name), table.rates(name)) else { continue };
        let note = match name {
            BASE | "socket" => "through a program that returns XDP_PASS".to_owned(),
            "generic" => "the program alone, without the kernel's generic path".to_owned(),
            "xdpsock" => "with the dispatcher of libxdp; it counts no losses".to_owned(),
            "testpmd" => "with the dispatcher of libxdp".to_owned(),
            "xdp_drop" | "mapped_blocked" => "dropped/s".to_owned(),
            _ => String::new(),
        };
        let to =
            |other: &str, ratio: Option<Ratio>| if name == other { "1.00".to_owned() } else { report::ratio(ratio) };
        text.line(vec![
            name.to_owned(),
            format!("{:.0}", line.burst_nanoseconds),
            to("xdpsock", table.cost_ratio(name, "xdpsock")),
            line.burst_lost.map_or_else(|| "-".to_owned(), |lost| format!("{:.2}", 100.0 * lost)),
            format!("{:.0}", line.nanoseconds),
            millions(rates.median),
            to(BASE, table.ratio(name, BASE)),
            to("xdpsock", table.ratio(name, "xdpsock")),
            format!("{:.2}", 100.0 * line.lost_share),
            line.unaccounted.to_string(),
            note,
        ]);
    }
    format!("Receive cost alone: live frames of 64 bytes on the receiving interface\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::find;

    #[test]
    fn the_programs_id_is_read() {
        let listing = r#"[{"ifname":"a","xdp":{"mode":1,"prog":{"id":42,"name":"x","tag":"0"},"attached":[]}}]"#;
        assert_eq!(program_id(listing), Some(42));
        assert_eq!(program_id(r#"[{"ifname":"a"}]"#), None);
    }

    #[test]
    fn every_frame_is_delivered_or_lost() {
        let counts = |packets, full| Counts { packets, loss: [("full".to_owned(), full)].into(), ..Counts::default() };
        let row = find("mapped").expect("there is one");
        let fed = compare(row, 1000, 100.0, &counts(50, 10), &counts(1000, 50));
        assert_eq!((fed.delivered, fed.loss["full"], fed.unaccounted), (950, 40, 10));
        assert!((fed.per_second() - 9_500_000.0).abs() < 1e-3);
        // The kernel's own frames.
        assert_eq!(compare(row, 1000, 100.0, &counts(0, 0), &counts(1003, 0)).unaccounted, 0);
        let blocked = find("mapped_blocked").expect("there is one");
        let after = Counts { unwanted: 990, ..Counts::default() };
        let fed = compare(blocked, 1000, 50.0, &Counts::default(), &after);
        assert_eq!((fed.delivered, fed.unaccounted), (1000, 10));
    }
}
