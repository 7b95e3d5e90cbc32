//! The project's own tests that also run in the guest: those that examine the kernel's behaviour and need few packets.
//!
//! Emulation is tens of times slower than the machine itself, so tests of rates and of long streams are left out.

use std::path::Path;

use anyhow::Result;

use super::boot::{MACS, quoted};
use crate::artifacts::Artifact;

/// Test programs, and parts of the names of the tests to run; all of them if none is named. Making a namespace takes
/// seconds here, so tests that a row covers are left out.
const PROGRAMS: [(&str, &[&str]); 7] = [
    ("xsk", &[]),
    ("verdicts", &["every_frame_of_the_table", "stamp::"]),
    ("membership", &["delivery::filters", "delivery::parts_hear"]),
    ("leases", &["a_consumer_that_lets_nothing_go"]),
    ("generic", &["a_full_ring_is_counted"]),
    ("vlan", &["one_tag", "two_tags"]),
    ("differences", &["storm::random_frames"]),
];
/// Settings of the tests. Random frames are few: 60,000 took 90 s here.
const SETTINGS: &str = "RUST_TEST_THREADS=1 RECEIVER_DIFFERENCES=10000";
/// Upper bound of the run time of one test program, in seconds.
const LIMIT: u32 = 240;

/// A built test program.
pub struct Test {
    name: &'static str,
    artifact: Artifact,
    names: &'static [&'static str],
}

/// Builds the test programs; `build` runs cargo with its arguments.
pub fn build(only: &str, build: impl FnOnce(&[&str]) -> Result<Vec<Artifact>>) -> Result<Vec<Test>> {
    let wanted: Vec<_> = PROGRAMS.into_iter().filter(|(name, _)| name.contains(only)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments = vec![
        "test",
        "--package",
        "receiver",
        "--package",
        "receiver-membership",
        "--package",
        "receiver-xsk",
        "--no-run",
    ];
    arguments.extend(wanted.iter().flat_map(|(name, _)| ["--test", *name]));
    let built = build(&arguments)?;
    let test = |artifact: Artifact| {
        let (name, names) = wanted.iter().copied().find(|(name, _)| artifact.is_test && artifact.target == *name)?;
        Some(Test { name, artifact, names })
    };
    Ok(built.into_iter().filter_map(test).collect())
}

impl Test {
    /// The paths that the script uses: the test program, and its working folder.
    pub fn paths(&self) -> [&Path; 2] {
        [&self.artifact.executable, &self.artifact.package]
    }

    /// The lines of the guest's script. Two lines that the matrix knows enclose the totals that the test program
    /// writes. The kernel's virtio_net may have zero-copy receive.
    pub fn script(&self, has_zero_copy: bool) -> String {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let names: String = self.names.iter().map(|name| format!(" {}", quoted(name))).collect();
        let folder = path(&self.artifact.package);
        format!(
            "echo 'vm-test {0}'\n(cd {folder} && CARGO_MANIFEST_DIR={folder} {SETTINGS}{1} timeout {LIMIT} \
             {2}{names})\n\
             echo \"vm-test-end $?\"\n",
            self.name,
            if has_zero_copy { format!(" RECEIVER_ZERO_COPY={}", MACS.join(",")) } else { String::new() },
            path(&self.artifact.executable),
        )
    }
}
