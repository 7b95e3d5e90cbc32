//! `cargo deny check` of all workspaces: licences, sources and banned crates. Advisories too, if their database can be
//! fetched.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{run_shown, succeeds};
use crate::setup;

/// The workspaces, by their manifests.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "fuzz/Cargo.toml", "receiver-ebpf/Cargo.toml"];

/// Runs the step.
pub fn run(root: &Path) -> Result<()> {
    let program = setup::find_cargo_deny(root)?.context("cargo-deny is missing: run `cargo xtask setup`")?;
    let check = |checks: &[&str]| {
        for manifest in MANIFESTS {
            let mut command = Command::new(&program);
            command.current_dir(root).args([
                "--log-level",
                "error",
                "--config",
                "deny.toml",
                "--locked",
                "--manifest-path",
                manifest,
            ]);
            run_shown(command.arg("check").args(checks))?;
        }
        Ok(())
    };
    check(&["bans", "licenses", "sources"])?;
    if succeeds(Command::new(&program).current_dir(root).args(["--config", "deny.toml", "fetch", "db"])) {
        return check(&["advisories"]);
    }
    println!("Advisories are not checked: the advisory database cannot be fetched from here.");
    Ok(())
}
