//! promtool, Prometheus' checker of metrics and rules. Debian's package `prometheus` has it beside a server, which the
//! package would start: so the one program is unpacked, for this tree alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::{apt_update, is_debian};
use crate::process::{run_shown, succeeds};
use crate::tree;

const PROGRAM: &str = "promtool";
const PACKAGE: &str = "prometheus";

/// Finds promtool in `setup`'s folder or in the search path.
pub fn find(root: &Path) -> Option<PathBuf> {
    let unpacked = folder(root).join("bin").join(PROGRAM);
    let mut candidates = Some(unpacked).into_iter().chain(tree::find_program(PROGRAM));
    candidates.find(|candidate| succeeds(Command::new(candidate).arg("--version")))
}

fn folder(root: &Path) -> PathBuf {
    tree::target(root).join(PROGRAM)
}

/// Downloads Debian's package and unpacks promtool from it, unless it is there. Nothing is installed or started.
pub fn setup(root: &Path) -> Result<()> {
    if let Some(program) = find(root) {
        println!("promtool is installed: {}", program.display());
        return Ok(());
    }
    if !is_debian() {
        println!("promtool, which checks the metrics and alert rules, is missing: install Prometheus to have it.");
        return Ok(());
    }
    println!(
        "Unpacking promtool from Debian's package {PACKAGE}, for this tree alone; nothing is installed or started."
    );
    let folder = folder(root);
    let download = folder.join("download");
    fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
    let get = || run_shown(Command::new("apt-get").args(["download", PACKAGE]).current_dir(&download));
    if get().is_err() {
        apt_update(&format!("reading Debian's list of packages for {PACKAGE}"))?;
        get()?;
    }
    let packages = fs::read_dir(&download)?.flatten().map(|entry| entry.path());
    let Some(package) = packages.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb")) else {
        bail!("`apt-get download {PACKAGE}` has left no package in {}", download.display());
    };
    run_shown(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&download))?;
    fs::create_dir_all(folder.join("bin"))?;
    let unpacked = download.join("usr/bin").join(PROGRAM);
    fs::rename(&unpacked, folder.join("bin").join(PROGRAM))
        .with_context(|| format!("{PACKAGE} has no {}", unpacked.display()))?;
    fs::remove_dir_all(&download)?;
    if find(root).is_none() {
        bail!("promtool does not run even after it was unpacked");
    }
    Ok(())
}
