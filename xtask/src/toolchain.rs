//! The toolchain of the XDP programs: a compiler with `core` for `bpfel-unknown-none`, and bpf-linker.
//!
//! Two compilers work: rustup's nightly with the component rust-src (which builds `core` along with the program), and a
//! distribution's compiler that ships `core` for the target. Everything else may use another compiler.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{read, succeeds};
use crate::tree;

/// The target of the XDP programs.
pub const TARGET: &str = "bpfel-unknown-none";
/// The linker's program.
pub const LINKER: &str = "bpf-linker";

/// A compiler for the XDP programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// rustup's nightly with rust-src.
    Nightly {
        /// Its rustc.
        rustc: PathBuf,
        /// Its cargo.
        cargo: PathBuf,
    },
    /// A distribution's compiler with `core` for the target.
    Distribution {
        /// Its rustc.
        rustc: PathBuf,
    },
}

impl Compiler {
    /// All installed compilers, in the order of preference.
    pub fn find() -> Vec<Self> {
        nightly().into_iter().chain(distribution()).collect()
    }

    /// The compiler itself.
    pub fn rustc(&self) -> &Path {
        match self {
            Self::Nightly { rustc, .. } | Self::Distribution { rustc } => rustc,
        }
    }
}

/// A compiler and a linker, with their versions.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// bpf-linker.
    pub linker: PathBuf,
    /// The versions, which are recorded beside the objects.
    pub versions: Versions,
}

impl Toolchain {
    /// All complete toolchains, in the order of preference.
    pub fn find(root: &Path) -> Result<Vec<Self>> {
        let Some(linker) = find_linker(root)? else { return Ok(Vec::new()) };
        let complete = |compiler: Compiler| {
            let versions = Versions::ask(&compiler, &linker)?;
            Ok(Self { compiler, linker: linker.clone(), versions })
        };
        Compiler::find().into_iter().map(complete).collect()
    }
}

/// What determines the bytes of the objects besides their source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    rustc: String,
    linker: String,
    llvm: String,
}

impl Versions {
    fn ask(compiler: &Compiler, linker: &Path) -> Result<Self> {
        let verbose = read(Command::new(compiler.rustc()).arg("-vV"))?;
        let line = |key: &str| verbose.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").to_owned();
        Ok(Self {
            rustc: verbose.lines().next().unwrap_or("unknown").to_owned(),
            linker: read(Command::new(linker).arg("--version"))?,
            llvm: linker_llvm(linker).unwrap_or_else(|| line("LLVM version: ")),
        })
    }

    /// Reads a record that [`Versions`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let line =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
        Some(Self { rustc: line("rustc:")?, linker: line("linker:")?, llvm: line("llvm:")? })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "rustc: {}\nlinker: {}\nllvm: {}", self.rustc, self.linker, self.llvm)
    }
}

/// The folder in which `setup` installs bpf-linker.
pub fn linker_folder(root: &Path) -> PathBuf {
    tree::target(root).join("xdp-toolchain")
}

/// Finds bpf-linker in `setup`'s folder, in cargo's folder, or in the search path.
pub fn find_linker(root: &Path) -> Result<Option<PathBuf>> {
    let folders = [linker_folder(root), tree::cargo_home()?];
    let mut candidates =
        folders.map(|folder| folder.join("bin").join(LINKER)).into_iter().chain(tree::find_program(LINKER));
    Ok(candidates.find(|candidate| succeeds(Command::new(candidate).arg("--version"))))
}

fn nightly() -> Option<Compiler> {
    let which = |tool: &str| read(Command::new("rustup").args(["which", "--toolchain", "nightly", tool])).ok();
    let (rustc, cargo) = (PathBuf::from(which("rustc")?), PathBuf::from(which("cargo")?));
    let source = sysroot(&rustc).ok()?.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    source.is_file().then_some(Compiler::Nightly { rustc, cargo })
}

fn distribution() -> Option<Compiler> {
    // By its full path, since the first rustc in the search path usually is rustup's proxy.
    let rustc = PathBuf::from("/usr/bin/rustc");
    let folder = sysroot(&rustc).ok()?.join("lib/rustlib").join(TARGET).join("lib");
    let has_core =
        folder.read_dir().ok()?.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore"));
    has_core.then_some(Compiler::Distribution { rustc })
}

/// The compiler's own folder.
pub fn sysroot(rustc: &Path) -> Result<PathBuf> {
    read(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from).context("the compiler has no sysroot")
}

/// The version of the LLVM that the linker loads as a shared library, if it does.
fn linker_llvm(linker: &Path) -> Option<String> {
    let libraries = read(Command::new("ldd").arg(linker)).ok()?;
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libLLVM"))?;
    let library = PathBuf::from(line.split_whitespace().nth(2)?);
    let config = library.parent()?.parent()?.join("bin/llvm-config");
    read(Command::new(config).arg("--version"))
        .ok()
        .or_else(|| Some(library.file_name()?.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let versions =
            Versions { rustc: "rustc 1.2.3 (abc)".into(), linker: "bpf-linker 0.13.0".into(), llvm: "22.1.8".into() };
        let text = format!("# A comment.\n{versions}");
        assert_eq!(Versions::parse(&text), Some(versions));
        assert_eq!(Versions::parse("rustc: 1\n"), None);
    }
}
