//! Builds the fuzz targets and runs each for some seconds: a crash fails the step.
//!
//! The step passes the compiler flags of `cargo fuzz` itself, so that the stable compiler suffices. Only
//! AddressSanitizer is an unstable option, which `RUSTC_BOOTSTRAP` allows.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cargo;
use crate::process::{read, run_shown};
use crate::{artifacts, setup, tree};

const MANIFEST: &str = "fuzz/Cargo.toml";
/// How long each target runs.
const SECONDS: u32 = 5;
/// Coverage as libFuzzer reads it, and AddressSanitizer.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Zsanitizer=address",
    "--cfg=fuzzing",
];

/// Runs the step. `--locked`: the lock file of the fuzz targets follows the packages that they test.
pub fn run(root: &Path) -> Result<()> {
    setup::install(&[("c++", "g++")])?;
    // With a target named, cargo builds build scripts and procedural macros without the flags.
    let host = read(cargo(root).args(["-vV"]))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo does not name its host")?;
    let folder = tree::target(root).join("fuzz");
    let mut command = cargo(root);
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    // Optimized a little, with the checks for overflow and the debug assertions of the development profile.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    command.args(["build", "--locked", "--manifest-path", MANIFEST, "--target", host, "--target-dir"]).arg(&folder);
    let programs = artifacts::build_with(&mut command)
        .context("if fuzz/Cargo.lock is out of date: `cargo metadata --manifest-path fuzz/Cargo.toml`")?;
    ensure!(!programs.is_empty(), "{MANIFEST} has no fuzz targets");
    for program in &programs {
        let corpus = folder.join("corpus").join(&program.target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make the folder {}", corpus.display()))?;
        let mut run = Command::new(&program.executable);
        run.arg(format!("-max_total_time={SECONDS}")).args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
        run.arg(format!("-artifact_prefix={}/{}-", folder.display(), program.target)).arg(&corpus);
        run_shown(&mut run).with_context(|| format!("the fuzz target {} failed", program.target))?;
    }
    println!("{} fuzz targets ran for {SECONDS} s each.", programs.len());
    Ok(())
}
