//! Whether a datagram of another source is delivered: half of the datagrams to the group come from a source without a
//! subscription.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::{Generator, Offer};
use crate::peers::testpmd::Settings;
use crate::rows::{AGAIN, Kind, Measures, Row, start};

const RATE: u64 = 200_000;
const LENGTH: Duration = Duration::from_millis(300);
/// Upper bound of the frames that the kernel itself sends on the link meanwhile.
const STRAY: u64 = 20;

/// By row, the datagrams of the other source that were delivered, and the number sent.
pub type WrongSource = BTreeMap<&'static str, (u64, u64)>;

pub fn measure(bench: &Bench, rows: &[&'static Row], testpmd: Settings) -> Result<WrongSource> {
    let mut table = WrongSource::new();
    for row in rows {
        bench.go_on()?;
        if row.measures == Measures::Dropped || row.kind == Kind::Iperf || row.name == AGAIN {
            continue;
        }
        match one(bench, row, testpmd) {
            Ok(found) => {
                table.insert(row.name, found);
            }
            // The main table reports the reason.
            Err(_) => bench.go_on()?,
        }
    }
    Ok(table)
}

fn one(bench: &Bench, row: &Row, testpmd: Settings) -> Result<(u64, u64)> {
    let mut session = start(bench, row, Observation::Source, testpmd)?;
    let before = session.totals()?;
    let generator = Generator::load(bench, &Offer::mixed(1, RATE, LENGTH))?;
    generator.start();
    let offered = generator.finish()?;
    std::thread::sleep(Duration::from_millis(50));
    let after = session.totals()?;
    session.end()?;
    let sent = offered.packets - offered.wanted;
    let others = if row.observes {
        after.others - before.others
    } else {
        let beyond = (after.packets - before.packets).saturating_sub(offered.wanted);
        if beyond <= STRAY { 0 } else { beyond.min(sent) }
    };
    Ok((others, sent))
}
