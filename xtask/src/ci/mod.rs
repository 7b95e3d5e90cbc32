//! `cargo xtask ci`: everything that a change has to pass.
//!
//! Clippy of the stable compiler checks the XDP programs for the machine's own target: the distribution's compiler has
//! no clippy, and stable Rust has no `core` for the BPF target.

mod crates;
mod deny;
mod promtool;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::minimal_root::{self, MinimalRoot};
use crate::process::{is_root, run_shown, succeeds};
use crate::{build_ebpf, deb, failures, fuzz, sbom, setup, test, torture, tree};

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only the steps with this in their names
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// Steps that are listed by their time.
const SLOWEST: usize = 8;

/// Disk space that all steps take, in GB.
const STEPS_TAKE: u64 = 13;

/// A step: its name, and what it does in the tree.
type Step = (&'static str, fn(&Path) -> Result<()>);

const STEPS: [Step; 25] = [
    ("setup", |_| setup::run(&setup::Arguments { recorded: true })),
    ("formatting", formatting),
    ("structure: cargo test -p xtask --test structure", structure),
    ("dependencies: cargo deny check", deny::run),
    ("clippy", clippy),
    ("clippy, XDP program", clippy_ebpf),
    ("features, each alone", crates::features),
    ("oldest Rust", crates::oldest_rust),
    ("documentation", documentation),
    ("packages: cargo package", crates::packages_for_publication),
    ("models: cargo test -p models", models),
    ("fuzz targets, with a fixed seed", fuzz::check),
    ("alert rules and metrics: promtool", promtool::run),
    ("minimal root", |root| MinimalRoot::make(root).map(drop)),
    // README's two commands, where there is nothing but what README asks for.
    ("tests, in the minimal root: cargo xtask test", |root| minimal(root, &["cargo", "xtask", "test"])),
    ("demonstration, in the minimal root: cargo xtask run", |root| minimal(root, &["cargo", "xtask", "run"])),
    ("demonstration of feeds, in the minimal root: cargo xtask run --demo feeds", |root| {
        minimal(root, &["cargo", "xtask", "run", "--demo", "feeds"])
    }),
    ("demonstration, in the minimal root, as nobody: cargo xtask run", |root| {
        MinimalRoot::make(root)?.run_unprivileged(root)
    }),
    ("torture, 90 s with a fixed seed and 90 s with the seed of the commit", torture::check),
    // After the demonstration, which has built the command.
    ("Debian package, in a fresh root: cargo xtask deb --check", |root| {
        deb::try_in_fresh_root(root, &deb::build(root, "release")?)
    }),
    ("bill of materials: cargo xtask sbom", |root| sbom::write(root, &tree::target(root).join("sbom"))),
    // Not in the minimal root, which has no systemd: its tests there print that and check nothing.
    ("systemd unit, under a systemd of its own", |root| {
        setup::install(&[("systemd-analyze", "systemd")])?;
        test::target(root, "receiver-cli", "systemd", &[], &[])
    }),
    ("virtual machine: cargo xtask vm --kernel 7.3", |root| guest(root, &["--kernel", "7.3"])),
    // Older verifiers refuse what newer ones see through.
    ("oldest kernel: cargo xtask vm --kernel 6.1 --only mode_selection", |root| {
        guest(root, &["--kernel", "6.1", "--only", "mode_selection"])
    }),
    ("XDP object against its source", |_| build_ebpf::run(&build_ebpf::Arguments { check: true })),
];

/// Runs all steps, the later ones also when an earlier one failed. An error if one failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let steps = STEPS.iter().filter(|(name, _)| name.contains(&arguments.only));
    if !is_root() {
        println!("Not root: setup and the tests use sudo.");
    }
    components()?;
    show_free_space(&root);
    failures::clear(&root)?;
    let mut outcomes = Vec::new();
    for &(name, step) in steps {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = step(&root);
        if let Err(error) = &outcome {
            println!("error: {}", crate::in_one_line(error));
        }
        outcomes.push((name, outcome, start.elapsed()));
    }
    println!("\n=== summary");
    show_free_space(&root);
    for (name, outcome, time) in &outcomes {
        println!("{} {:>5.0} s  {name}", if outcome.is_ok() { "ok    " } else { "FAILED" }, time.as_secs_f64());
    }
    slowest(&outcomes);
    failures::show(&root);
    // The very last lines, as a long output may be cut at its beginning.
    let failed: Vec<_> =
        outcomes.iter().filter_map(|(name, outcome, _)| Some((name, outcome.as_ref().err()?))).collect();
    println!();
    for (name, error) in &failed {
        println!("FAILED {name}: {}", crate::in_one_line(error));
    }
    if !failed.is_empty() || outcomes.is_empty() {
        bail!("{} of {} steps failed", failed.len(), outcomes.len());
    }
    Ok(())
}

/// Prints how much room the disk has. A full disk makes compilers fail in ways that do not name it.
fn show_free_space(root: &Path) {
    if let Ok(disk) = rustix::fs::statvfs(root) {
        let free = disk.f_bavail * disk.f_frsize / 1_000_000_000;
        println!("Free disk space: {free} GB. From an empty target folder, all steps take {STEPS_TAKE} GB.");
    }
}

/// Prints the steps that take the longest.
fn slowest(outcomes: &[(&str, Result<()>, Duration)]) {
    let mut times: Vec<_> = outcomes.iter().map(|(name, _, time)| (time.as_secs_f64(), name)).collect();
    let total: f64 = times.iter().map(|(time, _)| time).sum();
    times.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    println!("\nThe slowest steps, of {total:.0} s:");
    for (time, name) in times.iter().take(SLOWEST) {
        println!("{time:>6.0} s  {name}");
    }
}

/// rustfmt and clippy are missing where rustup installed its minimal profile.
fn components() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !succeeds(Command::new(tree::cargo()).args([tool, "--version"])) {
            println!("cargo {tool} is missing.");
            run_shown(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(tree::cargo());
    command.current_dir(root);
    command
}

fn formatting(root: &Path) -> Result<()> {
    run_shown(cargo(root).args(["fmt", "--all", "--", "--check"]))?;
    for manifest in ["receiver-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        run_shown(cargo(root).args(["fmt", "--manifest-path", manifest, "--", "--check"]))?;
    }
    Ok(())
}

fn clippy(root: &Path) -> Result<()> {
    run_shown(cargo(root).args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn clippy_ebpf(root: &Path) -> Result<()> {
    // The release profile, as `panic = "abort"` stands there, and no host program goes without it and std.
    let target = tree::target(root).join("xdp-clippy");
    let mut command = cargo(root);
    command
        .args(["clippy", "--release", "--locked", "--manifest-path", "receiver-ebpf/Cargo.toml", "--target-dir"])
        .arg(target);
    run_shown(command.args(["--", "-D", "warnings"]))
}

fn documentation(root: &Path) -> Result<()> {
    run_shown(cargo(root).args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Prints which crate knows which.
fn structure(root: &Path) -> Result<()> {
    run_shown(cargo(root).args(["test", "--locked", "--package", "xtask", "--test", "structure", "--", "--nocapture"]))
}

/// Loom's models of the protocols between threads.
fn models(root: &Path) -> Result<()> {
    run_shown(cargo(root).args(["test", "--locked", "--package", "models"]))
}

fn minimal(root: &Path, command: &[&str]) -> Result<()> {
    minimal_root::fetch(root)?;
    MinimalRoot::make(root)?.run(root, command)
}

/// A process of its own, as it enters a user namespace where it is not root. Not by its path: an earlier step may have
/// built this program anew, and then nothing is where it was started from.
fn guest(root: &Path, arguments: &[&str]) -> Result<()> {
    run_shown(Command::new("/proc/self/exe").current_dir(root).arg("vm").args(arguments))
}
