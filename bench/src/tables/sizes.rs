//! The main rows by length of the payload: at full rate, in rounds, as in the main table.

use anyhow::Result;
use receiver_send::probe::PROBE_LEN;
use serde_json::{Value, json};

use crate::lab::Bench;
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions, ratio};
use crate::rows::{BASE, Row, find, of_table};
use crate::statistics::{Interval, Ratio, interval};
use crate::tables::throughput::Throughput;

/// Compared rows are adjacent.
pub const ROWS: [&str; 8] =
    [BASE, "testpmd", "xdpsock", "mapped", "xsk_read", "copy", "mapped_owned", "mapped_no_checksums"];
/// Bytes of payload: a frame of 64 bytes, a medium one, and seven packets of MPEG transport stream.
const PAYLOADS: [usize; 3] = [PROBE_LEN, 300, 1316];

/// One table for each length of payload.
#[derive(Debug, Default)]
pub struct Sizes(Vec<(usize, Throughput)>);

/// Measures those of `rows` that belong to this table.
pub fn measure(bench: &Bench, rows: &[&'static Row], rounds: usize, testpmd: Settings) -> Result<Sizes> {
    let rows = of_table(&ROWS, rows);
    let mut tables = Vec::new();
    for payload in PAYLOADS {
        eprintln!("  payload {payload}");
        tables.push((payload, Throughput::measure_with(bench, &rows, rounds, payload, testpmd)?));
    }
    Ok(Sizes(tables))
}

impl Sizes {
    /// The ratio of two rows at a length of payload.
    pub fn ratio(&self, of: &str, to: &str, payload: usize) -> Option<Ratio> {
        self.0.iter().find(|(bytes, _)| *bytes == payload)?.1.ratio(of, to)
    }

    /// A row's rate in packets per second, by length of payload.
    pub fn rates(&self, name: &str) -> Vec<(usize, Interval)> {
        self.0.iter().filter_map(|(payload, table)| Some((*payload, interval(&table.rates(name))?))).collect()
    }

    pub fn json(&self) -> Value {
        let row = |table: &Throughput, name: &str| {
            if let Some(reason) = table.missing.get(name) {
                return Some(json!({ "name": name, "not_available": reason }));
            }
            let medians = table.medians(name)?;
            let rates = interval(&table.rates(name))?;
            Some(json!({
                "name": name,
                "packets_per_second": medians.packets_per_second.round(),
                "between": [rates.low.round(), rates.high.round()],
                "to_xdpsock": table.ratio(name, "xdpsock").map(|ratio| ratio.median),
                "to_xdpsock_between": table.ratio(name, "xdpsock").map(|ratio| [ratio.low, ratio.high]),
                "loss": medians.loss_share,
                "loss_by_cause": medians.loss,
                "unaccounted": medians.unaccounted,
                "rounds": table.rates(name),
            }))
        };
        let tables = self.0.iter().map(|(payload, table)| {
            let rows: Vec<Value> = ROWS.iter().filter_map(|name| row(table, name)).collect();
            json!({ "payload_bytes": payload, "frame_bytes": payload + 42, "rows": rows })
        });
        tables.collect()
    }
}

pub fn report(sizes: &Sizes) -> String {
    let head: Vec<String> = PAYLOADS.iter().map(|payload| format!("{payload} bytes M/s")).collect();
    let mut words = vec!["row"];
    for name in &head {
        words.extend([name.as_str(), "of xdpsock", "lost %", "unaccounted"]);
    }
    words.push("");
    let mut text = Table::new(&words);
    for row in ROWS.iter().filter_map(|name| find(name)) {
        if sizes.0.iter().all(|(_, table)| table.medians(row.name).is_none()) {
            continue;
        }
        let mut line = vec![row.name.to_owned()];
        for (_, table) in &sizes.0 {
            match table.medians(row.name) {
                Some(medians) => line.extend([
                    millions(medians.packets_per_second),
                    if row.name == "xdpsock" { "1.00".to_owned() } else { ratio(table.ratio(row.name, "xdpsock")) },
                    format!("{:.2}", 100.0 * medians.loss_share),
                    medians.unaccounted.to_string(),
                ]),
                None => line.extend(["-", "-", "-", "-"].map(str::to_owned)),
            }
        }
        line.push(row.about.to_owned());
        text.line(line);
    }
    format!("Delivered, by bytes of payload\n{text}")
}
