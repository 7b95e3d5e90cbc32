//! `cargo xtask setup`: installs what is missing, and announces each step.
//!
//! It uses rustup's nightly for the XDP programs if that has rust-src already. Otherwise it uses the distribution's
//! compiler, which Debian 12 and later ship with `core` for the BPF target. It builds bpf-linker against the same major
//! version of LLVM.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build_ebpf::recorded;
use crate::debian::{apt_install, is_debian};
use crate::process::{read, run_shown, succeeds};
use crate::toolchain::{Compiler, LINKER, TARGET, Toolchain, find_linker, linker_folder};
use crate::{promtool, tree};

/// The version of bpf-linker that `setup` builds.
const LINKER_VERSION: &str = "0.13.0";
/// The version of cargo-deny that `setup` builds.
const CARGO_DENY_VERSION: &str = "0.20.2";
/// The program that checks licences, sources and advisories of dependencies.
const CARGO_DENY: &str = "cargo-deny";
/// The version of cargo-deb that `deb` builds.
const CARGO_DEB_VERSION: &str = "3.8.0";
/// The program that makes Debian packages.
const CARGO_DEB: &str = "cargo-deb";
/// The version of cargo-cyclonedx that `sbom` builds.
const CARGO_CYCLONEDX_VERSION: &str = "0.5.9";
/// The program that writes bills of materials.
const CARGO_CYCLONEDX: &str = "cargo-cyclonedx";
/// Debian's compiler with `core` for the target.
const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// Programs that the tests start, and Debian's packages of them. The demonstration starts the first alone. tshark,
/// ffmpeg and gst-launch-1.0 give second opinions on feeds.
pub const TOOLS: [(&str, &str); 9] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("tshark", "tshark"),
    ("python3", "python3"),
    ("ffmpeg", "ffmpeg"),
    ("nats-server", "nats-server"),
    ("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"),
];

/// Options of the command.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Install the toolchain that built the checked-in XDP objects, even if another one is complete.
    #[arg(long)]
    pub recorded: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    if install(&TOOLS)? {
        println!("The programs that the tests start are installed.");
    }
    xdp_toolchain(&root, arguments.recorded)?;
    build_tool(&root, CARGO_DENY, CARGO_DENY_VERSION)?;
    promtool::setup(&root)
}

/// Finds cargo-deny in `setup`'s folder, in cargo's folder, or in the search path.
pub fn find_cargo_deny(root: &Path) -> Result<Option<PathBuf>> {
    find_tool(root, CARGO_DENY)
}

/// Finds cargo-deb in the same places, or builds it.
pub fn cargo_deb(root: &Path) -> Result<PathBuf> {
    tool(root, CARGO_DEB, CARGO_DEB_VERSION)
}

/// Finds cargo-cyclonedx in the same places, or builds it.
pub fn cargo_cyclonedx(root: &Path) -> Result<PathBuf> {
    tool(root, CARGO_CYCLONEDX, CARGO_CYCLONEDX_VERSION)
}

fn tool(root: &Path, tool: &str, version: &str) -> Result<PathBuf> {
    build_tool(root, tool, version)?;
    find_tool(root, tool)?.with_context(|| format!("{tool} is missing after its installation"))
}

fn find_tool(root: &Path, tool: &str) -> Result<Option<PathBuf>> {
    let folders = [tool_folder(root, tool), tree::cargo_home()?];
    let mut candidates =
        folders.map(|folder| folder.join("bin").join(tool)).into_iter().chain(tree::find_program(tool));
    // Some of cargo's tools have a version only behind the word that cargo starts them with.
    let word = tool.strip_prefix("cargo-").unwrap_or(tool);
    let runs = |program: &PathBuf, words: &[&str]| succeeds(Command::new(program).args(words));
    Ok(candidates.find(|program| runs(program, &["--version"]) || runs(program, &[word, "--version"])))
}

fn tool_folder(root: &Path, tool: &str) -> PathBuf {
    tree::target(root).join(tool)
}

/// Builds one of cargo's tools that Debian does not package, unless it is there. Without optimization it builds in half
/// the time, and is fast enough.
fn build_tool(root: &Path, tool: &str, version: &str) -> Result<()> {
    if let Some(program) = find_tool(root, tool)? {
        println!("{tool} is installed: {}", program.display());
        return Ok(());
    }
    println!("Building {tool} {version}, for this tree alone; this takes about a minute.");
    let mut command = cargo_install();
    for (setting, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    command.args([tool, "--locked", "--version", version, "--root"]).arg(tool_folder(root, tool));
    run_shown(&mut command)
}

/// `cargo install`, independent of the caller's settings.
fn cargo_install() -> Command {
    let mut command = Command::new(tree::cargo());
    for (key, _) in env::vars_os().filter(|(key, _)| crate::build_ebpf::steers_cargo(key)) {
        command.env_remove(key);
    }
    command.current_dir("/").arg("install");
    command
}

/// Installs the packages of missing programs; a program may take several, with spaces between them. Returns true if
/// none was missing.
pub fn install(tools: &[(&str, &str)]) -> Result<bool> {
    let missing: Vec<_> = tools.iter().filter(|(program, _)| tree::find_program(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|(_, packages)| packages.split(' ')).collect();
    println!("Missing programs: {}.", missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", "));
    if !is_debian() {
        bail!(
            "install these programs with your distribution's package manager; Debian's packages of them are: {}",
            packages.join(" ")
        );
    }
    apt_install(&packages)?;
    Ok(false)
}

fn xdp_toolchain(root: &Path, need_recorded: bool) -> Result<()> {
    let wanted = if need_recorded { recorded(root)? } else { None };
    let fits = |toolchain: &Toolchain| wanted.as_ref().is_none_or(|wanted| *wanted == toolchain.versions);
    if let Some(toolchain) = Toolchain::find(root)?.iter().find(|toolchain| fits(toolchain)) {
        println!("The toolchain of the XDP programs is installed:\n{}", toolchain.versions.to_string().trim_end());
        return Ok(());
    }

    println!("The toolchain of the XDP programs is missing: a Rust compiler with `core` for {TARGET}, and {LINKER}.");
    let compilers = Compiler::find();
    // The checked-in objects are built with the distribution's compiler.
    let serves = |compiler: &&Compiler| !need_recorded || matches!(compiler, Compiler::Distribution { .. });
    let compiler = match compilers.iter().find(serves) {
        Some(compiler) => compiler.clone(),
        None => install_compiler()?,
    };
    println!("Compiler: {}", read(Command::new(compiler.rustc()).arg("--version"))?);
    if find_linker(root)?.is_none() {
        install_linker(root, &compiler)?;
    }

    let found = Toolchain::find(root)?;
    if found.is_empty() {
        bail!("the toolchain of the XDP programs is incomplete even after its installation");
    }
    let installed: String = found.iter().map(|toolchain| toolchain.versions.to_string()).collect();
    println!("Installed:\n{}", installed.trim_end());
    if !found.iter().any(fits) {
        println!("The checked-in objects were built with another toolchain: `build-ebpf --check` will fail.");
    }
    Ok(())
}

fn install_compiler() -> Result<Compiler> {
    if !is_debian() {
        bail!(
            "this distribution's compiler is not known to have `core` for {TARGET}: install rustup's nightly with its \
             source (`rustup toolchain install nightly --component rust-src`) and LLVM's development files, then run \
             this again"
        );
    }
    apt_install(&COMPILER_PACKAGES)?;
    let mut compilers = Compiler::find().into_iter();
    compilers.find(|compiler| matches!(compiler, Compiler::Distribution { .. })).with_context(|| {
        format!("/usr/bin/rustc has no `core` for {TARGET} although {} are installed", COMPILER_PACKAGES.join(" and "))
    })
}

/// Builds bpf-linker against the compiler's major version of LLVM, since it cannot read bitcode of a newer one.
fn install_linker(root: &Path, compiler: &Compiler) -> Result<()> {
    let verbose = read(Command::new(compiler.rustc()).arg("-vV"))?;
    let major = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let major = major.with_context(|| format!("{} does not print its version of LLVM", compiler.rustc().display()))?;
    let prefix = match llvm_prefix(major) {
        Some(prefix) => prefix,
        None if is_debian() => {
            apt_install(&[&format!("llvm-{major}-dev")])?;
            llvm_prefix(major)
                .with_context(|| format!("llvm-config of LLVM {major} is missing after its installation"))?
        }
        None => bail!(
            "{LINKER} needs the development files of LLVM {major} (llvm-config in the search path): install them, \
             then run this again"
        ),
    };
    println!("Building {LINKER} {LINKER_VERSION} against LLVM {major}, for this tree alone; this takes some minutes.");
    let mut command = cargo_install();
    command.env("LLVM_PREFIX", prefix).arg(LINKER);
    command.args([
        "--locked",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
        "--features",
        &format!("llvm-{major}"),
    ]);
    run_shown(command.arg("--root").arg(linker_folder(root)))
}

/// The folder with `bin/llvm-config` of this major version of LLVM.
fn llvm_prefix(major: &str) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{major}/bin/llvm-config"));
    let candidates =
        [Some(debian), tree::find_program(&format!("llvm-config-{major}")), tree::find_program("llvm-config")];
    candidates.into_iter().flatten().find_map(|config| {
        let version = read(Command::new(&config).arg("--version")).ok()?;
        let prefix = read(Command::new(&config).arg("--prefix")).ok()?;
        (version.split('.').next() == Some(major)).then(|| PathBuf::from(prefix))
    })
}
