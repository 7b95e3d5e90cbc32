//! `cargo xtask deb`: a Debian package of the command `receiver`, with its unit, manual pages, completions and example.
//!
//! Cargo-deb packs it, by `[package.metadata.deb]` in cli/Cargo.toml.

mod fresh_root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts;
use crate::process::{read, run, run_shown};
use crate::setup;
use crate::tree;

pub use fresh_root::try_in_fresh_root;

/// The shells with completions.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Cargo's profile: release, or dev for a package that is built sooner.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Also install the package in a fresh root, and receive there.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run_command(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let package = build(&root, &arguments.profile)?;
    println!("{}", package.display());
    if arguments.check { try_in_fresh_root(&root, &package) } else { Ok(()) }
}

/// Builds the package, and returns its path.
pub fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    let cargo_deb = setup::cargo_deb(root)?;
    let arguments = ["build", "--locked", "--package", "receiver-cli", "--bin", "receiver", "--profile", profile];
    let receiver = artifacts::program(root, &arguments, "receiver")?;
    let folder = receiver.parent().context("the program has no folder")?.join("deb");
    write_documents(&receiver, &folder)?;
    let out = tree::target(root).join("debian");
    let mut command = Command::new(cargo_deb);
    command.current_dir(root).args(["--package", "receiver-cli", "--no-build", "--profile", profile, "--output"]);
    command.arg(&out);
    println!("Packing into {}.", out.display());
    read(&mut command).and_then(|path| {
        let path = path.lines().last().map(|path| root.join(path.trim()));
        path.filter(|path| path.is_file()).context("cargo-deb printed no path of a package")
    })
}

/// The manual pages and completions, as the command writes them.
fn write_documents(receiver: &Path, folder: &Path) -> Result<()> {
    // A page of a command that is gone would be packed.
    tree::remove_folder(folder)?;
    let man = folder.join("man");
    fs::create_dir_all(&man).with_context(|| format!("cannot make {}", man.display()))?;
    run(Command::new(receiver).arg("man").arg(&man))?;
    for shell in SHELLS {
        let path = folder.join(format!("receiver.{shell}"));
        let script = read(Command::new(receiver).args(["completions", shell]))?;
        fs::write(&path, script + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Shows what is in a package.
fn list(package: &Path) -> Result<()> {
    run_shown(Command::new("dpkg-deb").arg("--contents").arg(package))
}
