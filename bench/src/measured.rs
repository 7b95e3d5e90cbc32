//! The results of all tables, and how each table is measured.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::lab::Bench;
use crate::report;
use crate::rows::{BASE, Kind, Row};
use crate::tables::burst::{self, Longest};
use crate::tables::control::{self, Control};
use crate::tables::feeds::{self, Feeds};
use crate::tables::flood::{self, Flood};
use crate::tables::idle::{self, Asleep};
use crate::tables::joins::{self, Joins};
use crate::tables::loss_free::{self, LossFree};
use crate::tables::memory::{self, Taken};
use crate::tables::nats::{self, Published};
use crate::tables::pauses::{self, Paused};
use crate::tables::receive_cost::{self, ReceiveCost};
use crate::tables::record;
use crate::tables::replay::{self, Replayed};
use crate::tables::rules::{self, Cost};
use crate::tables::scrape::{self, Scraped};
use crate::tables::sizes::{self, Sizes};
use crate::tables::streams;
use crate::tables::throughput::{Throughput, better_testpmd};
use crate::tables::transport::{self, Transport};
use crate::tables::wrong_source::{self, WrongSource};
use crate::tables::{latency, latency::LatencyTable as Latencies};

/// The tables, in their order.
pub const TABLES: [&str; 21] = [
    "throughput",
    "sizes",
    "receive_cost",
    "wrong_source",
    "loss_free",
    "latency",
    "pauses",
    "flood",
    "rules",
    "burst",
    "control",
    "memory",
    "idle",
    "joins",
    "scrape",
    "feeds",
    "streams",
    "ts",
    "nats",
    "record",
    "replay",
];
/// Rounds of the latencies whose ratio is a target.
const LATENCY_ROUNDS: usize = 9;
/// Most rounds of the tables of sizes and of the receive cost.
pub const FEWER_ROUNDS: usize = 9;

/// The results.
#[derive(Default)]
pub struct Measured {
    pub throughput: Throughput,
    pub sizes: Sizes,
    pub receive_cost: ReceiveCost,
    wrong_source: WrongSource,
    pub loss_free: LossFree,
    pub latency: Latencies,
    pauses: Vec<Paused>,
    pub flood: Vec<Flood>,
    pub rules: Vec<Cost>,
    burst: Vec<Longest>,
    control: Vec<Control>,
    memory: Option<Taken>,
    replay: Vec<Replayed>,
    pub idle: Vec<Asleep>,
    pub joins: Vec<Joins>,
    scrape: Vec<Scraped>,
    pub feeds: Feeds,
    pub streams: Vec<streams::Cost>,
    pub transport: Transport,
    pub nats: Vec<Published>,
    pub record: Vec<record::Row>,
}

impl Measured {
    /// Measures one table, and returns it as text.
    pub fn table(
        &mut self,
        bench: &Bench,
        name: &str,
        rows: &[&'static Row],
        rounds: usize,
        quick: bool,
    ) -> Result<String> {
        let some = if quick { 3 } else { 5 };
        Ok(match name {
            "throughput" => {
                self.throughput = Throughput::measure(bench, rows, rounds)?;
                report::throughput(&self.throughput, rows)
            }
            "sizes" => {
                self.need_testpmd(bench, rows)?;
                self.sizes = sizes::measure(bench, rows, rounds.min(FEWER_ROUNDS), self.throughput.testpmd)?;
                sizes::report(&self.sizes)
            }
            "receive_cost" => {
                self.need_testpmd(bench, rows)?;
                self.receive_cost =
                    receive_cost::measure(bench, rows, rounds.min(FEWER_ROUNDS), self.throughput.testpmd)?;
                receive_cost::report(&self.receive_cost)
            }
            "wrong_source" => {
                self.wrong_source = wrong_source::measure(bench, rows, self.throughput.testpmd)?;
                report::wrong_source(&self.wrong_source, rows)
            }
            "loss_free" => {
                self.need_rates(bench, rows)?;
                self.loss_free = loss_free::measure(bench, rows, &self.throughput, quick)?;
                loss_free::report(&self.loss_free, rows)
            }
            "latency" => {
                if self.loss_free.is_empty() {
                    self.need_rates(bench, rows)?;
                    self.loss_free = loss_free::measure(bench, rows, &self.throughput, true)?;
                }
                self.latency = latency::measure(bench, rows, &self.loss_free, rounds.min(LATENCY_ROUNDS))?;
                latency::report(&self.latency, rows)
            }
            "pauses" => {
                self.pauses = pauses::measure(bench, rows, some)?;
                pauses::report(&self.pauses)
            }
            "flood" => {
                self.flood = flood::measure(bench, some)?;
                flood::report(&self.flood)
            }
            "rules" => {
                self.rules = rules::measure(bench, some)?;
                rules::report(&self.rules)
            }
            "burst" => {
                self.burst = burst::measure(bench, quick)?;
                burst::report(&self.burst)
            }
            "control" => {
                self.control = control::measure(bench, if quick { 10 } else { 25 })?;
                control::report(&self.control)
            }
            "memory" => {
                let taken = memory::measure(bench)?;
                let text = memory::report(&taken);
                self.memory = Some(taken);
                text
            }
            "idle" => {
                self.idle = idle::measure(bench, if quick { 3 } else { 5 })?;
                idle::report(&self.idle)
            }
            "joins" => {
                self.joins = joins::measure(bench, if quick { 1 } else { 3 })?;
                joins::report(&self.joins)
            }
            "scrape" => {
                self.scrape = scrape::measure(bench, if quick { 1 } else { 3 })?;
                scrape::report(&self.scrape)
            }
            "feeds" => {
                self.feeds = feeds::measure(bench, rounds.min(FEWER_ROUNDS))?;
                feeds::report(&self.feeds)
            }
            "streams" => {
                self.streams = streams::measure(bench, rounds)?;
                streams::report(&self.streams)
            }
            "ts" => {
                self.transport = transport::measure(bench, rounds)?;
                transport::report(&self.transport)
            }
            "nats" => {
                self.nats = nats::measure(bench, rounds.min(FEWER_ROUNDS))?;
                nats::report(&self.nats)
            }
            "record" => {
                self.record = record::measure(bench, record::rounds(rounds, quick))?;
                record::report(&self.record)
            }
            "replay" => {
                self.replay = replay::measure(bench, quick)?;
                replay::report(&self.replay)
            }
            other => bail!("there is no table {other}"),
        })
    }

    /// Searches start from the rate of a row at full load.
    fn need_rates(&mut self, bench: &Bench, rows: &[&'static Row]) -> Result<()> {
        if self.throughput.medians(BASE).is_none() {
            self.throughput = Throughput::measure(bench, rows, 1)?;
        }
        Ok(())
    }

    /// Finds testpmd's better settings, unless the main table has found them.
    fn need_testpmd(&mut self, bench: &Bench, rows: &[&'static Row]) -> Result<()> {
        let is_known = self.throughput.medians("testpmd").is_some();
        if !is_known && rows.iter().any(|row| row.kind == Kind::Testpmd) {
            self.throughput.testpmd = better_testpmd(bench)?;
        }
        Ok(())
    }

    /// The results of other tables for a row.
    pub fn more(&self, name: &str) -> Map<String, Value> {
        let mut more = self.loss_free.get(name).map(loss_free::fields).unwrap_or_default();
        if let Some((delivered, sent)) = self.wrong_source.get(name) {
            more.insert("wrong_source_delivered".to_owned(), json!(delivered));
            more.insert("wrong_source_sent".to_owned(), json!(sent));
        }
        if let Some(latencies) = self.latency.get(name) {
            more.insert("latency_nanoseconds".to_owned(), json!(latencies));
        }
        more
    }

    pub fn tables(&self) -> BTreeMap<&'static str, Value> {
        [
            ("sizes", self.sizes.json()),
            ("receive_cost", self.receive_cost.json()),
            ("latency_rounds", json!(self.latency.rounds())),
            ("pauses", json!(self.pauses)),
            ("flood", json!(self.flood)),
            ("rules", json!(self.rules)),
            ("burst", json!(self.burst)),
            ("control", json!(self.control)),
            ("memory", json!(self.memory)),
            ("idle", json!(self.idle)),
            ("joins", json!(self.joins)),
            ("scrape", json!(self.scrape)),
            ("feeds", self.feeds.json()),
            ("streams", json!(self.streams)),
            ("ts", json!(self.transport)),
            ("nats", json!(self.nats)),
            ("record", json!(self.record)),
            ("replay", json!(self.replay)),
        ]
        .into_iter()
        .collect()
    }
}
