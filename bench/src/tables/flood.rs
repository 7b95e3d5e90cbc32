//! One wanted packet among many unwanted ones: the share of wanted packets that is delivered.
//!
//! In this table the receiving end's NAPI has a thread on the consumer's CPU, with priority there. In the other tables
//! it shares the generator's CPU: a receiver that drops slowly slows the flood and loses nothing, although it would not
//! slow a sender across a wire. The rate is the highest at which mode copy delivers everything in one of several tries.
//! The other receivers are offered the same rate, and their median counts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::{Generator, Offer, keeps};
use crate::peers::Session;
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions};
use crate::rows::{BASE, Kind, Row, find, start};
use crate::sample::drain;

/// Unwanted packets for each wanted one.
const MIXES: [u32; 3] = [1, 9, 99];
/// Consumers sleep until something arrives, since the NAPI uses the same CPU.
const OURS: [(&str, &[&str]); 2] =
    [("copy", &["ours", "--mode", "copy", "--wait"]), ("socket", &["ours", "--mode", "socket", "--wait"])];
const PEERS: [&str; 2] = [BASE, "packet_v3"];
/// Packets per second, from more than a queue of 256 frames can absorb here to what it always absorbs.
const RATES: [u64; 7] = [2_500_000, 2_250_000, 2_000_000, 1_750_000, 1_500_000, 1_000_000, 500_000];
/// A rate is rejected after this number of tries with a smaller share.
const CLOSE: f64 = 0.8;
const FAR_TRIES: usize = 5;
/// Number and duration of the tries at a rate. A pause of this machine that is longer than the queue's 256 frames
/// spoils a try for every receiver. Up to thirty pauses per second are longer than 128 microseconds here.
const TRIES: usize = 24;
const LENGTH: Duration = Duration::from_millis(50);

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Flood {
    pub name: &'static str,
    pub others: u32,
    pub offered_per_second: f64,
    pub wanted: u64,
    pub delivered: u64,
    pub share: f64,
    /// At full rate, instead of the rate at which mode copy delivers everything.
    pub flat_out: bool,
    /// Frames of either kind that the receiving end's queue dropped because it was full.
    pub queue_full: u64,
    pub offered: u64,
}

pub fn measure(bench: &Bench, runs: usize) -> Result<Vec<Flood>> {
    let bench = Bench::with_threaded_napi(Arc::clone(&bench.stop))?;
    let ours = OURS.iter().filter_map(|&(name, words)| Some(Row { kind: Kind::Child(words), ..*find(name)? }));
    let rows: Vec<Row> = ours.chain(PEERS.iter().filter_map(|name| find(name).copied())).collect();
    let mut floods = Vec::new();
    for others in MIXES {
        let (rate, flood) = highest(&bench, &rows[0], others)?;
        floods.push(flood);
        for row in &rows {
            for asked in [rate, 0] {
                if asked == rate && row.name == rows[0].name {
                    continue;
                }
                let mut session = start(&bench, row, Observation::Count, Settings::default())?;
                let taken = (0..runs).map(|_| one(&bench, row, session.as_mut(), others, asked));
                let mut taken = taken.collect::<Result<Vec<_>>>()?;
                session.end()?;
                // The median.
                taken.sort_by(|a, b| a.share.total_cmp(&b.share));
                floods.push(taken.swap_remove(taken.len() / 2));
            }
        }
    }
    floods.sort_by_key(|flood| (flood.flat_out, flood.others));
    Ok(floods)
}

/// The highest rate without a lost wanted packet, and that run; otherwise the lowest rate.
fn highest(bench: &Bench, row: &Row, others: u32) -> Result<(u64, Flood)> {
    let mut last = None;
    for rate in RATES {
        let mut session = start(bench, row, Observation::Count, Settings::default())?;
        let mut far = 0;
        for _ in 0..TRIES {
            let flood = one(bench, row, session.as_mut(), others, rate)?;
            // A generator that was paused itself did not offer the configured rate.
            let as_asked = keeps(flood.offered_per_second, rate as f64);
            if flood.delivered >= flood.wanted && as_asked {
                session.end()?;
                return Ok((rate, flood));
            }
            far += usize::from(flood.share < CLOSE);
            last = Some((rate, flood));
            if far == FAR_TRIES {
                break;
            }
        }
        session.end()?;
    }
    last.ok_or_else(|| anyhow::anyhow!("there is no rate to try"))
}

fn one(bench: &Bench, row: &Row, session: &mut dyn Session, others: u32, rate: u64) -> Result<Flood> {
    bench.go_on()?;
    let before = session.totals()?.packets;
    let generator = Generator::load(bench, &Offer::mixed(others, rate, LENGTH))?;
    generator.start();
    let offered = generator.finish()?;
    drain(session)?;
    let delivered = session.totals()?.packets - before;
    let share = if offered.wanted > 0 { delivered as f64 / offered.wanted as f64 } else { 0.0 };
    let (wanted, offered_per_second) = (offered.wanted, offered.per_second());
    Ok(Flood {
        name: row.name,
        others,
        offered_per_second,
        wanted,
        delivered,
        share,
        flat_out: rate == 0,
        queue_full: offered.queue_full,
        offered: offered.packets,
    })
}

pub fn report(floods: &[Flood]) -> String {
    let mut text = Table::new(&[
        "row",
        "unwanted for 1 wanted",
        "offered M/s",
        "wanted delivered %",
        "of all, lost at the veth's queue %",
        "",
    ]);
    for flood in floods {
        text.line(vec![
            flood.name.to_owned(),
            flood.others.to_string(),
            millions(flood.offered_per_second),
            format!("{:.3}", 100.0 * flood.share),
            format!("{:.2}", 100.0 * flood.queue_full as f64 / flood.offered.max(1) as f64),
            if flood.flat_out { "flat out".to_owned() } else { String::new() },
        ]);
    }
    format!(
        "Flood: unwanted sources of the same group, NAPI on the consumer's CPU; at the highest rate at which copy \
         delivers all \
         that is wanted in one of {TRIES} tries of {} ms (of the others: the median of some), and flat out\n{text}",
        LENGTH.as_millis()
    )
}
