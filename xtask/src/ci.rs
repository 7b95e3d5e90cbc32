//! `cargo xtask ci`: everything that a change has to pass.
//!
//! The XDP program is checked by clippy with the stable compiler, for the machine's own target: the distribution's compiler comes
//! without clippy, and stable Rust without `core` for the BPF target.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{is_root, run_shown, succeeds};
use crate::{build_ebpf, setup, test, tree};

/// A step: its name, and what it does in the tree.
type Step = (&'static str, fn(&Path) -> Result<()>);

const STEPS: [Step; 9] = [
    ("setup", |_| setup::run(&setup::Arguments { recorded: true })),
    ("formatting", formatting),
    ("clippy", clippy),
    ("clippy, XDP program", clippy_ebpf),
    ("documentation", documentation),
    ("tests: cargo xtask test", tests),
    ("virtual machine: cargo xtask vm --kernel 7.3", |root| guest(root, &["--kernel", "7.3"])),
    // Older verifiers refuse what newer ones see through.
    ("oldest kernel: cargo xtask vm --kernel 6.1 --only ladder", |root| {
        guest(root, &["--kernel", "6.1", "--only", "ladder"])
    }),
    ("XDP object against its source", |_| build_ebpf::run(&build_ebpf::Arguments { check: true })),
];

/// Runs all steps, the later ones also when an earlier one failed. An error if one failed.
pub fn run() -> Result<()> {
    let root = tree::root()?;
    if !is_root() {
        println!("Not root: setup and the tests use sudo.");
    }
    components()?;
    let mut outcomes = Vec::new();
    for (name, step) in STEPS {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = step(&root);
        if let Err(error) = &outcome {
            println!("error: {error:#}");
        }
        outcomes.push((name, outcome, start.elapsed()));
    }
    println!("\n=== summary");
    for (name, outcome, time) in &outcomes {
        println!("{} {:>5.0} s  {name}", if outcome.is_ok() { "ok    " } else { "FAILED" }, time.as_secs_f64());
    }
    let failed = outcomes.iter().filter(|(_, outcome, _)| outcome.is_err()).count();
    if failed > 0 {
        bail!("{failed} of {} steps failed", outcomes.len());
    }
    Ok(())
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
    run_shown(cargo(root).args(["fmt", "--manifest-path", "receiver-ebpf/Cargo.toml", "--", "--check"]))
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

fn tests(_root: &Path) -> Result<()> {
    if !test::run(&test::Arguments::default())? {
        bail!("tests failed");
    }
    Ok(())
}

/// A process of its own, as it enters a user namespace where it is not root.
fn guest(root: &Path, arguments: &[&str]) -> Result<()> {
    let own = std::env::current_exe().context("the path of this program cannot be told")?;
    run_shown(Command::new(own).current_dir(root).arg("vm").args(arguments))
}
