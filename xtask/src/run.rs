//! `cargo xtask run`: builds the receiver, then demonstrates it in separate namespaces, or starts it with the given
//! arguments.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::artifacts;
use crate::demonstrate_feeds;
use crate::demonstration::{self, Mode};
use crate::interrupt;
use crate::preflight;
use crate::privilege::Elevation;
use crate::process::{is_root, shown};
use crate::tree;

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to demonstrate between two network namespaces
    #[arg(long, value_enum, default_value_t, conflicts_with = "arguments")]
    demo: Demo,
    /// Arguments of the receiver. Without any, it is demonstrated between two network namespaces.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What can be demonstrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Demo {
    /// Source-specific multicast: what is wanted arrives, and nothing else
    #[default]
    Sources,
    /// A feed on two legs that lose packets: one whole feed comes out
    Feeds,
}

impl Demo {
    /// Runs it with a built receiver.
    pub fn run(self, receiver: &Path, mode: Mode) -> Result<ExitCode> {
        match self {
            Self::Sources => demonstration::run(receiver, mode),
            Self::Feeds => demonstrate_feeds::run(receiver, mode),
        }
    }

    /// As the command line names it.
    fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Feeds => "feeds",
        }
    }

    /// What it shows, and for how long.
    fn shows(self) -> String {
        match self {
            Self::Sources => format!(
                "shows it at work between two network namespaces, for {} seconds in each mode that it shows",
                demonstration::RUN_SECONDS
            ),
            Self::Feeds => {
                "shows how it makes one feed of two between two network namespaces, for 10 seconds".to_owned()
            }
        }
    }
}

/// The duration of the build, for the first line.
const BUILD: &str = "This builds the receiver (the first time up to 5 minutes on two processors, then seconds)";

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root()?;
    if !arguments.arguments.is_empty() {
        preflight::programs(&root, "`cargo xtask run`", false)?;
        eprintln!("{BUILD}, and starts it.");
        return start(&build(&root)?, &arguments.arguments);
    }
    preflight::programs(&root, "the demonstration (`cargo xtask run`)", true)?;
    let elevation = Elevation::find();
    preflight::namespaces(elevation)?;
    eprintln!("{BUILD}, and {}. Nothing outside of them is touched.", arguments.demo.shows());
    demonstrate(&build(&root)?, elevation, arguments.demo)
}

fn build(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "receiver-cli", "--bin", "receiver"];
    artifacts::program(root, &arguments, "receiver")
}

/// Runs as root, if possible by sudo, and otherwise in a user namespace.
fn demonstrate(receiver: &Path, elevation: Option<Elevation>, demo: Demo) -> Result<ExitCode> {
    match elevation {
        Some(Elevation::Root) => demo.run(receiver, Mode::Best),
        Some(Elevation::Sudo) => {
            let own = preflight::own_program()?;
            let mut command = Elevation::Sudo.command_passing(own, &["RUST_BACKTRACE", "RUST_LOG", "TERM"]);
            command.args(["demonstrate", "--demo", demo.name()]).arg(receiver);
            println!("Root by sudo: `{}`", shown(&command));
            interrupt::run(&mut command)
        }
        None => {
            println!(
                "Neither root nor sudo: the demonstration runs in a user namespace, where XDP cannot be loaded, with \
                 the receiver in mode socket."
            );
            netlab::enter_user_namespace()?;
            demo.run(receiver, Mode::Socket)
        }
    }
}

/// Replaces this process by the receiver, in the caller's namespace.
fn start(receiver: &Path, arguments: &[String]) -> Result<ExitCode> {
    let mut command = if is_root() || !needs_root(arguments) {
        Command::new(receiver)
    } else if let Some(elevation) = Elevation::find() {
        elevation.command(receiver, &[])
    } else {
        eprintln!("Neither root nor sudo: the receiver runs without privilege, and reports what that rules out.");
        Command::new(receiver)
    };
    command.args(arguments);
    let error = command.exec();
    bail!("cannot run `{}`: {error}", shown(&command))
}

/// Returns true if the arguments need no privilege: mode `socket`, help and version.
fn needs_root(arguments: &[String]) -> bool {
    let has = |words: &[&str]| arguments.iter().any(|argument| words.contains(&argument.as_str()));
    let socket = arguments.windows(2).any(|pair| pair == ["--mode", "socket"]) || has(&["--mode=socket"]);
    !socket && !has(&["--help", "-h", "help", "--version", "-V"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_asked_for_only_where_it_is_needed() {
        let needs = |line: &str| needs_root(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(needs("run -i eth7 10.0.0.1@232.1.1.1:5000"));
        assert!(needs("run -i eth7 --mode copy 10.0.0.1@232.1.1.1:5000"));
        assert!(!needs("run -i eth7 --mode socket 10.0.0.1@232.1.1.1:5000"));
        assert!(!needs("run --mode=socket -i eth7 10.0.0.1@232.1.1.1:5000"));
        assert!(!needs("run --help"));
    }
}
