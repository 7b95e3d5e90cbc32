//! The package in a fresh Debian: the minimal root of CI, with a layer above it that vanishes.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::list;
use crate::minimal_root::MinimalRoot;
use crate::privilege::Elevation;

/// `$1` is the root, `$2` a folder for the layer, `$3` the package.
const INSTALL: &str = include_str!("install.sh");

/// Installs the package with dpkg, and runs what it has installed.
pub fn try_in_fresh_root(root: &Path, package: &Path) -> Result<()> {
    list(package)?;
    let minimal = MinimalRoot::make(root)?;
    let elevation = Elevation::require("installing the package in a fresh root")?;
    let mut command = elevation.command("unshare", &[]);
    command.args(["--mount", "--net", "--", "sh", "-c", INSTALL, "sh"]);
    command.arg(minimal.folder()).arg(minimal.folder().with_extension("layer")).arg(package);
    let status = command.status().context("cannot run unshare (Debian's package util-linux)")?;
    if !status.success() {
        bail!("the package failed in a fresh root ({status})");
    }
    println!("The package is installed, runs and is removed in a fresh root.");
    Ok(())
}
