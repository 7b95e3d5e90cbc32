//! The tables on the terminal.

use std::fmt::Write;

use crate::conditions::Conditions;
use crate::rows::{BASE, Measures, Row};
use crate::statistics::Ratio;
use crate::tables::throughput::Throughput;
use crate::tables::wrong_source::WrongSource;

/// Above this other load in percent, and this share of noise, the numbers are not reliable.
const MOST_LOAD: f64 = 10.0;
const MOST_NOISE: f64 = 0.15;

/// A text table: columns as wide as necessary, the first aligned to the left, the others to the right.
#[derive(Debug, Default)]
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { lines: vec![head.iter().map(|&word| word.to_owned()).collect()] }
    }

    pub fn line(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (nth, line) in self.lines.iter().enumerate() {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                let width = widths[column];
                // The last column holds text.
                if column == 0 || column + 1 == columns {
                    write!(text, "{cell:<width$}  ")?;
                } else {
                    write!(text, "{cell:>width$}  ")?;
                }
            }
            writeln!(f, "{}", text.trim_end())?;
            if nth == 0 {
                writeln!(f, "{}", "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)))?;
            }
        }
        Ok(())
    }
}

/// Packets per second, in millions.
pub fn millions(rate: f64) -> String {
    format!("{:.3}", rate / 1e6)
}

/// A ratio to another row, or a note that there is no difference beyond the noise.
pub fn ratio(ratio: Option<Ratio>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio.may_be(1.0) => format!("{:.2} (no difference)", ratio.median),
        Some(ratio) => format!("{:.2}", ratio.median),
    }
}

pub fn conditions(conditions: &Conditions) -> String {
    let Conditions { kernel, cpu, cores, frame_bytes, rounds, steal_percent, noise, seconds, generator, .. } =
        conditions;
    let load = conditions.other_load_percent;
    let mut text = format!(
        "Linux {kernel}, {cpu}, {cores} cores, steal {steal_percent:.1} %, other load {load:.0} %, frames of \
         {frame_bytes} bytes, \
         {rounds} rounds, {seconds:.0} s.\nNoise ({BASE} against itself in the same round): {:.1} %. Generator \
         {generator}.",
        noise * 100.0
    );
    if load > MOST_LOAD {
        text.push_str("\nThe machine had other load. End it and measure again: these numbers are not reliable.");
    } else if *noise > MOST_NOISE {
        text.push_str(
            "\nThe noise is large, because something else ran at times. Measure again when the machine is idle.",
        );
    }
    text
}

/// The main table.
pub fn throughput(table: &Throughput, rows: &[&'static Row]) -> String {
    let mut text =
        Table::new(&["row", "offered M/s", "M/s", "of recvmmsg", "loss %", "unaccounted", "CPU ns/packet", ""]);
    for row in rows {
        if let Some(reason) = table.missing.get(row.name) {
            let dash = || "-".to_owned();
            let why = format!("not available: {reason}");
            text.line(vec![row.name.to_owned(), dash(), dash(), dash(), dash(), dash(), dash(), why]);
            continue;
        }
        let Some(medians) = table.medians(row.name) else { continue };
        let mut notes = vec![row.about.to_owned()];
        if row.kind == crate::rows::Kind::Testpmd {
            notes.extend(table.got.get(row.name).cloned());
        }
        if row.measures == Measures::Dropped {
            notes.push("dropped/s".to_owned());
        } else if medians.generator_bound {
            notes.push("generator-bound".to_owned());
        }
        let lost: u64 = medians.loss.values().sum();
        if lost > 0 && medians.loss_share >= 0.000_05 {
            let share =
                |(cause, count): (&String, &u64)| format!("{cause} {:.0} %", 100.0 * *count as f64 / lost as f64);
            notes.push(format!("lost to {}", medians.loss.iter().map(share).collect::<Vec<_>>().join(", ")));
        }
        text.line(vec![
            row.name.to_owned(),
            millions(medians.offered_per_second),
            millions(medians.packets_per_second),
            if row.name == BASE { "1.00".to_owned() } else { ratio(medians.ratio) },
            format!("{:.2}", 100.0 * medians.loss_share),
            medians.unaccounted.to_string(),
            format!("{:.0}", medians.cpu_nanoseconds),
            notes.join("; "),
        ]);
    }
    text.to_string()
}

/// Returns true if a datagram of another source was delivered.
pub fn wrong_source(table: &WrongSource, rows: &[&'static Row]) -> String {
    let mut text = Table::new(&["row", "of another source: sent", "delivered", ""]);
    for row in rows {
        let Some((delivered, sent)) = table.get(row.name) else { continue };
        text.line(vec![row.name.to_owned(), sent.to_string(), delivered.to_string(), String::new()]);
    }
    format!("Wrong-source packets delivered\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["row", "M/s", "note"]);
        table.line(vec!["a".into(), "1.5".into(), "x".into()]);
        table.line(vec!["longer".into(), "10.25".into(), "".into()]);
        assert_eq!(table.to_string(), "row       M/s  note\n-------------------\na         1.5  x\nlonger  10.25\n");
    }

    #[test]
    fn ratios_within_noise_are_none() {
        assert_eq!(ratio(Some(Ratio::within(1.02, 0.03))), "1.02 (no difference)");
        assert_eq!(ratio(Some(Ratio::within(1.05, 0.03))), "1.05");
        assert_eq!(ratio(None), "-");
    }
}
