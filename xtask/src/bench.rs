//! `cargo xtask bench`: builds the benchmark, installs the peers that are missing, and runs it as root.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::artifacts;
use crate::interrupt;
use crate::privilege::{Elevation, passed_on};
use crate::process::shown;
use crate::{setup, tree};

/// The benchmark's package, and its program.
const PACKAGE: &str = "receiver-bench";
/// Programs that it measures or asks, and Debian's packages of them.
const TOOLS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("iperf", "iperf"),
    ("dpdk-testpmd", "dpdk-dev"),
    ("taskset", "util-linux"),
];

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// What the benchmark is given: --quick, --json FILE, --rows NAME,…, --tables NAME,…; --help tells all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root()?;
    let built = artifacts::build(&root, &["build", "--release", "--package", PACKAGE])?;
    let bench = built.into_iter().find(|artifact| artifact.target == PACKAGE);
    let bench = bench.with_context(|| format!("cargo built no program called {PACKAGE}"))?.executable;
    if let Err(error) = setup::install(&TOOLS) {
        // The rows say themselves what they miss.
        println!("Not installed: {error:#}");
    }
    let elevation = Elevation::require("the benchmark (`cargo xtask bench`)")?;
    let variables = passed_on(&["RUST_BACKTRACE", "PATH"]);
    let variables: Vec<_> = variables.iter().map(|(key, value)| (*key, value.as_os_str())).collect();
    let mut command = elevation.command(bench, &variables);
    command.args(&arguments.arguments);
    // Ctrl-C reaches the child as well, which cleans up and says so.
    interrupt::outlive()?;
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(&command)))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
