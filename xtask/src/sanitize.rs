//! `cargo xtask sanitize`: runs tests under AddressSanitizer, ThreadSanitizer and Miri.
//!
//! The sanitizers are unstable options of the compiler, which `RUSTC_BOOTSTRAP` allows; stable toolchains of rustup
//! have their runtimes. The standard library is not instrumented. ThreadSanitizer therefore does not see the order that
//! it makes by fences, and takes a drop of an `Arc` for a race: [`SUPPRESSIONS`] names what is left out for that
//! reason.
//!
//! Miri interprets the tests that ask the kernel for nothing but ordinary memory: [`INTERPRETED`]. It checks each
//! access under Stacked Borrows, and finds data races and leaks. It is some hundred times as slow as the processor, so
//! under `cfg!(miri)` tests take fewer rounds, and those that remain long are ignored. All of them take about 7 minutes
//! on two processors. Miri needs rustup's nightly; the command adds the component. Where there is no nightly, the
//! command prints that, and fails only if Miri was asked for.
//!
//! To try other orders of the threads: `MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-many-seeds=0..8" cargo +nightly miri
//! test --lib --package receiver-xsk between_threads`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::privilege::Elevation;
use crate::process::{read, run_shown, succeeds};
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

/// Crates whose tests Miri runs, the targets of each, and the names that tests must contain; none: all of them.
///
/// These are the crates with unsafe code over ordinary memory, and the parsers.
const INTERPRETED: [(&str, &[&str], &[&str]); 6] = [
    ("receiver-common", &["--lib"], &[]),
    ("receiver-xsk", &["--lib", "--test=positions"], &[]),
    ("receiver-host", &["--lib"], &["link_events::", "bits_and_attributes", "nothing_from_the_kernel"]),
    ("receiver-membership", &["--lib"], &["udp::batch::", "tables::"]),
    ("receiver", &["--lib"], &["program::table::", "paths::checksum::"]),
    ("receiver-feed", &["--lib"], &["protocol::", "fec::", "health::ts::psi", "arbiter::ranges", "arbiter::held"]),
];

/// Cases of each property in Miri.
const CASES: &str = "4";

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
    let all = [Sanitizer::Address, Sanitizer::Thread, Sanitizer::Miri];
    let mut failed = Vec::new();
    for sanitizer in all.into_iter().filter(|one| arguments.sanitizer.is_none_or(|asked| asked == *one)) {
        println!("\n== {}", sanitizer.name());
        let outcome = match sanitizer {
            Sanitizer::Miri => interpreted(&root, arguments.sanitizer.is_some(), &arguments.arguments),
            _ => under(&root, sanitizer, &arguments.arguments),
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

/// Runs tests in Miri. Without Miri an error only if it is required.
fn interpreted(root: &Path, is_required: bool, arguments: &[String]) -> Result<()> {
    if !succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        let remedy = "`rustup toolchain install nightly --profile minimal`";
        ensure!(!is_required, "Miri needs rustup's nightly toolchain, which is not installed; install it: {remedy}");
        println!("Not run: Miri needs rustup's nightly toolchain, which is not installed ({remedy}).");
        return Ok(());
    }
    let add = |component| {
        run_shown(Command::new("rustup").args(["component", "add", "--toolchain", "nightly", component])).is_ok()
    };
    if !["miri", "rust-src"].into_iter().all(|component| is_installed(component) || add(component)) {
        let reason = "some nightlies lack Miri; `rustup update nightly` takes one that has it";
        ensure!(!is_required, "Miri cannot be added to the nightly toolchain: {reason}");
        println!("Not run: Miri cannot be added to the nightly toolchain ({reason}).");
        return Ok(());
    }
    let mut failed = Vec::new();
    for (package, targets, names) in INTERPRETED {
        let mut command = Command::new("rustup");
        // Tests read variables and the time.
        command.current_dir(root).env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", CASES);
        command.args(["run", "nightly", "cargo", "miri", "test", "--locked", "--package", package]).args(targets);
        command.arg("--").args(if arguments.is_empty() { names.to_vec() } else { strings(arguments) });
        if run_shown(&mut command).is_err() {
            failed.push(package);
        }
    }
    ensure!(failed.is_empty(), "tests failed in {}", failed.join(", "));
    Ok(())
}

/// Returns true if rustup's nightly has this component.
fn is_installed(component: &str) -> bool {
    let list = read(Command::new("rustup").args(["component", "list", "--toolchain", "nightly", "--installed"]));
    // With the target behind it, if it is a program.
    list.is_ok_and(|list| list.lines().any(|line| line == component || line.starts_with(&format!("{component}-"))))
}

fn strings(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Runs the tests under a sanitizer of the compiler.
fn under(root: &Path, sanitizer: Sanitizer, arguments: &[String]) -> Result<()> {
    let elevation = Elevation::require("running the tests (`cargo xtask sanitize`)")?;
    setup::install(&setup::TOOLS)?;
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
