//! The tests that failed, for the end of a long output: each with the message of its panic. CI starts `cargo xtask
//! test` as a process of its own, so they are kept in a file of the target folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::if_there;
use crate::tree;

/// Lines of a panic's message that are kept.
const LINES: usize = 6;
/// Characters of such a line that are kept: a whole ledger would hide the other failures.
const CHARACTERS: usize = 240;

/// The failures of one test program.
#[derive(Debug, Default)]
pub struct Failures {
    failed: Vec<String>,
    /// Messages by the name of the test's thread.
    panics: BTreeMap<String, Vec<String>>,
    /// The test whose message goes on.
    open: Option<String>,
}

impl Failures {
    /// Takes a line of the test program's output, colored or not.
    pub fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            self.failed.extend(name.1.contains("FAILED").then(|| name.0.to_owned()));
        }
        if let Some(name) = line.strip_prefix("thread '").and_then(|rest| rest.split_once('\'')).map(|(name, _)| name) {
            self.open = Some(name.to_owned());
        } else if line.is_empty() || line.starts_with("note: ") || line == "stack backtrace:" {
            self.open = None;
        }
        if let Some(name) = &self.open {
            let message = self.panics.entry(name.clone()).or_default();
            if message.len() < LINES {
                message.push(line.chars().take(CHARACTERS).collect());
            }
        }
    }

    /// Adds them to the file, under the name of the test program.
    pub fn keep(&self, root: &Path, program: &str) -> Result<()> {
        let mut text = String::new();
        for name in &self.failed {
            text.push_str(&format!("{program}: {name}\n"));
            for line in self.panics.get(name).into_iter().flatten() {
                text.push_str(&format!("    {line}\n"));
            }
        }
        add(root, &text)
    }
}

/// Adds lines about other failures to the file.
pub fn add(root: &Path, lines: &str) -> Result<()> {
    let text = fs::read_to_string(path(root)).unwrap_or_default() + lines;
    fs::write(path(root), text).with_context(|| format!("cannot write {}", path(root).display()))
}

fn path(root: &Path) -> PathBuf {
    tree::target(root).join("failures.txt")
}

/// Forgets the failures of earlier runs.
pub fn clear(root: &Path) -> Result<()> {
    if_there(fs::remove_file(path(root))).with_context(|| format!("cannot remove {}", path(root).display()))?;
    Ok(())
}

/// Prints what the file holds.
pub fn show(root: &Path) {
    if let Ok(text) = fs::read_to_string(path(root))
        && !text.is_empty()
    {
        println!("\n{}", text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_its_message() {
        let mut failures = Failures::default();
        for line in [
            "test a::good ... ok",
            "test a::bad ... \u{1b}[31mFAILED\u{1b}[0m",
            "",
            "---- a::bad stdout ----",
            "thread 'a::bad' (7) panicked at src/lib.rs:3:5:",
            &"ä".repeat(1000),
            "note: run with `RUST_BACKTRACE=1`",
            "another line",
        ] {
            failures.take(line);
        }
        assert_eq!(failures.failed, ["a::bad"]);
        assert_eq!(failures.panics["a::bad"][1..], ["ä".repeat(CHARACTERS)]);
    }
}
