//! Memory per queue and per subscription, from the difference between receivers that have more and fewer of them.

use std::time::Duration;

use anyhow::{Context, Result};
use netlab::Lab;
use serde::Serialize;

use crate::child::memory::Memory;
use crate::lab::Bench;
use crate::process::Process;
use crate::report::Table;

const QUEUES: u32 = 4;
const SUBSCRIPTIONS: u32 = 1001;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Taken {
    /// A receiver with one queue and one subscription.
    pub least: Memory,
    /// Further memory of each further queue.
    pub queue: f64,
    /// Further memory of each further subscription, in user space.
    pub subscription: f64,
    /// File descriptors of a thousand further subscriptions.
    pub subscription_descriptors: u64,
}

pub fn measure(bench: &Bench) -> Result<Taken> {
    let lab = Lab::builder().queues(QUEUES).build()?;
    let one = |queues: u32, subscriptions: u32| -> Result<Memory> {
        bench.go_on()?;
        let (queues, subscriptions) = (queues.to_string(), subscriptions.to_string());
        let interface = lab.rx_interface();
        let arguments = ["memory", "--interface", interface, "--queues", &queues, "--subscriptions", &subscriptions];
        let mut process = Process::start(lab.rx(), "the memory table's child", &arguments)?;
        let memory = serde_json::from_str(&process.line(PATIENCE)?).context("the memory table's child")?;
        process.end()?;
        Ok(memory)
    };
    let (least, queues, subscriptions) = (one(1, 1)?, one(QUEUES, 1)?, one(1, SUBSCRIPTIONS)?);
    let each = |more: Memory, by: u32| (more.resident as f64 - least.resident as f64) / f64::from(by);
    Ok(Taken {
        least,
        queue: each(queues, QUEUES - 1),
        subscription: each(subscriptions, SUBSCRIPTIONS - 1),
        subscription_descriptors: subscriptions.descriptors.saturating_sub(least.descriptors),
    })
}

pub fn report(taken: &Taken) -> String {
    let mut text = Table::new(&["what", "KiB", ""]);
    let Taken { least, queue, subscription, subscription_descriptors } = taken;
    let mut line = |what: &str, bytes: f64, note: String| {
        text.line(vec![what.to_owned(), format!("{:.1}", bytes / 1024.0), note]);
    };
    line("one queue, one subscription", least.resident as f64, "resident, packet memory included".to_owned());
    line("  BPF maps", least.maps as f64, "in the kernel, of fixed size".to_owned());
    line("each further queue", *queue, "resident".to_owned());
    let descriptors = format!("resident; {subscription_descriptors} descriptors for a thousand more");
    line("each further subscription", *subscription, descriptors);
    format!("Memory, mode copy\n{text}")
}
