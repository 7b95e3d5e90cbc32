//! Locations: the source tree, cargo, and cargo's folders.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::if_there;

/// The root of the source tree: the folder above this package, or the nearest one above the working folder.
pub fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = env::current_dir().context("cannot find the working folder")?;
    for start in package.iter().chain([&here]) {
        if let Some(root) = start.ancestors().find(|folder| is_root(folder)) {
            return Ok(root.to_owned());
        }
    }
    bail!("{} is not in the project's source tree: start `cargo xtask` inside it", here.display())
}

fn is_root(folder: &Path) -> bool {
    folder.join("receiver-ebpf/Cargo.toml").is_file() && folder.join("xtask/Cargo.toml").is_file()
}

/// The cargo that started this command, or the first one in the search path.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Cargo's folder for what it builds.
pub fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Cargo's own folder, with its registry and its binaries.
pub fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = env::home_dir().context("neither CARGO_HOME nor HOME is set")?;
    Ok(home.join(".cargo"))
}

/// Removes a folder with all that is in it, if it is there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    let removed = if_there(fs::remove_dir_all(folder));
    removed.map(drop).with_context(|| format!("cannot remove the folder {}", folder.display()))
}

/// Finds a program in the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&search_path(), name)
}

/// The folders of the search path.
pub fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // An ordinary user's search path lacks the two folders in which Debian keeps `ip`. An empty entry means the working
    // folder.
    env::split_paths(&path)
        .filter(|folder| !folder.as_os_str().is_empty())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect()
}

/// Finds a program in the first of these folders that has it.
pub fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
