//! `cargo xtask torture`: builds the receiver and the torturer, and starts the latter as root.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::artifacts;
use crate::interrupt;
use crate::preflight;
use crate::privilege::Elevation;
use crate::process::read;
use crate::tree;

/// The torturer's package, and its program.
const PACKAGE: &str = "receiver-torture";
/// The package of the command under test, and its program.
const COMMAND: [&str; 2] = ["receiver-cli", "receiver"];

/// The first seed in CI.
const FIXED_SEED: u64 = 17;
/// Minutes of each seed in CI.
const CI_MINUTES: &str = "1.5";

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Options: --minutes N, --seed S, --episode SEED, --keep NUMBERS; `-- --help` prints all of them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command. The build has debug assertions, so that an overflow is a panic.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    start(&tree::root()?, &arguments.arguments)
}

/// The step of CI: half of the time with the fixed seed, half with the seed of the commit. Each commit has its own
/// seed, and a failure of CI can be repeated.
pub fn check(root: &Path) -> Result<()> {
    let commit = read(Command::new("git").current_dir(root).args(["rev-parse", "HEAD"]));
    let seed = commit.ok().and_then(|commit| u64::from_str_radix(commit.get(..12)?, 16).ok());
    for seed in [FIXED_SEED, seed.unwrap_or(u64::from(std::process::id()))] {
        let arguments = ["--minutes", CI_MINUTES, "--seed", &seed.to_string()].map(str::to_owned);
        ensure!(start(root, &arguments)? == ExitCode::SUCCESS, "an episode of seed {seed} failed");
    }
    Ok(())
}

fn start(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let what = "the torture (`cargo xtask torture`)";
    preflight::programs(root, what, true)?;
    let elevation = Elevation::require(what)?;
    preflight::namespaces(Some(elevation))?;
    let built = artifacts::build(root, &["build", "--package", PACKAGE, "--package", COMMAND[0]])?;
    let torturer = artifacts::named(&built, PACKAGE)?;
    let mut command = elevation.command_passing(torturer, &["RUST_BACKTRACE", "PATH", "TMPDIR"]);
    interrupt::run(command.arg("--receiver").arg(artifacts::named(&built, COMMAND[1])?).args(arguments))
}
