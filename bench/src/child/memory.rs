//! A receiver's memory: the resident memory of its process, and the kernel's figures for its BPF maps.

use std::fs;

use anyhow::{Context, Result};
use receiver::{ModeRequest, Queues, ReceiveMode, Receiver, ReceiverConfig};
use serde::{Deserialize, Serialize};

use super::{subscribe, write_json};

/// Options of the child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    #[arg(long)]
    queues: u32,
    #[arg(long)]
    subscriptions: u32,
    #[arg(long, default_value = "copy")]
    mode: String,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Resident memory of the receiver.
    pub resident: u64,
    /// Memory of BPF maps, from `memlock` in their fdinfo.
    pub maps: u64,
    /// File descriptors.
    pub descriptors: u64,
    /// Packet memory of the AF_XDP queues (UMEM), resident in part; 0 in modes without AF_XDP.
    #[serde(default)]
    pub umem: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let before = Memory::read()?;
    let builder = Receiver::builder(&arguments.interface)
        .mode(arguments.mode.parse::<ModeRequest>()?)
        .queues(Queues::First(arguments.queues));
    let receiver = subscribe(builder, arguments.subscriptions)?.build()?;
    let after = Memory::read()?;
    let mode = receiver.handle().mode();
    drop(receiver);
    let default = ReceiverConfig::default();
    let has_umem = matches!(mode, ReceiveMode::ZeroCopy | ReceiveMode::Copy);
    let each = u64::from(default.queue_frames(ReceiveMode::Copy)) * u64::from(default.frame_size);
    write_json(&Memory {
        resident: after.resident.saturating_sub(before.resident),
        maps: after.maps.saturating_sub(before.maps),
        descriptors: after.descriptors.saturating_sub(before.descriptors),
        umem: if has_umem { u64::from(arguments.queues) * each } else { 0 },
    })
}

impl Memory {
    fn read() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
        let resident = field(&status, "VmRSS:").context("no VmRSS in /proc/self/status")? << 10;
        let (mut maps, mut descriptors) = (0, 0);
        for entry in fs::read_dir("/proc/self/fdinfo").context("listing /proc/self/fdinfo")?.flatten() {
            descriptors += 1;
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            if info.contains("map_type:") {
                maps += field(&info, "memlock:").unwrap_or(0);
            }
        }
        Ok(Self { resident, maps, descriptors, umem: 0 })
    }
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(field("Name:\tx\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(field("map_type:\t1\nmemlock:\t4096\n", "memlock:"), Some(4096));
        assert_eq!(field("", "VmRSS:"), None);
    }
}
