//! `cargo xtask aarch64`: checks the workspace for aarch64, and runs the unit tests that need no kernel of their own in
//! QEMU's user mode.
//!
//! It uses Debian's compiler, the one of the XDP programs, since Debian's packages have its standard library for arm64.
//! The packages are unpacked in the target folder: the system's list of architectures does not change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::Apt;
use crate::process::{read, run_shown};
use crate::{setup, tree};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Programs, and Debian's packages of them.
const LINKER: (&str, &str) = ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross");
const EMULATOR: (&str, &str) = ("qemu-aarch64", "qemu-user");
/// Debian's compiler.
const COMPILER: &str = "/usr/bin/rustc";
/// Crates whose unit tests run.
const TESTED: [&str; 4] = ["receiver-common", "receiver-feed", "receiver-membership", "receiver-xsk"];

/// Runs the command.
pub fn run() -> Result<()> {
    let root = tree::root()?;
    setup::install(&[LINKER, EMULATOR])?;
    let cross = Cross::install(&root)?;
    run_shown(&mut cross.cargo(&["check", "--workspace"]))?;
    let mut tests = cross.cargo(&["test", "--lib"]);
    for package in TESTED {
        tests.args(["--package", package]);
    }
    // QEMU is slow.
    run_shown(tests.env("PROPTEST_CASES", "16"))
}

/// Builds for aarch64 on another architecture.
pub struct Cross {
    root: PathBuf,
    folder: PathBuf,
    flags: String,
}

impl Cross {
    /// Installs what is missing.
    pub fn install(root: &Path) -> Result<Self> {
        setup::install(&[LINKER])?;
        let folder = tree::target(root).join("aarch64");
        let system_root = standard_library(&folder)?;
        let flags = ["--sysroot", &system_root.to_string_lossy(), "-Clinker=aarch64-linux-gnu-gcc"].join("\x1f");
        Ok(Self { root: root.to_owned(), folder, flags })
    }

    /// Cargo in the tree with these arguments, for aarch64 and with a target folder of its own.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tree::cargo());
        command.current_dir(&self.root).args(arguments).args(["--locked", "--target", TARGET, "--target-dir"]);
        command.arg(&self.folder).env("RUSTC", COMPILER).env("CARGO_ENCODED_RUSTFLAGS", &self.flags);
        command.env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu");
        command
    }
}

/// Unpacks the standard library for arm64 that belongs to Debian's compiler. Returns the compiler's system root for it.
fn standard_library(folder: &Path) -> Result<PathBuf> {
    let version = read(Command::new(COMPILER).arg("--version")).context("run `cargo xtask setup --recorded` first")?;
    let release = version.split_whitespace().nth(1).context("rustc has no version")?;
    let short = release.rsplit_once('.').map_or(release, |(short, _)| short);
    let system_root = folder.join(format!("sysroot-{release}")).join("usr");
    if system_root.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return Ok(system_root);
    }
    let state = folder.join("apt");
    let apt = Apt::update_architecture(&state, "arm64")?;
    // Of the same build as the compiler: its metadata fits no other.
    let exact = read(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "rustc-web"]))?;
    let packages = [format!("libstd-rust-web-{short}:arm64={exact}"), format!("libstd-rust-web-dev:arm64={exact}")];
    apt.download(&packages, &state)?;
    let mut unpacked = 0;
    for entry in fs::read_dir(&state).with_context(|| format!("cannot read {}", state.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", state.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let to = system_root.parent().context("the system root has no folder")?;
            run_shown(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(to))?;
            unpacked += 1;
        }
    }
    ensure!(unpacked == 2, "apt-get brought {unpacked} packages of the standard library, not 2");
    Ok(system_root)
}
