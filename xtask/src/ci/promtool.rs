//! promtool over the alert rules with their tests, and over the metrics of a receiver that runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run_shown;
use crate::{promtool, test};

/// The test that scrapes a receiver.
const TEST: &str = "promtool_accepts_the_metrics";

/// Runs the step.
pub fn run(root: &Path) -> Result<()> {
    let program = promtool::find(root).context("promtool is missing: run `cargo xtask setup`")?;
    let rules = root.join("deploy/prometheus");
    for arguments in [["check", "rules", "receiver.rules.yml"], ["test", "rules", "receiver.test.yml"]] {
        run_shown(Command::new(&program).current_dir(&rules).args(arguments))?;
    }
    let arguments = ["--exact", TEST].map(str::to_owned);
    test::target(root, "receiver-cli", "metrics", &[("PROMTOOL", program.as_os_str())], &arguments)
}
