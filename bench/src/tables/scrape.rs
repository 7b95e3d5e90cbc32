//! What a scrape of the metrics takes with 10,000 subscriptions, each with labels of its own, and what it costs the
//! receiver: its rate at full load, alone and while it is scraped every second. The worker and the thread that answers
//! share one CPU.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netlab::Namespace;
use serde::Serialize;

use crate::lab::{Bench, CONSUMER_CPU};
use crate::offered::{Generator, Offer};
use crate::process::{Process, receiver};
use crate::report::Table;
use crate::statistics::median;

const SUBSCRIPTIONS: u32 = 10_000;
const MODES: [&str; 2] = ["copy", "mapped"];
const PORT: u16 = 9100;
/// Scrapes at rest.
const TIMES: usize = 20;
/// The time at full load, and from one scrape to the next.
const LOAD: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_secs(1);
/// Joining 10,000 groups takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The results of one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Scraped {
    pub name: &'static str,
    pub subscriptions: u32,
    pub bytes: usize,
    /// From the connection to the last byte, at rest: median and longest.
    pub milliseconds: f64,
    pub longest_milliseconds: f64,
    /// The part of it in which the counters are read: median.
    pub reading_milliseconds: f64,
    /// Delivered packets per second at full load: medians.
    pub alone: f64,
    pub scraped: f64,
}

/// Measures in a lab of its own, since the kernel goes on sending reports of what was joined.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Scraped>> {
    let mut table = Vec::new();
    for mode in MODES {
        bench.go_on()?;
        match one(&Bench::new(Arc::clone(&bench.stop))?, mode, rounds) {
            Ok(row) => table.push(row),
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {mode}: {error:#}");
            }
        }
    }
    Ok(table)
}

fn one(bench: &Bench, mode: &'static str, rounds: usize) -> Result<Scraped> {
    let program = receiver()?;
    let list = List::write()?;
    let (program, list) = (program.to_string_lossy(), list.0.to_string_lossy());
    let (cpu, port, limit) = (CONSUMER_CPU.to_string(), PORT.to_string(), SUBSCRIPTIONS.to_string());
    let arguments = [
        ["supervise", "--cpu", &cpu, "--", &program, "run", "--interface", bench.lab.rx_interface()].as_slice(),
        &["--mode", mode, "--subscriptions", &list, "--json", "--interval", "100000"],
        &["--metrics", &port, "--metrics-subscriptions", &limit],
    ]
    .concat();
    let mut process = Process::start(bench.lab.rx(), "receiver run", &arguments)?;
    process.line_with("\"start\"", PATIENCE)?;
    let inside = bench.lab.rx();
    let at_rest: Vec<Answer> = (0..TIMES).map(|_| scrape(inside)).collect::<Result<_>>()?;
    let (mut alone, mut scraped) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bench.go_on()?;
        alone.push(rate(bench, false)?);
        scraped.push(rate(bench, true)?);
    }
    let of = |of: fn(&Answer) -> f64| at_rest.iter().map(of).collect::<Vec<_>>();
    let times = of(|answer| answer.milliseconds);
    let row = Scraped {
        name: mode,
        subscriptions: SUBSCRIPTIONS,
        bytes: at_rest.last().map_or(0, |answer| answer.text.len()),
        milliseconds: median(&times),
        longest_milliseconds: times.iter().copied().fold(0.0, f64::max),
        reading_milliseconds: median(&of(|answer| answer.value("receiver_scrape_seconds") * 1e3)),
        alone: median(&alone),
        scraped: median(&scraped),
    };
    process.end()?;
    Ok(row)
}

/// Delivered packets per second at full load.
fn rate(bench: &Bench, scraping: bool) -> Result<f64> {
    let delivered = || -> Result<f64> {
        let answer = scrape(bench.lab.rx())?;
        Ok(answer.value("receiver_ledger_frames_total{cause=\"xdp_delivered\"}"))
    };
    let before = delivered()?;
    let generator = Generator::load(bench, &Offer::wanted(0, LOAD))?;
    let over = AtomicBool::new(false);
    let offered = std::thread::scope(|scope| {
        let scraper = scope.spawn(|| -> Result<()> {
            while scraping && !over.load(Ordering::Relaxed) {
                scrape(bench.lab.rx())?;
                sleep(EVERY);
            }
            Ok(())
        });
        generator.start();
        let offered = generator.finish();
        over.store(true, Ordering::Relaxed);
        scraper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        offered
    })?;
    sleep(Duration::from_millis(100));
    Ok((delivered()? - before) / offered.seconds)
}

struct Answer {
    text: String,
    milliseconds: f64,
}

impl Answer {
    /// The value of a sample; 0 if it is absent.
    fn value(&self, sample: &str) -> f64 {
        let mut lines = self.text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.find(|(name, _)| *name == sample).and_then(|(_, value)| value.parse().ok()).unwrap_or(0.0)
    }
}

fn scrape(inside: &Namespace) -> Result<Answer> {
    // The time does not include the start of the thread in the namespace.
    inside.run(|| {
        let start = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", PORT)).context("connecting to the metrics")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        if !text.ends_with("# EOF\n") {
            bail!("the answer is no metrics: {}", text.lines().next().unwrap_or_default());
        }
        Ok(Answer { text, milliseconds })
    })?
}

/// A file with the subscriptions. Dropping this value removes it.
struct List(PathBuf);

impl List {
    fn write() -> Result<Self> {
        let mut text = String::new();
        for number in 0..SUBSCRIPTIONS {
            writeln!(text, "10.0.0.1@232.1.{}.{}:5000", 1 + number / 200, 1 + number % 200)?;
        }
        let this = Self(std::env::temp_dir().join(format!("receiver-bench-{}.subscriptions", std::process::id())));
        std::fs::write(&this.0, text).with_context(|| format!("writing {}", this.0.display()))?;
        Ok(this)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn report(table: &[Scraped]) -> String {
    let mut text = Table::new(&["mode", "scrape ms", "longest", "reading ms", "KiB", "alone Mpps", "scraped Mpps", ""]);
    for row in table {
        text.line(vec![
            row.name.to_owned(),
            format!("{:.1}", row.milliseconds),
            format!("{:.1}", row.longest_milliseconds),
            format!("{:.1}", row.reading_milliseconds),
            format!("{:.0}", row.bytes as f64 / 1024.0),
            format!("{:.3}", row.alone / 1e6),
            format!("{:.3}", row.scraped / 1e6),
            String::new(),
        ]);
    }
    format!(
        "Scrapes of the metrics with {SUBSCRIPTIONS} subscriptions, and the rate while scraped every second\n{text}"
    )
}
