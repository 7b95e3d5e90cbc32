//! A separate apt for Debian suites and architectures that the host does not use. The host's package sources and its
//! list of architectures stay as they are.
//!
//! The mirror and the archive's keys are the host's. Lists and packages go to the target folder. So apt itself checks
//! signatures and checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{read, run, run_shown};

/// Debian's mirror, if the host's settings name none.
const FALLBACK: &str = "http://deb.debian.org/debian";
/// Debian's package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package from the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The names of its dependencies.
    pub depends: Vec<String>,
}

/// apt-get and apt-cache with separate lists.
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Fetches the lists of these suites, for the host's architecture or another one.
    pub fn update(folder: &Path, suites: &[&str], architecture: Option<&str>) -> Result<Self> {
        let sources = folder.join("sources.list");
        let mut options =
            vec![format!("Dir::Etc::sourcelist={}", sources.display()), "Dir::Etc::sourceparts=/dev/null".to_owned()];
        options.extend(architecture.into_iter().flat_map(architectures));
        let apt = Self::new(folder, options)?;
        let mirror = host_mirror();
        let signed = if Path::new(KEYRING).is_file() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let lines: Vec<_> = suites.iter().map(|suite| format!("deb {signed}{mirror} {suite} main\n")).collect();
        fs::write(sources, lines.concat()).context("cannot write the sources of the kernels")?;
        println!("Fetching Debian's lists of {} from {mirror}.", suites.join(", "));
        run_shown(apt.command("apt-get").args(["-qq", "update"]))
            .with_context(|| format!("the package lists of {} cannot be fetched from {mirror}", suites.join(", ")))?;
        Ok(apt)
    }

    /// Fetches the lists of the host's suites for an architecture.
    pub fn update_architecture(folder: &Path, architecture: &str) -> Result<Self> {
        let apt = Self::new(folder, architectures(architecture).to_vec())?;
        run_shown(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn new(folder: &Path, options: Vec<String>) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        Ok(Self { folder: folder.to_owned(), options })
    }

    /// Packages whose names begin with a prefix.
    pub fn packages(&self, prefix: &str) -> Result<Vec<Package>> {
        let names = read(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let names: Vec<&str> = names.lines().collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(parse(&read(self.command("apt-cache").args(["show", "--no-all-versions"]).args(names))?))
    }

    /// Fetches packages into a folder.
    pub fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        run_shown(self.command("apt-get").current_dir(into).arg("download").args(packages))
            .with_context(|| format!("{} cannot be fetched", packages.join(", ")))
    }

    /// Fetches packages and all that they depend on, as for a system that has no package yet. Returns their files.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let (status, archives) = (self.folder.join("status"), self.folder.join("cache/archives"));
        fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
        // Files of an earlier download may be of other versions.
        run(self.command("apt-get").arg("clean"))?;
        let mut install = self.command("apt-get");
        install.arg("-o").arg(format!("Dir::State::status={}", status.display()));
        install.args(["-qq", "--yes", "--no-install-recommends", "--download-only", "install"]).args(packages);
        run_shown(&mut install).with_context(|| format!("{} cannot be fetched", packages.join(", ")))?;
        let unreadable = || format!("cannot read {}", archives.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&archives).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        let always = [
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // apt's own user may have no access to the target folder.
            "APT::Sandbox::User=root".to_owned(),
        ];
        for option in self.options.iter().chain(&always) {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// The settings that make an architecture the only one.
fn architectures(architecture: &str) -> [String; 2] {
    ["APT::Architectures", "APT::Architecture"].map(|option| format!("{option}={architecture}"))
}

/// The mirror of Debian's archive that this machine's own apt uses.
pub fn host_mirror() -> String {
    let targets = read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]));
    mirror(&targets.unwrap_or_default())
}

/// Finds the mirror of Debian's archive among the host's sources, except security updates and other archives.
fn mirror(targets: &str) -> String {
    let sources: Vec<Vec<&str>> = targets.lines().map(|line| line.split('|').collect()).collect();
    let debian = sources.iter().find(|fields| matches!(fields[..], ["Debian", "Debian", _]));
    // Before its first update the host's apt knows no origins.
    let by_name =
        || sources.iter().find(|fields| fields.len() == 3 && fields[2].trim_end_matches('/').ends_with("/debian"));
    let found = debian.or_else(by_name).map_or(FALLBACK, |fields| fields[2]);
    found.trim_end_matches('/').to_owned()
}

/// Parses the output of `apt-cache show`.
fn parse(text: &str) -> Vec<Package> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let package = |paragraph: &str| {
        let depends = field(paragraph, "Depends").unwrap_or_default();
        let names = depends.split(',').filter_map(|one| one.split_whitespace().next()).map(str::to_owned);
        Some(Package {
            name: field(paragraph, "Package")?,
            version: field(paragraph, "Version")?,
            depends: names.collect(),
        })
    };
    text.split("\n\n").filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_hosts_one_of_debian_itself() {
        let host = "Node Source|Node Source|https://n.example/node/\nDebian|Debian-Security|http://m.example/debian-security/\n\
                    Debian|Debian|http://m.example/debian/\n";
        assert_eq!(mirror(host), "http://m.example/debian");
        assert_eq!(mirror("||http://m.example/ubuntu/\n||http://m.example/debian/\n"), "http://m.example/debian");
        assert_eq!(mirror(""), FALLBACK);
    }

    #[test]
    fn packages_are_read() {
        let text = "Package: linux-image-7.3\nVersion: 7.3-1\nDepends: a | b, linux-binary-7.3 (= 7.3-1), c\nSize: 1\n\n\
                    Package: linux-image-7.2\nVersion: 7.2-1\n";
        let packages = parse(text);
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0].depends, ["a", "linux-binary-7.3", "c"]);
        assert_eq!((packages[1].name.as_str(), packages[1].version.as_str()), ("linux-image-7.2", "7.2-1"));
    }
}
