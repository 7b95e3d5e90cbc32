//! The programs that cargo builds, as it reports them itself (`--message-format=json`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{read, shown};
use crate::tree;

/// A program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The path of the program.
    pub executable: PathBuf,
    /// Name of its target: `delivery` for `tests/delivery.rs`.
    pub target: String,
    /// The folder of its package.
    pub package: PathBuf,
    /// Returns true if it was built with a test harness.
    pub is_test: bool,
}

/// Runs cargo with these arguments in the tree, shows its messages on the terminal, and returns the programs it built.
pub fn build(root: &Path, arguments: &[&str]) -> Result<Vec<Artifact>> {
    build_with(Command::new(tree::cargo()).current_dir(root).args(arguments))
}

/// As [`build`]. Returns the path of the program of this name.
pub fn program(root: &Path, arguments: &[&str], name: &str) -> Result<PathBuf> {
    named(&build(root, arguments)?, name)
}

/// The path of the program of this name.
pub fn named(built: &[Artifact], name: &str) -> Result<PathBuf> {
    let found = built.iter().find(|artifact| artifact.target == name);
    Ok(found.with_context(|| format!("cargo built no program called {name}"))?.executable.clone())
}

/// Cargo in the tree, with compiler flags that may be unstable options, and with a target folder of its own.
pub fn cargo_with_flags(root: &Path, subcommand: &str, flags: &[&str], folder: &Path) -> Result<Command> {
    // With a target named, cargo builds build scripts and procedural macros without the flags.
    let version = read(Command::new(tree::cargo()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo does not name its host")?;
    let mut command = Command::new(tree::cargo());
    command.current_dir(root).env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command.args([subcommand, "--locked", "--target", host, "--target-dir"]).arg(folder);
    Ok(command)
}

/// As [`build`], by a command that builds with cargo.
pub fn build_with(command: &mut Command) -> Result<Vec<Artifact>> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot run `{}`", shown(command)))?;
    let output = child.wait_with_output().with_context(|| format!("`{}` ended unexpectedly", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(command), output.status);
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(messages: &str) -> Vec<Artifact> {
    messages.lines().filter_map(|line| artifact(&serde_json::from_str(line).ok()?)).collect()
}

fn artifact(message: &Value) -> Option<Artifact> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    Some(Artifact {
        executable: message["executable"].as_str()?.into(),
        target: message["target"]["name"].as_str()?.to_owned(),
        package: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_the_rest() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/t/a/Cargo.toml","target":{"name":"a"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/t/a/Cargo.toml","target":{"name":"b"},"profile":{"test":true},"executable":"/t/x/b-1"}"#,
            "\nwords of a build script\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        let expected =
            Artifact { executable: "/t/x/b-1".into(), target: "b".into(), package: "/t/a".into(), is_test: true };
        assert_eq!(parse(messages), [expected]);
    }
}
