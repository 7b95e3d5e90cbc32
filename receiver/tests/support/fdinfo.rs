//! What the kernel shows of this process's descriptors: `/proc/self/fdinfo`.

use std::fs;

/// The text of each descriptor.
pub fn of_this_process() -> impl Iterator<Item = String> {
    // The descriptor by which the directory is read may have ended by then.
    let entries = fs::read_dir("/proc/self/fdinfo").expect("descriptors");
    entries.filter_map(|entry| fs::read_to_string(entry.expect("a descriptor").path()).ok())
}

/// The number behind a label that ends with a colon.
pub fn number(info: &str, label: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}
