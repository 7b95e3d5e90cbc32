//! Words, for standard output that is no terminal: a line at the start, one per interval, and the summary.

use std::io::{self, Write};

use receiver::{Ledger, ReceiveMode, Refused, Verdict, printable};

use super::explanation;
use super::feeds::{interval_line, paragraph};
use super::traits::View;
use crate::errors::one_paragraph;
use crate::figures::{Dropped, Facts, Figures, Flow, Stream, drops};
use crate::sink::SinkReport;
use crate::units::{age, count, short, with_unit};

/// The most subscriptions that a summary in words names. JSON names all.
const MOST_STREAMS: usize = 40;
/// The most feeds that a summary or an interval in words names.
const MOST_FEEDS: usize = 20;

/// Writes lines of words.
pub struct LinesView<W>(pub W);

impl<W: Write> View for LinesView<W> {
    fn start(&mut self, facts: &Facts) -> anyhow::Result<()> {
        writeln!(self.0, "{}, {}", heading(facts), count(facts.subscriptions.len() as u64, "subscription"))?;
        for line in why_not_better(facts) {
            writeln!(self.0, "{line}")?;
        }
        self.0.flush()?;
        Ok(())
    }

    fn interval(&mut self, _: &Facts, figures: &Figures) -> anyhow::Result<()> {
        let total = figures.total;
        writeln!(
            self.0,
            "{:.1} s: {} packets/s, {}{}; {}, {}, {} lost, {} in flight{}",
            figures.elapsed,
            short(total.packet_rate),
            with_unit(total.bit_rate, "bit/s"),
            total.block_rate.map_or_else(String::new, |rate| format!(", {} blocked/s", short(rate))),
            count(total.packets, "packet"),
            blocked(&total),
            figures.ledger.lost(),
            figures.in_flight,
            unaccounted(figures).map_or_else(String::new, |text| format!(", {text}")),
        )?;
        for feed in figures.feeds.iter().take(MOST_FEEDS) {
            writeln!(self.0, "{}", interval_line(feed))?;
        }
        more_feeds(&mut self.0, figures)?;
        for line in dropped_for_readers(&figures.dropped) {
            writeln!(self.0, "{line}")?;
        }
        self.0.flush()?;
        Ok(())
    }

    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        write_summary(&mut self.0, facts, figures)?;
        Ok(())
    }
}

/// Interface, mode and queues in one line.
pub fn heading(facts: &Facts) -> String {
    let queues = match facts.queues.as_slice() {
        [] => String::new(),
        [one] => format!(", queue {one}"),
        many => format!(", queues {}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    };
    let fallback = if has_fallen_back(facts) { " (XDP is not available)" } else { "" };
    let shared = if facts.share { ", shared with the kernel" } else { "" };
    format!("{}: mode {}{fallback}{shared}{queues}", printable(&facts.interface, 64), facts.mode)
}

/// Returns true if kernel sockets stand in for XDP.
fn has_fallen_back(facts: &Facts) -> bool {
    facts.mode == ReceiveMode::Socket && !facts.refused.is_empty()
}

/// A line for each reason why a faster mode was refused. After a fallback from XDP, the warning has named them already.
pub fn why_not_better(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    let refused = if has_fallen_back(facts) { &[] } else { facts.refused.as_slice() };
    reasons(refused)
}

/// A line for each reason against modes.
pub fn reasons(refused: &[Refused]) -> impl Iterator<Item = String> + '_ {
    Refused::by_reason(refused).map(|(modes, reason)| format!("not {modes}: {}", one_paragraph(reason)))
}

/// Writes the summary of a run in words.
pub fn write_summary(out: &mut impl Write, facts: &Facts, figures: &Figures) -> io::Result<()> {
    let total = figures.total;
    writeln!(
        out,
        "{}, {:.1} s: {} with {} of payload ({} packets/s, {}), {}, {} lost, {} unaccounted",
        heading(facts),
        figures.elapsed,
        count(total.packets, "packet"),
        with_unit(total.bytes as f64, "B"),
        short(total.packet_rate),
        with_unit(total.bit_rate, "bit/s"),
        blocked(&total),
        figures.ledger.lost(),
        figures.ledger.unaccounted(),
    )?;
    let shown = busiest(&figures.streams, MOST_STREAMS);
    for stream in &shown {
        let last = match stream.last_seconds_ago {
            Some(seconds) => format!("last {} ago", age(seconds)),
            None => "nothing came".to_owned(),
        };
        writeln!(
            out,
            "  {}: {}, {}, {}, {last}",
            stream.subscription,
            count(stream.flow.packets, "packet"),
            with_unit(stream.flow.bytes as f64, "B"),
            blocked(&stream.flow),
        )?;
    }
    if shown.len() < figures.streams.len() {
        let silent = figures.streams.iter().filter(|stream| stream.last_seconds_ago.is_none()).count();
        let more = figures.streams.len() - shown.len();
        writeln!(out, "  and {more} subscriptions with fewer packets; to {silent} of all nothing came")?;
    }
    for line in figures.feeds.iter().take(MOST_FEEDS).flat_map(paragraph) {
        writeln!(out, "{line}")?;
    }
    more_feeds(out, figures)?;
    explanation::write(out, &figures.evidence, figures.streams.len())?;
    let dropped = drops(&figures.ledger);
    if !dropped.is_empty() {
        writeln!(out, "dropped: {}", listed(dropped))?;
    }
    let kernel_only = figures.ledger.kernel_only();
    if facts.share && kernel_only > 0 {
        let frames = count(kernel_only, "multicast frame");
        writeln!(out, "shared: {frames} passed to other programs only: fragments, IP options, or longer than a frame")?;
    }
    writeln!(out, "ledger: {}", listed(figures.ledger.causes().filter(|(_, count)| *count > 0)))?;
    if let Some(probe) = &figures.probe {
        writeln!(out, "probe: {probe}")?;
    }
    if let Some(unlogged) = figures.ledger.unlogged() {
        writeln!(out, "trace: {} not logged", of_verdicts(unlogged, &figures.ledger))?;
    }
    for line in dropped_for_readers(&figures.dropped) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn more_feeds(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    match figures.feeds.len().saturating_sub(MOST_FEEDS) {
        0 => Ok(()),
        more => writeln!(out, "and {}", count(more as u64, "more feed")),
    }
}

/// `0 of 7 verdicts were`.
fn of_verdicts(some: u64, ledger: &Ledger) -> String {
    let all = Verdict::ALL.into_iter().map(|verdict| ledger.verdict(verdict)).sum();
    format!("{some} of {} {}", count(all, "verdict"), if all == 1 { "was" } else { "were" })
}

/// A line for each kind of reader that did not read, and for each sink that failed.
fn dropped_for_readers(dropped: &Dropped) -> impl Iterator<Item = String> {
    let line = |what: &str, number: u64, unit: &str, done: &str| {
        let dropped = count(number, unit);
        (number > 0).then(|| format!("{what}: {dropped} not {done}: the reader did not take everything"))
    };
    let failures: u64 = dropped.sinks.iter().map(|sink| sink.failures).sum();
    let output = line("output", dropped.output() - failures, "datagram", "written");
    let display = line("display", dropped.display, "update", "shown");
    let log = line("log", dropped.log, "line", "written");
    let failed = |sink: &SinkReport| {
        let (name, dropped) = (&sink.name, count(sink.failures, "datagram"));
        let reason = sink.last_error.as_deref().unwrap_or("writing failed");
        (sink.failures > 0).then(|| format!("output {name}: {dropped} not written: {reason}"))
    };
    let failed: Vec<String> = dropped.sinks.iter().filter_map(failed).collect();
    [output, display, log].into_iter().flatten().chain(failed)
}

/// The number of frames without a cause, if it is known and not 0.
pub fn unaccounted(figures: &Figures) -> Option<String> {
    figures.unaccounted.filter(|&count| count > 0).map(|count| format!("{count} unaccounted"))
}

/// The number of frames that were dropped because of their source.
fn blocked(flow: &Flow) -> String {
    flow.blocked.map_or_else(|| "blocked not known in this mode".to_owned(), |blocked| format!("{blocked} blocked"))
}

/// Causes with their counts, separated by commas.
pub fn listed(causes: impl IntoIterator<Item = (&'static str, u64)>) -> String {
    let parts: Vec<String> = causes.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// Up to `most` streams: those with the most packets, in their order.
fn busiest(streams: &[Stream], most: usize) -> Vec<&Stream> {
    let mut order: Vec<usize> = (0..streams.len()).collect();
    if streams.len() > most {
        order.sort_by_key(|&at| std::cmp::Reverse(streams[at].flow.packets));
        order.truncate(most);
        order.sort_unstable();
    }
    order.into_iter().map(|at| &streams[at]).collect()
}
