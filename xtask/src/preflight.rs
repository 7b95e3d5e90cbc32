//! Checks a command's needs before anything is built: the linker, the programs that it starts, and network namespaces.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::privilege::Elevation;
use crate::process::shown;
use crate::tree;

/// The `ip` command and how to install it.
const IP: &str = "the command `ip` (Debian and Ubuntu: apt-get install iproute2; Fedora: dnf install iproute)";
/// A linker and how to install it.
const LINKER: &str = "the linker `cc` (Debian and Ubuntu: apt-get install build-essential; Fedora: dnf install gcc)";

/// Fails with a list of everything that is missing. `what` is the command, `ip` is true if it needs that program.
pub fn programs(root: &Path, what: &str, ip: bool) -> Result<()> {
    let missing = missing(&tree::search_path(), ip, has_linker_setting(root));
    if !missing.is_empty() {
        bail!("{what} needs {}; install what is missing and run it again", missing.join(", and "));
    }
    Ok(())
}

fn missing(folders: &[PathBuf], ip: bool, linker_set: bool) -> Vec<&'static str> {
    let lacks = |name| tree::find_in(folders, name).is_none();
    let linker = (!linker_set && lacks("cc")).then_some(LINKER);
    linker.into_iter().chain((ip && lacks("ip")).then_some(IP)).collect()
}

/// Returns true if cargo may use another linker than `cc`, by a variable or by one of its files.
fn has_linker_setting(root: &Path) -> bool {
    let by_variable = env::vars_os().any(|(key, value)| {
        let key = key.to_string_lossy();
        (key.starts_with("CARGO_TARGET_") && key.ends_with("_LINKER"))
            || (key.contains("RUSTFLAGS") && value.to_string_lossy().contains("linker"))
    });
    let home = tree::cargo_home().ok();
    let folders = root.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    let in_file = |folder: PathBuf| {
        ["config.toml", "config"]
            .iter()
            .any(|name| fs::read_to_string(folder.join(name)).is_ok_and(|text| text.contains("linker")))
    };
    by_variable || folders.into_iter().any(in_file)
}

/// The path of this program. A step of CI builds the commands anew: the kernel then reports the path of the running one
/// as deleted, and the new one stands there.
pub fn own_program() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    let replaced = own.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.filter(|_| !own.exists()).unwrap_or(own))
}

/// Fails unless network namespaces and a veth pair can be made, as root, or without elevation in a user namespace.
///
/// A child makes and removes them, as the command itself will.
pub fn namespaces(elevation: Option<Elevation>) -> Result<()> {
    let own = own_program()?;
    let mut command = match elevation {
        Some(elevation) => elevation.command_passing(own, &["PATH"]),
        None => Command::new(own),
    };
    command.arg("try-namespaces");
    if elevation.is_none() {
        command.arg("--in-user-namespace");
    }
    let output = command.stdin(Stdio::inherit()).stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("cannot run `{}`", shown(&command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}", complaint.trim().trim_start_matches("error: "));
    }
    Ok(())
}

/// The work of the child of [`namespaces`].
pub fn try_namespaces(in_user_namespace: bool) -> Result<()> {
    if in_user_namespace {
        netlab::enter_user_namespace()?;
    }
    netlab::Lab::new()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_at_once() {
        assert_eq!(missing(&[], true, false), [LINKER, IP]);
        assert_eq!(missing(&[], false, false), [LINKER]);
        assert_eq!(missing(&[], true, true), [IP], "cargo's settings may name another linker");
        assert!(missing(&tree::search_path(), true, false).is_empty(), "this machine builds and tests");
    }

    #[test]
    fn namespaces_can_be_made_here() {
        try_namespaces(false).expect("the tests run as root");
    }
}
