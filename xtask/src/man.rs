//! `cargo xtask man`: the manual pages of the command `receiver`, written by the command itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts;
use crate::process;
use crate::tree;

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder for the pages. Default: man/ in the target folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let package = ["build", "--package", "receiver-cli", "--bin", "receiver"];
    let receiver = artifacts::program(&root, &package, "receiver")?;
    let folder = arguments.out.clone().unwrap_or_else(|| tree::target(&root).join("man"));
    process::run(Command::new(receiver).arg("man").arg(&folder))?;
    let pages = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<_> = pages.flatten().map(|page| page.path()).collect();
    names.sort();
    for name in names {
        println!("{}", name.display());
    }
    Ok(())
}
