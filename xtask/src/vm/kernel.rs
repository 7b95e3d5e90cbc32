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

/// The processor and the kind of kernel of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Architecture {
    /// x86-64, with pages of 4 KiB
    #[default]
    #[value(name = "x86-64")]
    X86,
    /// aarch64, with pages of 4 KiB
    Arm64,
    /// aarch64, with pages of 16 KiB
    #[value(name = "arm64-16k")]
    Arm64Pages16K,
}

impl Architecture {
    /// The end of the names of its kernels' packages.
    fn suffix(self) -> &'static str {
        match self {
            Self::X86 => "-amd64",
            Self::Arm64 => "-arm64",
            Self::Arm64Pages16K => "-arm64-16k",
        }
    }

    /// Debian's name of it if it is not this machine's.
    fn foreign(self) -> Option<&'static str> {
        (self != Self::X86).then_some("arm64")
    }
}

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
    /// The path of its modules' folder.
    pub modules: PathBuf,
    /// The mode that must be selected, if known.
    pub expect: Option<&'static str>,
}

/// Returns kernels whose versions begin like `asked`, or all of the table if none is given. Kernels that were fetched
/// before are used as they are unless `update` is set.
pub fn fetch(folder: &Path, architecture: Architecture, asked: &[String], update: bool) -> Result<Vec<Kernel>> {
    let asked: Vec<&str> = match asked {
        [] => RELEASES.iter().map(|release| release.series).collect(),
        asked => asked.iter().map(String::as_str).collect(),
    };
    let mut apt = None;
    asked.into_iter().map(|version| one(folder, architecture, version, update, &mut apt)).collect()
}

fn one(folder: &Path, architecture: Architecture, asked: &str, update: bool, apt: &mut Option<Apt>) -> Result<Kernel> {
    let kernels = folder.join("kernels");
    if !update && let Some(kernel) = unpacked(&kernels, architecture, asked)? {
        println!("Linux {} is there ({}).", kernel.version, kernel.package);
        return Ok(kernel);
    }
    let apt = match apt {
        Some(apt) => apt,
        None => {
            let lists = architecture.foreign().map_or("apt".to_owned(), |name| format!("apt-{name}"));
            let suites = RELEASES.map(|release| release.suite);
            apt.insert(Apt::update(&folder.join(lists), &suites, architecture.foreign())?)
        }
    };
    let fits = |name: &str, asked: &str| fits(name, architecture, asked);
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
    Kernel::find(&target, architecture, &package.name)?.with_context(|| format!("{} has no kernel in it", package.name))
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
fn unpacked(kernels: &Path, architecture: Architecture, asked: &str) -> Result<Option<Kernel>> {
    let Ok(entries) = fs::read_dir(kernels) else { return Ok(None) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", kernels.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if fits(&name, architecture, asked) {
            found.extend(Kernel::find(&entry.path(), architecture, &name)?);
        }
    }
    Ok(found.into_iter().max_by(|a, b| versions(&a.version, &b.version)))
}

impl Kernel {
    /// The kernel in an unpacked package.
    fn find(folder: &Path, architecture: Architecture, package: &str) -> Result<Option<Self>> {
        let mut releases = RELEASES.iter();
        let expect = releases.find(|release| fits(package, architecture, release.series)).map(|release| release.expect);
        for modules in [folder.join("lib/modules"), folder.join("usr/lib/modules")] {
            let Some(entry) = fs::read_dir(&modules).ok().and_then(|mut entries| entries.next()) else { continue };
            let version = entry?.file_name().to_string_lossy().into_owned();
            let places = [folder.join(format!("boot/vmlinuz-{version}")), modules.join(&version).join("vmlinuz")];
            if let Some(image) = places.into_iter().find(|image| image.is_file()) {
                let modules = modules.join(&version);
                return Ok(Some(Self { version, package: package.to_owned(), image, modules, expect }));
            }
        }
        Ok(None)
    }
}

/// Returns true if this is the package of a plain kernel whose version begins like that. `6.1` does not match `6.12`.
fn fits(package: &str, architecture: Architecture, asked: &str) -> bool {
    let plain = |rest: &str| !["cloud", "rt-", "dbg", "unsigned"].iter().any(|word| rest.contains(word));
    package
        .strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_suffix(architecture.suffix()))
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
        let fits = |package: &str, asked: &str| fits(package, Architecture::X86, asked);
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
            "linux-image-6.1.0-50-arm64",
        ] {
            assert!(!fits(other, "6.1") && !fits(other, ""), "{other}");
        }
    }

    #[test]
    fn a_kernel_is_known_by_the_end_of_its_packages_name() {
        let (plain, large) = ("linux-image-7.3.4+deb13-arm64", "linux-image-7.3.4+deb13-arm64-16k");
        assert!(fits(plain, Architecture::Arm64, "7.3") && fits(large, Architecture::Arm64Pages16K, "7.3"));
        assert!(!fits(large, Architecture::Arm64, "7.3") && !fits(plain, Architecture::Arm64Pages16K, "7.3"));
        for other in ["linux-image-7.3.4+deb13-cloud-arm64", "linux-image-7.3.4+deb13-rt-arm64"] {
            assert!(!fits(other, Architecture::Arm64, "7.3"), "{other}");
        }
    }
}
