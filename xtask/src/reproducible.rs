//! `cargo xtask reproducible`: builds the command `receiver` in two folders with different names, and compares the
//! bytes. It takes two release builds, so `ci` does not run it.
//!
//! Paths of the builder are replaced in the program: the source tree becomes `/receiver`, cargo's folder `/cargo`. The
//! C code of zstd is compiled with the same replacements.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts;
use crate::process::read;
use crate::tree;

/// The folders of the two builds; their names differ in length.
const FOLDERS: [&str; 2] = ["first", "the-second-one"];
/// The variable with the time that a build may embed: here that of the last commit.
const TIME: &str = "SOURCE_DATE_EPOCH";

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Cargo's profile: release, or dev for two builds that are done sooner.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Runs the command.
pub fn run_command(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    let folder = tree::target(&root).join("reproducible");
    let time = read(Command::new("git").current_dir(&root).args(["log", "-1", "--format=%ct"]))?;
    let built: Vec<PathBuf> = FOLDERS
        .iter()
        .map(|name| {
            let copy = folder.join(name);
            copy_tree(&root, &copy)?;
            build(&copy, &arguments.profile, &time)
        })
        .collect::<Result<_>>()?;
    let bytes = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (first, second) = (bytes(&built[0])?, bytes(&built[1])?);
    if let Some(at) = difference(&first, &second) {
        bail!(
            "{} and {} differ from byte {at} on ({} and {} bytes); `diffoscope` shows in what",
            built[0].display(),
            built[1].display(),
            first.len(),
            second.len()
        );
    }
    println!("Two builds in two folders have the same {} bytes.", first.len());
    print!("{}", read(Command::new("sha256sum").arg(&built[0]))?);
    println!();
    // What was built is gigabytes.
    tree::remove_folder(&folder)
}

/// Copies what git tracks, and what is new and not ignored. An earlier copy is removed.
fn copy_tree(root: &Path, to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    let listed = read(list.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let source = to.join("source");
    tree::remove_folder(&source)?;
    for name in listed.lines() {
        let (from, to) = (root.join(name), source.join(name));
        if !from.is_file() {
            // It was removed, and that is not committed.
            continue;
        }
        let folder = to.parent().context("a file has no folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Builds the copy in a folder, and returns the path of the program.
fn build(folder: &Path, profile: &str, time: &str) -> Result<PathBuf> {
    let source = folder.join("source");
    let replaced = [(source.clone(), "/receiver"), (folder.join("target"), "/target"), (tree::cargo_home()?, "/cargo")];
    let all = |option: &str| -> Vec<String> {
        replaced.iter().map(|(from, to)| format!("{option}={}={to}", from.display())).collect()
    };
    let arguments = ["build", "--locked", "--package", "receiver-cli", "--bin", "receiver", "--profile", profile];
    let mut command = Command::new(tree::cargo());
    command.current_dir(&source).args(arguments);
    // Cargo splits these at the separator, so that a path may have spaces.
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", all("--remap-path-prefix").join("\u{1f}"));
    command.env("CFLAGS", all("-ffile-prefix-map").join(" ")).env(TIME, time);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_INCREMENTAL", "0");
    println!("Building in {}.", folder.display());
    artifacts::named(&artifacts::build_with(&mut command)?, "receiver")
}

/// The position of the first byte that differs.
fn difference(first: &[u8], second: &[u8]) -> Option<usize> {
    let differs = first.iter().zip(second).position(|(one, other)| one != other);
    differs.or((first.len() != second.len()).then_some(first.len().min(second.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"axc"), Some(1));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
        assert_eq!(difference(b"", b""), None);
    }
}
