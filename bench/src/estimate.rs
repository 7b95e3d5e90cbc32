//! How long tables take, so that the run can print the time that is left. The figures are from a machine with two CPUs.

use crate::measured::FEWER_ROUNDS;
use crate::rows::{Measures, Row, of_table};
use crate::tables::{loss_free, pauses, receive_cost, record, sizes};

/// Seconds of one row in one round of the main table, its start and end included.
const ROUND: f64 = 1.25;
/// Seconds of one search for the highest rates.
const SEARCH: f64 = 14.0;

/// The seconds that a table takes.
pub fn seconds(table: &str, rows: &[&'static Row], rounds: usize, quick: bool) -> f64 {
    let count = rows.len() as f64;
    let delivering = rows.iter().filter(|row| row.measures == Measures::Delivered).count() as f64;
    let chosen = |names: &[&str]| of_table(names, rows).len() as f64;
    let either = |brief, whole| if quick { brief } else { whole };
    let (fewer, rounds) = (rounds.min(FEWER_ROUNDS) as f64, rounds as f64);
    match table {
        "throughput" => count * rounds * ROUND,
        "sizes" => 3.0 * fewer * ROUND * chosen(&sizes::ROWS),
        "receive_cost" => 5.0 + 2.0 * fewer * chosen(&receive_cost::ROWS),
        "loss_free" => SEARCH * (delivering + either(0.0, 4.0 * chosen(&loss_free::REPEATED))),
        "latency" => 5.0 * delivering,
        "wrong_source" => 0.8 * delivering,
        "pauses" => either(25.0, 40.0) * chosen(&pauses::RINGS.map(|(name, _)| name)),
        "flood" => either(40.0, 60.0),
        "rules" => either(35.0, 45.0),
        "burst" => 60.0,
        "control" => either(15.0, 30.0),
        "memory" => 10.0,
        "idle" => either(40.0, 60.0),
        "joins" => either(35.0, 100.0),
        "scrape" => either(35.0, 70.0),
        "feeds" => 4.0 * fewer * ROUND,
        "streams" => 1.0 + 0.2 * rounds,
        "record" => 170.0 + 110.0 * record::rounds(rounds as usize, quick).saturating_sub(1) as f64,
        "replay" => either(32.0, 185.0),
        "ts" => 1.0 + 0.2 * rounds,
        "nats" => 9.0 * (fewer + 1.0),
        _ => 0.0,
    }
}

/// Minutes and seconds.
pub fn shown(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::TABLES;
    use crate::rows::ROWS;

    #[test]
    fn every_table_has_an_estimate() {
        let rows: Vec<&'static Row> = ROWS.iter().collect();
        for table in TABLES {
            assert!(seconds(table, &rows, 1, true) > 0.0, "{table}");
        }
        assert_eq!(shown(125.4), "2:05");
    }
}
