//! promtool over the alert rules with their tests, and over the metrics of a receiver that runs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::privilege::Elevation;
use crate::process::run_shown;
use crate::{artifacts, promtool};

/// The test that scrapes a receiver.
const TEST: &str = "promtool_accepts_the_metrics";

/// Runs the step.
pub fn run(root: &Path) -> Result<()> {
    let program = promtool::find(root).context("promtool is missing: run `cargo xtask setup`")?;
    let rules = root.join("deploy/prometheus");
    for arguments in [["check", "rules", "receiver.rules.yml"], ["test", "rules", "receiver.test.yml"]] {
        run_shown(Command::new(&program).current_dir(&rules).args(arguments))?;
    }
    let built =
        artifacts::build(root, &["test", "--locked", "--package", "receiver-cli", "--test", "metrics", "--no-run"])?;
    let test = built.iter().find(|artifact| artifact.is_test).context("cargo has built no test")?;
    let elevation = Elevation::require("scraping a receiver in a network namespace")?;
    let variables: [(&str, &OsStr); 2] =
        [("PROMTOOL", program.as_os_str()), ("CARGO_MANIFEST_DIR", test.package.as_os_str())];
    let mut command = elevation.command(&test.executable, &variables);
    command.current_dir(&test.package).args(["--exact", TEST]);
    run_shown(&mut command)
}
