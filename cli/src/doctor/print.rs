//! The answer as text and as JSON.

use std::io::{self, Write};

use receiver::printable;
use serde::Serialize;

use super::line::{Line, Outcome};
use super::target::Target;

/// Characters of the longest line. Longer ones repeat somebody's names.
const LONGEST: usize = 2000;

/// How many lines have each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ok: usize,
    pub warn: usize,
    pub fail: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Warn => self.warn += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

/// A line of a check as text: the remedy is on a line of its own, so that it can be copied.
pub fn line(out: &mut impl Write, check: &str, line: &Line) -> io::Result<()> {
    writeln!(out, "{:<7} {check:<12} {}", line.outcome.name(), printable(&line.text, LONGEST))?;
    match &line.remedy {
        Some(remedy) => writeln!(out, "{:<20} $ {}", "", printable(remedy, LONGEST)),
        None => Ok(()),
    }
}

/// The last line of the text.
pub fn counts(out: &mut impl Write, counts: Counts) -> io::Result<()> {
    let Counts { ok, warn, fail, skipped } = counts;
    writeln!(out, "{ok} ok, {warn} warn, {fail} fail, {skipped} skipped")
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'static str,
    interface: &'a str,
    index: u32,
    subscriptions: Vec<String>,
    checks: Vec<ShownLine<'a>>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct ShownLine<'a> {
    check: &'a str,
    outcome: Outcome,
    text: &'a str,
    remedy: Option<&'a str>,
}

/// One object.
pub fn json(out: &mut impl Write, target: &Target, lines: &[(&str, Line)], counts: Counts) -> io::Result<()> {
    let checks = lines
        .iter()
        .map(|(check, line)| ShownLine {
            check,
            outcome: line.outcome,
            text: &line.text,
            remedy: line.remedy.as_deref(),
        })
        .collect();
    let shown = Shown {
        r#type: "doctor",
        interface: target.name(),
        index: target.interface.index,
        subscriptions: target.subscriptions.iter().map(ToString::to_string).collect(),
        checks,
        counts,
    };
    serde_json::to_writer(&mut *out, &shown)?;
    writeln!(out)
}
