//! Debian's packages: how they are installed.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context, Result};

use crate::privilege::Elevation;
use crate::process::run_shown;
use crate::tree;

/// Installs Debian's packages, as root or by sudo.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    println!("About to install Debian's packages {} (without the ones that they recommend).", packages.join(", "));
    let elevation = Elevation::require(&format!("installing {}", packages.join(" ")))?;
    let quiet = [("DEBIAN_FRONTEND", OsStr::new("noninteractive"))];
    run_shown(elevation.command("apt-get", &quiet).arg("update"))?;
    let mut install = elevation.command("apt-get", &quiet);
    run_shown(install.args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .context("does this release of Debian have these packages?")
}

/// Reads the lists of packages again, as root or by sudo. The error names what needs it.
pub fn apt_update(what: &str) -> Result<()> {
    run_shown(Elevation::require(what)?.command("apt-get", &[]).arg("update"))
}

/// Returns true on Debian and its derivatives, if apt-get is there.
pub fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = |line: &str| {
        let value = line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE="));
        value.is_some_and(|value| value.trim_matches('"').split(' ').any(|word| word == "debian"))
    };
    release.lines().any(debian) && tree::find_program("apt-get").is_some()
}
