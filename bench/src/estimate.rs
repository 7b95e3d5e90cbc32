//! How long tables take, so that the run can print the time that is left. The figures are from a machine with two CPUs.

use crate::measured::FEWER_ROUNDS;
use crate::rows::{Measures, Row};

/// Seconds of one row in one round of the main table, its start and end included.
const ROUND: f64 = 1.25;
/// Seconds of one search for the highest rates.
const SEARCH: f64 = 14.0;

/// The rows of the tables of sizes and of the receive cost.
const SIZED: [&str; 8] =
    ["recvmmsg", "testpmd", "xdpsock", "mapped", "xsk_read", "copy", "mapped_owned", "mapped_no_checksums"];
const FED: [&str; 11] = [
    "recvmmsg",
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

/// The seconds that a table takes.
pub fn seconds(table: &str, rows: &[&'static Row], rounds: usize, quick: bool) -> f64 {
    let count = rows.len() as f64;
    let delivering = rows.iter().filter(|row| row.measures == Measures::Delivered).count() as f64;
    let chosen = |names: &[&str]| rows.iter().filter(|row| names.contains(&row.name)).count() as f64;
    let (fewer, rounds) = (rounds.min(FEWER_ROUNDS) as f64, rounds as f64);
    match table {
        "throughput" => count * rounds * ROUND,
        "sizes" => 3.0 * fewer * ROUND * chosen(&SIZED),
        "receive_cost" => 5.0 + 2.0 * fewer * chosen(&FED),
        "loss_free" => {
            let repeated = if quick { 0.0 } else { 4.0 * chosen(&["xdpsock", "mapped"]) };
            SEARCH * (delivering + repeated)
        }
        "latency" => 5.0 * delivering,
        "wrong_source" => 0.8 * delivering,
        "pauses" => (if quick { 25.0 } else { 40.0 }) * chosen(&["generic", "xsk_read", "copy", "mapped"]),
        "flood" => {
            if quick {
                40.0
            } else {
                60.0
            }
        }
        "rules" => {
            if quick {
                35.0
            } else {
                45.0
            }
        }
        "burst" => 60.0,
        "control" => {
            if quick {
                15.0
            } else {
                30.0
            }
        }
        "memory" => 10.0,
        "idle" => {
            if quick {
                40.0
            } else {
                60.0
            }
        }
        "joins" => {
            if quick {
                35.0
            } else {
                100.0
            }
        }
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
