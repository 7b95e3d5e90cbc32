//! `cargo xtask sbom`: a bill of materials (CycloneDX) for each crate, in target/sbom. Cargo-cyclonedx writes them; the
//! command fails if a crate of the project has no bill, or if that of the command `receiver` lacks a dependency.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{if_there, read, run_shown};
use crate::setup;
use crate::tree;

/// The workspaces whose crates become parts of what is published, by their manifests.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "receiver-ebpf/Cargo.toml"];
/// The crate of the command `receiver`.
const COMMAND: &str = "receiver-cli";

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder for the bills. Default: sbom/ in the target folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run_command(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let folder = arguments.out.clone().unwrap_or_else(|| tree::target(&root).join("sbom"));
    write(&root, &folder)
}

/// Writes the bills to a folder, and checks them.
pub fn write(root: &Path, folder: &Path) -> Result<()> {
    let program = setup::cargo_cyclonedx(root)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut count = 0;
    for manifest in MANIFESTS {
        let manifest = root.join(manifest);
        let members = members(&manifest)?;
        let mut command = Command::new(&program);
        command.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--target", "all"]);
        let written = run_shown(command.arg("--manifest-path").arg(&manifest));
        // It writes each bill beside the manifest of its crate.
        let moved: Vec<Result<bool>> = members.iter().map(|member| member.take_bill(folder)).collect();
        written?;
        for (member, moved) in members.iter().zip(moved) {
            if !moved? {
                bail!("cargo-cyclonedx has written no bill for {}", member.name);
            }
            member.check(folder)?;
        }
        count += members.len();
    }
    let missing = missing(&components(&bill(folder, COMMAND)?), &dependencies(root)?);
    if !missing.is_empty() {
        bail!("the bill of {COMMAND} lacks {}", missing.join(", "));
    }
    println!("{count} bills are in {}; that of {COMMAND} names each of its dependencies.", folder.display());
    Ok(())
}

/// A crate of a workspace.
struct Member {
    name: String,
    folder: PathBuf,
}

impl Member {
    fn file(&self) -> String {
        file(&self.name)
    }

    /// Moves the crate's bill to a folder. Returns false if there is none.
    fn take_bill(&self, to: &Path) -> Result<bool> {
        let from = self.folder.join(self.file());
        let copied = if_there(fs::copy(&from, to.join(self.file())));
        let copied = copied.with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        if copied.is_some() {
            fs::remove_file(&from).with_context(|| format!("cannot remove {}", from.display()))?;
        }
        Ok(copied.is_some())
    }

    /// Fails unless the bill is that of the crate.
    fn check(&self, folder: &Path) -> Result<()> {
        let bill = bill(folder, &self.name)?;
        match bill["metadata"]["component"]["name"].as_str() {
            Some(name) if name == self.name => Ok(()),
            other => bail!("{} is the bill of {other:?}, not of {}", self.file(), self.name),
        }
    }
}

fn file(name: &str) -> String {
    format!("{name}.cdx.json")
}

fn bill(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(file(name));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The crates of a workspace.
fn members(manifest: &Path) -> Result<Vec<Member>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path"];
    let text = read(Command::new(tree::cargo()).args(arguments).arg(manifest))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata has printed no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has printed no packages")?;
    let member = |package: &Value| {
        let name = package["name"].as_str()?.to_owned();
        Some(Member { name, folder: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned() })
    };
    packages.iter().map(|package| member(package).context("a package has no name or no manifest")).collect()
}

/// What the command `receiver` is built from, each as `NAME VERSION`.
fn dependencies(root: &Path) -> Result<BTreeSet<String>> {
    let mut command = Command::new(tree::cargo());
    command.current_dir(root).args(["tree", "--locked", "--package", COMMAND, "--edges", "normal,build"]);
    Ok(packages(&read(command.args(["--target", "all", "--prefix", "none", "--format", "{p}"]))?))
}

/// Each package that `cargo tree` has printed. The first line is the one whose dependencies these are.
fn packages(printed: &str) -> BTreeSet<String> {
    let words = printed.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    });
    words.collect()
}

/// The components of a bill, each as `NAME VERSION`.
fn components(bill: &Value) -> BTreeSet<String> {
    let all = bill["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = |one: &Value| Some(format!("{} {}", one["name"].as_str()?, one["version"].as_str()?));
    all.iter().filter_map(named).collect()
}

fn missing(there: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Vec<String> {
    wanted.difference(there).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bill_that_lacks_a_dependency_is_found() {
        let tree =
            "receiver-cli v0.1.0 (/src/cli)\nanyhow v1.0.1\nreceiver v0.1.0 (/src/receiver)\nanyhow v1.0.1 (*)\n";
        let bill = json!({"components": [{"name": "anyhow", "version": "1.0.1"}]});
        assert_eq!(missing(&components(&bill), &packages(tree)), ["receiver 0.1.0"]);
        let bill = json!({"components": [
            {"name": "anyhow", "version": "1.0.1"}, {"name": "receiver", "version": "0.1.0"}]});
        assert!(missing(&components(&bill), &packages(tree)).is_empty());
    }

    #[test]
    fn the_crates_of_this_workspace_are_known() {
        let root = tree::root().expect("the tree");
        let names: Vec<String> =
            members(&root.join("Cargo.toml")).expect("metadata").into_iter().map(|one| one.name).collect();
        for name in [COMMAND, "receiver", "receiver-feed", "xtask"] {
            assert!(names.iter().any(|one| one == name), "{names:?}");
        }
    }
}
