//! `cargo xtask build-ebpf`: compiles the XDP programs into the checked-in objects, or proves that these match their
//! source. The same source and toolchain give the same bytes, wherever the tree, cargo's folder and the target folder
//! are: cargo runs outside the tree and without the caller's settings, source paths are remapped, and DWARF is removed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::object::{Remap, strip};
use crate::process;
use crate::process::{if_there, read};
use crate::toolchain::{Compiler, TARGET, Toolchain, Versions};
use crate::tree;

/// The folder of the checked-in objects, in the tree.
const OBJECT_FOLDER: &str = "receiver-ebpf/object";
/// The programs: their names in cargo, and their objects in that folder.
const PROGRAMS: [(&str, &str); 3] =
    [("receiver", "receiver.bpf.o"), ("generator", "generator.bpf.o"), ("baseline", "baseline.bpf.o")];
/// The record of the toolchain, in that folder.
const RECORD: &str = "receiver.bpf.toolchain";

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rebuild into another folder and compare with the checked-in objects byte by byte; change nothing.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    if arguments.check { check(&root) } else { write(&root) }
}

/// Returns the toolchain that built the checked-in objects.
pub fn recorded(root: &Path) -> Result<Option<Versions>> {
    let path = root.join(OBJECT_FOLDER).join(RECORD);
    let text = if_there(fs::read_to_string(&path)).with_context(|| format!("cannot read {}", path.display()))?;
    let parse =
        |text: String| Versions::parse(&text).with_context(|| format!("{} is not such a record", path.display()));
    text.map(parse).transpose()
}

fn write(root: &Path) -> Result<()> {
    let found = Toolchain::find(root)?;
    let recorded = recorded(root)?;
    // The recorded toolchain first, so that the objects only change with their source.
    let same = found.iter().find(|toolchain| Some(&toolchain.versions) == recorded.as_ref());
    let Some(toolchain) = same.or(found.first()) else { bail!(no_toolchain()) };
    let built = build(root, toolchain, "xdp")?;
    let folder = root.join(OBJECT_FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    for ((_, object), bytes) in PROGRAMS.iter().zip(&built) {
        save(object, bytes)?;
        println!("{OBJECT_FOLDER}/{object}: {} bytes", bytes.len());
    }
    let record = format!(
        "# The toolchain that built the objects: written by `cargo xtask build-ebpf`, read by its --check.\n{}",
        toolchain.versions
    );
    save(RECORD, record.as_bytes())?;
    println!("{}", toolchain.versions.to_string().trim_end());
    if recorded.is_some_and(|recorded| recorded != toolchain.versions) {
        println!("The toolchain differs from the recorded one: commit the record too.");
    }
    Ok(())
}

fn check(root: &Path) -> Result<()> {
    let recorded = recorded(root)?
        .with_context(|| format!("{OBJECT_FOLDER}/{RECORD} is missing: run `cargo xtask build-ebpf`"))?;
    let found = Toolchain::find(root)?;
    let Some(toolchain) = found.iter().find(|toolchain| toolchain.versions == recorded) else {
        if found.is_empty() {
            bail!(no_toolchain());
        }
        let here: String = found.iter().map(|toolchain| format!("{}\n", toolchain.versions)).collect();
        bail!(
            "the objects cannot be compared: they were built with another toolchain than the ones installed \
             here.\nrecorded:\n{recorded}here:\n\
             {here}Install the recorded one, or rebuild with `cargo xtask build-ebpf`, run the tests, and commit what \
             changed."
        );
    };
    let built = build(root, toolchain, "xdp-check")?;
    for ((_, object), built) in PROGRAMS.iter().zip(&built) {
        let path = root.join(OBJECT_FOLDER).join(object);
        let checked_in =
            fs::read(&path).with_context(|| format!("cannot read {}: run `cargo xtask build-ebpf`", path.display()))?;
        if *built != checked_in {
            bail!(
                "{OBJECT_FOLDER}/{object} does not match its source ({} bytes checked in, {} built with the same \
                 toolchain): \
                 run `cargo xtask build-ebpf`, run the tests, and commit it",
                checked_in.len(),
                built.len()
            );
        }
        println!("{OBJECT_FOLDER}/{object} matches its source, byte by byte ({} bytes).", built.len());
    }
    Ok(())
}

fn no_toolchain() -> &'static str {
    "there is no toolchain for the XDP program here: run `cargo xtask setup`"
}

/// Compiles and strips all programs, in the order of [`PROGRAMS`], in `folder` of the target folder.
fn build(root: &Path, toolchain: &Toolchain, folder: &str) -> Result<Vec<Vec<u8>>> {
    let target = tree::target(root).join(folder);
    let manifest = root.join("receiver-ebpf/Cargo.toml");
    let nightly = matches!(toolchain.compiler, Compiler::Nightly { .. });

    // The crates must be present before their folders can be listed.
    process::run(cargo(toolchain).args(["fetch", "--quiet", "--locked", "--manifest-path"]).arg(&manifest))?;
    let remaps = remaps(toolchain)?;
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    // Header fields are aligned to 2 bytes. x86-64 and aarch64 can load words from there, which makes the program a
    // fifth shorter.
    flags.push("-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned());
    // By default the bindings use the building machine's architecture. The program does not depend on it.
    flags.extend(["--cfg".to_owned(), "bpf_target_arch=\"x86_64\"".to_owned()]);
    // Makes the tree's own paths relative to its root. This comes first: rustc uses the last prefix that matches, and
    // cargo's folder may be in the tree.
    flags.push(format!("--remap-path-prefix={}=", slash(root)));
    flags.extend(remaps.iter().map(|remap| format!("--remap-path-prefix={}={}", remap.from, remap.to)));

    let mut command = cargo(toolchain);
    command.args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]).arg(&manifest);
    command.arg("--target-dir").arg(&target);
    if nightly {
        command.args(["-Z", "build-std=core"]);
    }
    process::run(command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")))?;

    PROGRAMS
        .iter()
        .map(|(name, _)| {
            let compiled = target.join(TARGET).join("release").join(name);
            let elf = fs::read(&compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
            strip(&elf, &remaps)
        })
        .collect()
}

/// Cargo for the XDP programs, independent of the caller's environment and of settings in or above the tree.
fn cargo(toolchain: &Toolchain) -> Command {
    let mut command = match &toolchain.compiler {
        Compiler::Nightly { cargo, .. } => Command::new(cargo),
        Compiler::Distribution { .. } => Command::new(tree::cargo()),
    };
    for (key, _) in env::vars_os().filter(|(key, _)| steers_cargo(key)) {
        command.env_remove(key);
    }
    // Cargo reads settings in every folder from here up. Those in its own folder stay in effect, since they may name a
    // mirror.
    command.current_dir("/");
    command.env("RUSTC", toolchain.compiler.rustc()).env("RUSTC_BOOTSTRAP", "1");
    // An empty name means no wrapper. It must be set, since settings could name one.
    command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    command
}

/// Returns true for variables that affect what cargo and rustc build, or what their scripts see.
pub fn steers_cargo(key: &OsString) -> bool {
    let key = key.to_string_lossy();
    let keep = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    let steers = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC", "AYA_", "SOURCE_DATE_EPOCH", "LD_LIBRARY_PATH"];
    steers.iter().any(|prefix| key.starts_with(prefix)) && !keep.iter().any(|prefix| key.starts_with(prefix))
}

/// The folders outside the tree that the compiler names in its output.
fn remaps(toolchain: &Toolchain) -> Result<Vec<Remap>> {
    let rustc = toolchain.compiler.rustc();
    let mut remaps = Vec::new();
    // The folder's name depends on the registry's mirror, so it is removed.
    let sources = tree::cargo_home()?.join("registry/src");
    let registries = fs::read_dir(&sources).with_context(|| format!("cannot list {}", sources.display()))?;
    let mut registries: Vec<PathBuf> = registries.flatten().map(|entry| entry.path()).collect();
    registries.sort();
    remaps.extend(registries.iter().map(|registry| Remap { from: slash(registry), to: "/crates/".into() }));
    // The folder of `core`'s source, now or when a distribution built it.
    let source = crate::toolchain::sysroot(rustc)?.join("lib/rustlib/src/rust");
    remaps.push(Remap { from: slash(&source), to: "/rustc/".into() });
    let release = read(Command::new(rustc).arg("-vV"))?;
    let line = |key: &str| release.lines().find_map(|line| line.strip_prefix(key));
    if let Some(version) = line("release: ") {
        remaps.push(Remap { from: format!("/usr/src/rustc-{version}/"), to: "/rustc/".into() });
    }
    if let Some(commit) = line("commit-hash: ").filter(|commit| *commit != "unknown") {
        remaps.push(Remap { from: format!("/rustc/{commit}/"), to: "/rustc/".into() });
    }
    Ok(remaps)
}

/// A folder as a prefix of the paths in it.
fn slash(folder: &Path) -> String {
    format!("{}/", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_caller_stay_out_and_those_of_the_network_in() {
        for key in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "RUSTC_WRAPPER",
            "CARGO_BUILD_TARGET",
        ] {
            assert!(steers_cargo(&key.into()), "{key}");
        }
        for key in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_INDEX",
            "PATH",
            "HOME",
            "RUSTUP_HOME",
            "https_proxy",
        ] {
            assert!(!steers_cargo(&key.into()), "{key}");
        }
    }
}
