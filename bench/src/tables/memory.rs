//! Memory by mode, and per queue and per subscription. The latter two are differences between receivers that have more
//! and fewer of them.

use std::time::Duration;

use anyhow::Result;
use netlab::Lab;
use serde::Serialize;

use crate::child::memory::Memory;
use crate::lab::Bench;
use crate::process::Process;
use crate::report::Table;

const MODES: [&str; 4] = ["socket", "generic", "copy", "mapped"];
const QUEUES: u32 = 4;
const SUBSCRIPTIONS: u32 = 1001;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// A receiver with one queue and one subscription.
    pub least: Memory,
    /// Further memory of each further queue.
    pub queue: f64,
    /// Further memory of each further subscription, in user space.
    pub subscription: f64,
    /// File descriptors of a thousand further subscriptions.
    pub subscription_descriptors: u64,
    /// One queue and one subscription, by mode.
    pub modes: Vec<OfMode>,
}

/// A mode's memory.
#[derive(Clone, Debug, Serialize)]
pub struct OfMode {
    pub name: &'static str,
    #[serde(flatten)]
    pub memory: Memory,
}

pub fn measure(bench: &Bench) -> Result<Taken> {
    let lab = Lab::builder().queues(QUEUES).build()?;
    let of_mode = |mode: &str, queues: u32, subscriptions: u32| -> Result<Memory> {
        bench.go_on()?;
        let (queues, subscriptions) = (queues.to_string(), subscriptions.to_string());
        let interface = lab.rx_interface();
        let arguments = [
            "memory",
            "--interface",
            interface,
            "--queues",
            &queues,
            "--subscriptions",
            &subscriptions,
            "--mode",
            mode,
        ];
        Process::report(lab.rx(), "the memory table's child", &arguments, PATIENCE)
    };
    let one = |queues, subscriptions| of_mode("copy", queues, subscriptions);
    let (least, queues, subscriptions) = (one(1, 1)?, one(QUEUES, 1)?, one(1, SUBSCRIPTIONS)?);
    let each = |more: Memory, by: u32| (more.resident as f64 - least.resident as f64) / f64::from(by);
    let mut modes = Vec::new();
    for name in MODES {
        match of_mode(name, 1, 1) {
            Ok(memory) => modes.push(OfMode { name, memory }),
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {name}: {error:#}");
            }
        }
    }
    Ok(Taken {
        least,
        queue: each(queues, QUEUES - 1),
        subscription: each(subscriptions, SUBSCRIPTIONS - 1),
        subscription_descriptors: subscriptions.descriptors.saturating_sub(least.descriptors),
        modes,
    })
}

pub fn report(taken: &Taken) -> String {
    let mut text = Table::new(&["what", "KiB", ""]);
    let Taken { least, queue, subscription, subscription_descriptors, modes } = taken;
    let mut line = |what: &str, bytes: f64, note: String| {
        text.line(vec![what.to_owned(), format!("{:.1}", bytes / 1024.0), note]);
    };
    line("one queue, one subscription", least.resident as f64, "resident, packet memory included".to_owned());
    line("  BPF maps", least.maps as f64, "in the kernel, of fixed size".to_owned());
    line("each further queue", *queue, "resident".to_owned());
    let descriptors = format!("resident; {subscription_descriptors} descriptors for a thousand more");
    line("each further subscription", *subscription, descriptors);
    let mut by_mode = Table::new(&["mode", "resident KiB", "BPF maps KiB", "UMEM KiB", "descriptors", ""]);
    for OfMode { name, memory } in modes {
        let kib = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
        by_mode.line(vec![
            (*name).to_owned(),
            kib(memory.resident),
            kib(memory.maps),
            kib(memory.umem),
            memory.descriptors.to_string(),
            String::new(),
        ]);
    }
    format!("Memory, mode copy\n{text}\nMemory of one queue with one subscription, by mode\n{by_mode}")
}
