//! One wanted packet among many that nobody asked for: what share of the wanted is delivered.
//!
//! Here the receiving end's NAPI has a thread on the consumer's CPU, and comes first there. In the other tables it shares the generator's, so that a
//! receiver that is slow to drop slows the flood, and loses nothing by it; a sender across a wire is not slowed. The rate is the
//! highest at which our mode copy delivers all in one of some tries, and the others are offered the same: of theirs the median.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::child::Look;
use crate::lab::Bench;
use crate::offered::{Generator, Offer, keeps};
use crate::peers::Session;
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions};
use crate::rows::{BASE, Kind, Row, find, start};
use crate::sample::drain;

/// Unwanted packets for each wanted one.
const MIXES: [u32; 3] = [1, 9, 99];
/// Consumers that sleep until something comes: the CPU is the NAPI's too.
const OURS: [(&str, &[&str]); 2] =
    [("copy", &["ours", "--mode", "copy", "--wait"]), ("socket", &["ours", "--mode", "socket", "--wait"])];
const PEERS: [&str; 2] = [BASE, "packet_v3"];
/// From more than a queue of 256 frames bears here to what it always does: packets a second.
const RATES: [u64; 7] = [2_500_000, 2_250_000, 2_000_000, 1_750_000, 1_500_000, 1_000_000, 500_000];
/// A rate is given up after so many tries with less than this.
const CLOSE: f64 = 0.8;
const FAR_TRIES: usize = 5;
/// A rate is tried so often, and for so long: a pause of this machine that is longer than the queue's 256 frames spoils a try,
/// whoever receives. There may be thirty a second of more than 128 microseconds here.
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
    /// Flat out, in place of the rate at which mode copy delivers all.
    pub flat_out: bool,
    /// Frames of either kind that the receiving end's queue had no room for.
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
                let mut session = start(&bench, row, Look::Count, Settings::default())?;
                let taken = (0..runs).map(|_| one(&bench, row, session.as_mut(), others, asked));
                let mut taken = taken.collect::<Result<Vec<_>>>()?;
                session.end()?;
                // The one in the middle.
                taken.sort_by(|a, b| a.share.total_cmp(&b.share));
                floods.push(taken.swap_remove(taken.len() / 2));
            }
        }
    }
    floods.sort_by_key(|flood| (flood.flat_out, flood.others));
    Ok(floods)
}

/// The highest rate at which nothing of the wanted is lost, and that run; the lowest there is if none is.
fn highest(bench: &Bench, row: &Row, others: u32) -> Result<(u64, Flood)> {
    let mut last = None;
    for rate in RATES {
        let mut session = start(bench, row, Look::Count, Settings::default())?;
        let mut far = 0;
        for _ in 0..TRIES {
            let flood = one(bench, row, session.as_mut(), others, rate)?;
            // A generator that was paused itself did not offer what was asked for.
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
        "Flood: unwanted sources of the same group, NAPI on the consumer's CPU; at the highest rate at which copy delivers all \
         that is wanted in one of {TRIES} tries of {} ms (of the others: the median of some), and flat out\n{text}",
        LENGTH.as_millis()
    )
}
