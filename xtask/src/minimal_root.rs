//! A Debian with a C compiler and the programs that the tests start only, in which CI runs README's commands with this
//! machine's toolchain and tree. So no command of the project can depend on a program that happens to be installed
//! here.
//!
//! Each command has its own mount namespace, so its mounts vanish with it. The tree and the toolchain keep their paths,
//! so cargo finds what it built outside.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::privilege::Elevation;
use crate::process::{is_root, read, run_shown};
use crate::{apt, setup, tree};

/// Debian's release, and the package besides the essential ones and those of [`setup::TOOLS`].
const SUITE: &str = "bookworm";
const COMPILER: &str = "build-essential";
/// Debian's path of its archive keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Programs that a test might start by mistake. The root must have none of them.
const FOREIGN: [&str; 5] = ["git", "iperf", "sudo", "tcpdump", "tc-bpf"];
/// The root's own target folder, used if this machine's cannot be used.
const OWN_TARGET: &str = "/var/tmp/target";
/// Variables that a command in the root has too.
const VARIABLES: [&str; 7] =
    ["TERM", "CI", "RUST_BACKTRACE", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_INCREMENTAL", "CARGO_TERM_COLOR"];
/// The unprivileged user.
const NOBODY: &str = "65534";

/// Mounts: `$1` is the root, `$2` the tree, `$3` the target folder, `$4` and `$5` rustup's and cargo's folders; the
/// rest is the command.
const ENTER: &str = r#"
set -eu
root=$1 tree=$2 target=$3 rustup=$4 cargo=$5
shift 5
mount --bind "$root" "$root"
for folder in /proc /sys /dev; do mount --rbind "$folder" "$root$folder"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for folder in "$tree" "$target" "$rustup" "$cargo"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
# What a test writes there would stay on this machine.
for folder in "$rustup" "$cargo"; do mount -o remount,bind,ro "$root$folder"; done
chmod 755 "$root/root"
# Not chroot: the kernel makes no user namespaces in one.
cd "$root"
pivot_root . .
umount --lazy .
cd /
exec "$@"
"#;

/// In the root: `$1` is the tree; the rest is the command.
const PRIVILEGED: &str = r#"cd "$1" && shift && exec "$@""#;

/// In the root: `$1` is the tree, `$2` the target folder, `$3` the user. Copies the tree and the release build for the
/// user, and mounts the copy over the tree.
const UNPRIVILEGED: &str = r#"
set -eu
tree=$1 target=$2 user=$3
copy=/var/tmp/unprivileged
rm -rf "$copy"
mkdir -p "$copy/tree" "$copy/home"
(cd "$tree" && tar --create --exclude=./target --exclude=./.git --file=- .) | tar --extract --file=- --directory="$copy/tree"
mkdir -p "$copy/tree/target/debug"
cp --archive "$target/release" "$copy/tree/target/"
cp --archive "$target/debug/xtask" "$copy/tree/target/debug/"
chown -R "$user:$user" "$copy"
mount --bind "$copy/tree" "$tree"
cd "$tree"
status=0
HOME=$copy/home setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs target/debug/xtask run || status=$?
HOME=$copy/home setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs target/debug/xtask run --demo feeds || status=$?
umount --lazy "$tree"
rm -rf "$copy"
exit "$status"
"#;

/// The complete root.
pub struct MinimalRoot {
    folder: PathBuf,
}

impl MinimalRoot {
    /// Makes the root in the target folder, if it is missing.
    pub fn make(root: &Path) -> Result<Self> {
        let folder = tree::target(root).join(format!("minimal-root-{SUITE}"));
        let made = Self { folder };
        if !made.folder.is_dir() {
            made.install()?;
        } else if made.lacks().is_empty() {
            println!("The minimal root exists: {}", made.folder.display());
        } else {
            println!("The minimal root lacks {}: it is made anew.", made.lacks().join(", "));
            let elevation = Elevation::require("making the minimal root")?;
            run_shown(elevation.command("rm", &[]).args(["-rf", "--one-file-system"]).arg(&made.folder))?;
            made.install()?;
        }
        made.check()?;
        Ok(made)
    }

    fn install(&self) -> Result<()> {
        let partial = self.folder.with_extension("partial");
        if setup::install(&[("debootstrap", "debootstrap")])? {
            println!("debootstrap is installed.");
        }
        let elevation = Elevation::require("making the minimal root")?;
        let mirror = apt::host_mirror();
        println!(
            "About to install Debian {SUITE} with {COMPILER} and the programs that the tests start from {mirror} into \
             {} (1.3 GB, some minutes); it stays there.",
            self.folder.display()
        );
        run_shown(elevation.command("rm", &[]).args(["-rf", "--one-file-system"]).arg(&partial))?;
        // Its mounts vanish with it, even if it is killed.
        let mut debootstrap = elevation.command("unshare", &[]);
        debootstrap
            .args(["--mount", "--", "debootstrap"])
            .args(["--variant=minbase", &format!("--include={COMPILER}")]);
        if Path::new(KEYRING).is_file() {
            debootstrap.arg(format!("--keyring={KEYRING}"));
        }
        run_shown(debootstrap.arg(SUITE).arg(&partial).arg(mirror))?;
        // By apt: debootstrap does not resolve alternative dependencies.
        let apt = |arguments: &[&str]| {
            let quiet = [("DEBIAN_FRONTEND", OsStr::new("noninteractive"))];
            run_shown(elevation.command("chroot", &quiet).arg(&partial).args(["apt-get", "--quiet"]).args(arguments))
        };
        apt(&["update"])?;
        let packages: Vec<&str> = setup::TOOLS.iter().flat_map(|(_, packages)| packages.split(' ')).collect();
        apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())?;
        apt(&["clean"])?;
        run_shown(elevation.command("mv", &[]).arg(&partial).arg(&self.folder))
    }

    fn has(&self, program: &str) -> bool {
        let folders = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"].map(|name| self.folder.join(name));
        tree::find_in(&folders, program).is_some()
    }

    /// The programs that the tests start and that the root does not have.
    fn lacks(&self) -> Vec<&'static str> {
        setup::TOOLS.iter().map(|(program, _)| *program).filter(|program| !self.has(program)).collect()
    }

    /// Fails if the root has a program that it must not have, or lacks one that the tests start.
    fn check(&self) -> Result<()> {
        let foreign: Vec<&str> = FOREIGN.into_iter().filter(|program| self.has(program)).collect();
        if !foreign.is_empty() {
            bail!("{} has {}: remove that folder, then run this again", self.folder.display(), foreign.join(", "));
        }
        let missing = self.lacks();
        if !missing.is_empty() {
            bail!("{} lacks {}: remove that folder, then run this again", self.folder.display(), missing.join(", "));
        }
        Ok(())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command in the tree, as root.
    pub fn run(&self, root: &Path, command: &[&str]) -> Result<()> {
        let place = Place::find(root)?;
        println!("In the minimal root: {}", command.join(" "));
        run_inside(self.enter(&place)?.args(["sh", "-c", PRIVILEGED, "sh"]).arg(&place.tree).args(command))
    }

    /// Runs `cargo xtask run` as an unprivileged user without sudo, with the programs that [`MinimalRoot::run`] built.
    pub fn run_unprivileged(&self, root: &Path) -> Result<()> {
        let place = Place::find(root)?;
        let mut command = self.enter(&place)?;
        println!("In the minimal root, as nobody: cargo xtask run, and with --demo feeds");
        command.args(["env", "--unset=CARGO_TARGET_DIR", "sh", "-c", UNPRIVILEGED, "sh"]);
        run_inside(command.arg(&place.tree).arg(place.target_inside()).arg(NOBODY))
    }

    /// Returns the command, to which the caller adds the words of another. It has only the variables that are named
    /// here.
    fn enter(&self, place: &Place) -> Result<Command> {
        let elevation = Elevation::require("entering the minimal root")?;
        let mut command = elevation.command("unshare", &[]);
        command.args(["--mount", "--", "sh", "-c", ENTER, "sh"]).arg(&self.folder);
        command.args([&place.tree, &place.target, &place.rustup, &place.cargo]);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.cargo.join("bin").display());
        command.args(["env", "-i", "HOME=/root", "CARGO_NET_OFFLINE=true", &format!("PATH={path}")]);
        command.arg(format!("CARGO_HOME={}", place.cargo.display()));
        command.arg(format!("RUSTUP_HOME={}", place.rustup.display()));
        if place.own_target || env::var_os("CARGO_TARGET_DIR").is_some() {
            command.arg(format!("CARGO_TARGET_DIR={}", place.target_inside().display()));
        }
        for key in VARIABLES {
            if let Ok(value) = env::var(key) {
                command.arg(format!("{key}={value}"));
            }
        }
        Ok(command)
    }
}

/// Runs a command as [`crate::process::run`] does, but does not show the scripts in the error.
fn run_inside(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run unshare (Debian's package util-linux)")?;
    if !status.success() {
        bail!("the command failed in the minimal root ({status})");
    }
    Ok(())
}

/// The folders to mount.
struct Place {
    tree: PathBuf,
    target: PathBuf,
    rustup: PathBuf,
    cargo: PathBuf,
    /// True if programs that were built here may not run there, or if root would write into the user's folder.
    own_target: bool,
}

impl Place {
    fn find(root: &Path) -> Result<Self> {
        let cargo = tree::cargo_home()?;
        let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".rustup")));
        let rustup = rustup.filter(|folder| folder.is_dir()).context(
            "the minimal root takes its Rust toolchain from rustup's folder, and there is none: install Rust by rustup",
        )?;
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let same = release.lines().any(|line| line == format!("VERSION_CODENAME={SUITE}"));
        Ok(Self { tree: root.to_owned(), target: tree::target(root), rustup, cargo, own_target: !same || !is_root() })
    }

    fn target_inside(&self) -> PathBuf {
        if self.own_target { OWN_TARGET.into() } else { self.target.clone() }
    }
}

/// Fetches the crates that are built in the root, which has no network settings.
pub fn fetch(root: &Path) -> Result<()> {
    read(Command::new(tree::cargo()).current_dir(root).args(["fetch", "--locked", "--quiet"])).map(drop)
}
