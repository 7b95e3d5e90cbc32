//! Debian's kernels: their list, and how they get into the target folder.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Package};
use crate::process::{run, succeeds};
use crate::tree;

/// Debian's suites and their kernels, and the mode that `auto` selects with each on virtio_net.
const RELEASES: [Release; 3] = [
    Release { series: "6.1", suite: "bookworm", expect: "mapped" },
    Release { series: "6.12", suite: "bookworm-backports", expect: "mapped" },
    Release { series: "7.3", suite: "trixie-backports", expect: "zero-copy" },
];

struct Release {
    series: &'static str,
    suite: &'static str,
    expect: &'static str,
}

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The name of its modules' folder: `7.3.4+deb13-amd64`.
    pub version: String,
    /// The name of its package.
    pub package: String,
    /// The path of the compressed kernel.
    pub image: PathBuf,
    /// The mode that must be selected, if known.
    pub expect: Option<&'static str>,
}

/// Returns kernels whose versions begin like `asked`, or all of the table if none is given. Kernels that were fetched
/// before are used as they are unless `update` is set.
pub fn fetch(folder: &Path, asked: &[String], update: bool) -> Result<Vec<Kernel>> {
    let asked: Vec<&str> = match asked {
        [] => RELEASES.iter().map(|release| release.series).collect(),
        asked => asked.iter().map(String::as_str).collect(),
    };
    let mut apt = None;
    asked.into_iter().map(|version| one(folder, version, update, &mut apt)).collect()
}

fn one(folder: &Path, asked: &str, update: bool, apt: &mut Option<Apt>) -> Result<Kernel> {
    let kernels = folder.join("kernels");
    if !update && let Some(kernel) = unpacked(&kernels, asked)? {
        println!("Linux {} is there ({}).", kernel.version, kernel.package);
        return Ok(kernel);
    }
    let apt = match apt {
        Some(apt) => apt,
        None => apt.insert(Apt::update(&folder.join("apt"), &RELEASES.map(|release| release.suite))?),
    };
    let packages = apt.packages("linux-image-")?;
    let newest = packages.iter().filter(|package| fits(&package.name, asked)).max_by(|a, b| compare(a, b));
    let Some(package) = newest else {
        let mut there: Vec<_> =
            packages.iter().map(|package| package.name.as_str()).filter(|name| fits(name, "")).collect();
        there.sort_unstable();
        bail!(
            "Debian has no kernel {asked} any more, or none yet, in {}; there are: {}",
            RELEASES.map(|release| release.suite).join(", "),
            there.join(", ")
        );
    };
    let target = kernels.join(&package.name);
    if !target.is_dir() {
        unpack(apt, package, &target)?;
    }
    Kernel::find(&target, &package.name)?.with_context(|| format!("{} has no kernel in it", package.name))
}

fn unpack(apt: &Apt, package: &Package, target: &Path) -> Result<()> {
    // From 7.2 on the image's package only depends on its parts.
    let parts =
        package.depends.iter().filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"));
    let names: Vec<String> = std::iter::once(&package.name).chain(parts).cloned().collect();
    println!("About to fetch Linux {}: {}.", package.version, names.join(", "));
    // Unpacked in another folder first, so that the final folder is complete.
    let partial = target.with_extension("partial");
    let packages = partial.join("packages");
    tree::remove_folder(&partial)?;
    fs::create_dir_all(&packages).with_context(|| format!("cannot make {}", packages.display()))?;
    apt.download(&names, &packages)?;
    for entry in fs::read_dir(&packages).context("the fetched packages are gone")? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(&partial))?;
    }
    tree::remove_folder(&packages)?;
    fs::rename(&partial, target).with_context(|| format!("cannot make {}", target.display()))
}

/// The newest matching kernel in the target folder.
fn unpacked(kernels: &Path, asked: &str) -> Result<Option<Kernel>> {
    let Ok(entries) = fs::read_dir(kernels) else { return Ok(None) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", kernels.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if fits(&name, asked) {
            found.extend(Kernel::find(&entry.path(), &name)?);
        }
    }
    Ok(found.into_iter().max_by(|a, b| versions(&a.version, &b.version)))
}

impl Kernel {
    /// The kernel in an unpacked package.
    fn find(folder: &Path, package: &str) -> Result<Option<Self>> {
        let expect = RELEASES.iter().find(|release| fits(package, release.series)).map(|release| release.expect);
        for modules in [folder.join("lib/modules"), folder.join("usr/lib/modules")] {
            let Some(entry) = fs::read_dir(&modules).ok().and_then(|mut entries| entries.next()) else { continue };
            let version = entry?.file_name().to_string_lossy().into_owned();
            let places = [folder.join(format!("boot/vmlinuz-{version}")), modules.join(&version).join("vmlinuz")];
            if let Some(image) = places.into_iter().find(|image| image.is_file()) {
                return Ok(Some(Self { version, package: package.to_owned(), image, expect }));
            }
        }
        Ok(None)
    }
}

/// Returns true if this is the package of a plain kernel whose version begins like that. `6.1` does not match `6.12`.
fn fits(package: &str, asked: &str) -> bool {
    let plain = |rest: &str| !["cloud", "rt-", "dbg", "unsigned"].iter().any(|word| rest.contains(word));
    package
        .strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_suffix("-amd64"))
        .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()) && plain(package))
        .and_then(|version| version.strip_prefix(asked))
        .is_some_and(|rest| asked.is_empty() || !rest.starts_with(|next: char| next.is_ascii_digit()))
}

fn compare(a: &Package, b: &Package) -> Ordering {
    versions(&a.version, &b.version)
}

/// Compares versions in Debian's order.
fn versions(a: &str, b: &str) -> Ordering {
    let is = |relation: &str| succeeds(Command::new("dpkg").args(["--compare-versions", a, relation, b]));
    if is("gt") {
        Ordering::Greater
    } else if is("lt") {
        Ordering::Less
    } else {
        Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_the_begin_of_its_version() {
        assert!(fits("linux-image-6.1.0-50-amd64", "6.1"));
        assert!(fits("linux-image-6.12.95+deb12-amd64", "6.12"));
        assert!(!fits("linux-image-6.12.95+deb12-amd64", "6.1"));
        assert!(fits("linux-image-7.3.4+deb13-amd64", "7.3.4"));
        assert!(fits("linux-image-7.3.4+deb13-amd64", ""));
        for other in [
            "linux-image-6.1.0-50-rt-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-amd64-dbg",
            "linux-image-6.1.0-50-amd64-unsigned",
            "linux-image-amd64",
            "linux-headers-6.1.0-50-amd64",
        ] {
            assert!(!fits(other, "6.1") && !fits(other, ""), "{other}");
        }
    }
}
