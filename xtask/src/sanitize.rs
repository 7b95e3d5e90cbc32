//! `cargo xtask sanitize`: runs tests under AddressSanitizer, ThreadSanitizer and Miri.
//!
//! The sanitizers are unstable options of the compiler, which `RUSTC_BOOTSTRAP` allows; stable toolchains of rustup
//! have their runtimes. The standard library is not instrumented. ThreadSanitizer therefore does not see the order that
//! it makes by fences, and takes a drop of an `Arc` for a race: [`SUPPRESSIONS`] names what is left out for that
//! reason.
//!
//! Miri interprets the unit tests that ask the kernel for nothing. It needs a nightly toolchain with Miri; where there
//! is none, the command prints that, and fails only if Miri was asked for.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::privilege::Elevation;
use crate::process::{run_shown, succeeds};
use crate::{artifacts, setup, test, tree};

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// The tool. Default: all, one after the other.
    #[arg(value_enum)]
    sanitizer: Option<Sanitizer>,
    /// Arguments of the test programs, such as a filter by name.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sanitizer {
    /// Memory: use after free, out of bounds, leaks.
    Address,
    /// Data races.
    Thread,
    /// Undefined behavior, by interpretation.
    Miri,
}

/// Crates whose unit tests Miri can run, for the most part.
const INTERPRETED: [&str; 3] = ["receiver-common", "receiver-xsk", "receiver-feed"];

/// Crates whose unit tests run, and the integration tests of each that run too.
const TESTS: [(&str, &[&str]); 7] = [
    ("receiver-common", &[]),
    ("receiver-host", &[]),
    ("receiver-xsk", &["xsk"]),
    ("receiver-membership", &[]),
    ("receiver-feed", &[]),
    ("receiver-send", &[]),
    ("receiver", &["delivery", "leases", "generic", "control"]),
];

/// False reports of ThreadSanitizer, since the standard library is not instrumented.
const SUPPRESSIONS: &str = "race:alloc::sync::Arc\nrace:std::thread\nrace:std::sync\nrace:core::ptr::drop_in_place\n";

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
            Self::Miri => "miri",
        }
    }
}

/// Runs the command. An error if a test failed, or a sanitizer found something.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let elevation = Elevation::require("running the tests (`cargo xtask sanitize`)")?;
    setup::install(&setup::TOOLS)?;
    let all = [Sanitizer::Address, Sanitizer::Thread, Sanitizer::Miri];
    let mut failed = Vec::new();
    for sanitizer in all.into_iter().filter(|one| arguments.sanitizer.is_none_or(|asked| asked == *one)) {
        println!("\n== {}", sanitizer.name());
        let outcome = match sanitizer {
            Sanitizer::Miri => interpreted(&root, arguments.sanitizer.is_some()),
            _ => under(&root, elevation, sanitizer, &arguments.arguments),
        };
        if let Err(error) = outcome {
            println!("error: {}", crate::in_one_line(&error));
            failed.push(sanitizer.name());
        }
    }
    if !failed.is_empty() {
        bail!("failed under: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs unit tests in Miri. Without Miri an error only if it is required.
fn interpreted(root: &Path, is_required: bool) -> Result<()> {
    if !succeeds(Command::new("cargo").args(["+nightly", "miri", "--version"])) {
        let remedy = "`rustup toolchain install nightly --component miri rust-src`";
        ensure!(!is_required, "there is no nightly toolchain with Miri; install one: {remedy}");
        println!("Not run: there is no nightly toolchain with Miri ({remedy}).");
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command.current_dir(root).env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "8");
    command.args(["+nightly", "miri", "test", "--lib"]);
    for package in INTERPRETED {
        command.args(["--package", package]);
    }
    run_shown(&mut command)
}

/// Runs the tests under a sanitizer of the compiler.
fn under(root: &Path, elevation: Elevation, sanitizer: Sanitizer, arguments: &[String]) -> Result<()> {
    let folder = tree::target(root).join("sanitize").join(sanitizer.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let suppressions = folder.join("suppressions");
    fs::write(&suppressions, SUPPRESSIONS).with_context(|| format!("cannot write {}", suppressions.display()))?;
    let flag = format!("-Zsanitizer={}", sanitizer.name());
    let mut flags = vec![flag.as_str()];
    if sanitizer == Sanitizer::Thread {
        // The standard library has another ABI then, as the compiler sees it.
        flags.push("-Cunsafe-allow-abi-mismatch=sanitizer");
    }
    let mut command = artifacts::cargo_with_flags(root, "test", &flags, &folder)?;
    command.args(["--no-run", "--lib"]);
    for (package, targets) in TESTS {
        command.args(["--package", package]);
        command.args(targets.iter().flat_map(|target| ["--test", target]));
    }
    let options = format!("suppressions={} halt_on_error=1 second_deadlock_stack=1", suppressions.display());
    let variables: [(&str, &OsStr); 2] =
        [("TSAN_OPTIONS", options.as_ref()), ("ASAN_OPTIONS", "detect_leaks=1".as_ref())];
    test::programs(root, elevation, &artifacts::build_with(&mut command)?, &variables, arguments)
}
