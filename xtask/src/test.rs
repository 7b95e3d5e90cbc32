//! `cargo xtask test`: builds all tests as the calling user, and runs them as root, since namespaces, raw sockets and
//! XDP need that.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};

use crate::artifacts::{self, Artifact};
use crate::failures::{self, Failures};
use crate::preflight;
use crate::privilege::{Elevation, passed_on};
use crate::process::shown;
use crate::{setup, tree};

/// Options of the command.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Arguments of the test programs: a filter by name, `--nocapture`, and others.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command. Returns true if there were tests and all passed. The last line of output is `N passed, N failed`.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let root = tree::root()?;
    preflight::programs(&root, "`cargo xtask test`", true)?;
    let elevation = Elevation::require("running the tests (`cargo xtask test`)")?;
    preflight::namespaces(Some(elevation))?;
    setup::install(&setup::TOOLS)?;
    println!(
        "This builds the tests (the first time up to 7 minutes on two processors), and runs them as root in network \
         namespaces of their own ({}).",
        if arguments.arguments.is_empty() { "about 20 minutes" } else { "all of them take about 20 minutes" }
    );
    let mut tests = artifacts::build(&root, &["test", "--workspace", "--no-run"])?;
    tests.retain(|artifact| artifact.is_test);
    failures::clear(&root)?;

    let mut totals = Totals::default();
    let mut failed = Vec::new();
    for test in &tests {
        let name = format!("{} ({})", test.target, test.package.file_name().unwrap_or_default().to_string_lossy());
        println!("\n== {name}");
        let (outcome, failures) = watch(&mut command(elevation, test, &[], &arguments.arguments))?;
        totals.add(outcome);
        failures.keep(&root, &name)?;
        failed.extend((outcome.failed > 0).then_some(name));
    }
    println!("\n== documentation");
    let (outcome, failures) = watch(&mut doc_tests(&root, &arguments.arguments))?;
    failures.keep(&root, "documentation")?;
    totals.add(outcome);
    failed.extend((outcome.failed > 0).then(|| "documentation".to_owned()));

    println!();
    if !failed.is_empty() {
        println!("Tests failed in: {}.", failed.join(", "));
    }
    let any = totals.passed + totals.failed > 0;
    if !any {
        println!("No test was run: does the filter match any?");
    }
    failures::show(&root);
    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(any && totals.failed == 0)
}

/// Runs the tests of one target with these variables and arguments, as root. An error if one failed, or if there were
/// none.
pub fn target(
    root: &Path,
    package: &str,
    target: &str,
    variables: &[(&str, &OsStr)],
    arguments: &[String],
) -> Result<()> {
    let elevation = Elevation::require(&format!("running the tests of {target}"))?;
    let tests = artifacts::build(root, &["test", "--locked", "--package", package, "--test", target, "--no-run"])?;
    programs(root, elevation, &tests, variables, arguments)
}

/// Runs test programs with these variables and arguments, as root. An error if a test failed, or if there were none.
pub fn programs(
    root: &Path,
    elevation: Elevation,
    tests: &[Artifact],
    variables: &[(&str, &OsStr)],
    arguments: &[String],
) -> Result<()> {
    let mut totals = Totals::default();
    for test in tests.iter().filter(|artifact| artifact.is_test) {
        println!("\n== {}", test.target);
        let (outcome, failures) = watch(&mut command(elevation, test, variables, arguments))?;
        totals.add(outcome);
        failures.keep(root, &test.target)?;
    }
    ensure!(totals.failed == 0 && totals.passed > 0, "{} passed, {} failed", totals.passed, totals.failed);
    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(())
}

fn command(elevation: Elevation, test: &Artifact, more: &[(&str, &OsStr)], arguments: &[String]) -> Command {
    let mut variables = passed_on(&["RUST_BACKTRACE", "RUST_LOG", "PROPTEST_CASES", "CI", "RUST_TEST_THREADS"]);
    if !variables.iter().any(|(key, _)| *key == "RUST_TEST_THREADS") {
        variables.push(("RUST_TEST_THREADS", threads().to_string().into()));
    }
    variables.push(("CARGO_MANIFEST_DIR", test.package.clone().into()));
    let mut variables: Vec<(&str, &OsStr)> = variables.iter().map(|(key, value)| (*key, value.as_os_str())).collect();
    variables.extend(more);
    let mut command = elevation.command(&test.executable, &variables);
    command.current_dir(&test.package).args(color()).args(arguments);
    command
}

fn doc_tests(root: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(tree::cargo());
    command.current_dir(root).args(["test", "--quiet", "--workspace", "--doc", "--"]).args(color()).args(arguments);
    command
}

/// Most tests run a sender and a receiver at once, which takes two processors.
fn threads() -> usize {
    available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 8))
}

/// The harness writes to a pipe here, so it would not use colors.
fn color() -> &'static [&'static str] {
    if stdout().is_terminal() { &["--color", "always"] } else { &[] }
}

/// Runs a test program, forwards its output, adds up its totals, and collects its failures.
fn watch(command: &mut Command) -> Result<(Totals, Failures)> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{}`", shown(command)))?;
    let output = child.stdout.take().context("the test program has no standard output")?;
    let (mut totals, mut failures) = (Totals::default(), Failures::default());
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{}` writes", shown(command)))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.add(Totals::parse(&line).unwrap_or_default());
        failures.take(&line);
    }
    let status = child.wait().with_context(|| format!("`{}` ended unexpectedly", shown(command)))?;
    if !status.success() && totals.failed == 0 {
        // It ended before its totals: a crash, or invalid arguments.
        println!("`{}` ended with {status}", shown(command));
        totals.failed = 1;
    }
    Ok((totals, failures))
}

/// Numbers of tests by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Reads a line such as `test result: ok. 7 passed; 0 failed; 0 ignored; …`, colored or not.
    fn parse(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let count = |word: &str| -> Option<u64> {
            counts
                .split(';')
                .find_map(|part| part.trim_end().strip_suffix(word)?.split_whitespace().last()?.parse().ok())
        };
        Some(Self { passed: count(" passed")?, failed: count(" failed")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_harness() {
        let line = "test result: FAILED. 17 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.62s";
        assert_eq!(Totals::parse(line), Some(Totals { passed: 17, failed: 2 }));
        let line = "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 7 passed; 0 failed; 0 ignored";
        assert_eq!(Totals::parse(line), Some(Totals { passed: 7, failed: 0 }));
        assert_eq!(Totals::parse("test totals ... ok"), None);
    }

    #[test]
    fn a_program_that_dies_without_totals_counts_as_failed() {
        let mut crash = Command::new("sh");
        crash.args(["-c", "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; kill -ABRT $$"]);
        assert_eq!(watch(&mut crash).expect("it ran").0, Totals { passed: 3, failed: 1 });
        let mut fine = Command::new("sh");
        fine.args([
            "-c",
            "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; echo 'test result: ok. 2 passed; 0 failed;'",
        ]);
        assert_eq!(watch(&mut fine).expect("it ran").0, Totals { passed: 5, failed: 0 });
    }
}
