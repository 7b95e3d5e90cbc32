//! `cargo xtask bench`: builds the benchmark and runs it as root. It installs missing peers only on request.

use std::io::{IsTerminal, stdin, stdout};
use std::process::ExitCode;

use anyhow::Result;

use crate::artifacts;
use crate::interrupt;
use crate::preflight;
use crate::privilege::Elevation;
use crate::{setup, tree};

/// The benchmark's package, and its program.
const PACKAGE: &str = "receiver-bench";
/// The package of the command, which some tables start.
const COMMAND: &str = "receiver-cli";
/// The option that installs peers.
const INSTALL: &str = "--install-peers";
/// Foreign programs that the benchmark measures or needs, and Debian's packages of them.
const PEERS: [(&str, &str); 7] = [
    ("dpdk-testpmd", "dpdk-dev"),
    ("dumpcap", "wireshark-common"),
    ("ethtool", "ethtool"),
    ("iperf", "iperf"),
    ("netsniff-ng", "netsniff-ng"),
    ("taskset", "util-linux"),
    ("tcpdump", "tcpdump"),
];

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Install Debian's packages of missing peers, as root: DPDK (about 250 packages with dependencies), iperf,
    /// dumpcap, tcpdump, netsniff-ng, ethtool.
    #[arg(long)]
    install_peers: bool,
    /// Options of the benchmark: --quick, --rounds N, --json FILE, --chart FILE.svg, --rows NAME,…, --tables NAME,…;
    /// `-- --help` prints all of them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Arguments {
    /// Also accepts the option after the benchmark's own options.
    fn split(&self) -> (bool, Vec<&String>) {
        let rest: Vec<&String> = self.arguments.iter().filter(|argument| *argument != INSTALL).collect();
        (self.install_peers || rest.len() < self.arguments.len(), rest)
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root()?;
    let (install, arguments) = arguments.split();
    preflight::programs(&root, "the benchmark (`cargo xtask bench`)", true)?;
    let elevation = Elevation::require("the benchmark (`cargo xtask bench`)")?;
    preflight::namespaces(Some(elevation))?;
    println!(
        "This builds the benchmark (the first time up to 6 minutes on two processors), and measures as root in \
         network namespaces of its own: about 35 minutes, with --quick about 20."
    );
    peers(install);
    let packages = ["build", "--release", "--package", PACKAGE, "--package", COMMAND];
    let bench = artifacts::program(&root, &packages, PACKAGE)?;
    interrupt::run(elevation.command_passing(bench, &["RUST_BACKTRACE", "PATH"]).args(arguments))
}

/// Reports missing peers, and installs them on request. Each row reports again what it lacks.
fn peers(install: bool) {
    let missing: Vec<&str> =
        PEERS.iter().map(|(program, _)| *program).filter(|program| tree::find_program(program).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    println!("Missing peers: {}. Their rows stay empty without them.", missing.join(", "));
    if !consent(install, stdin().is_terminal() && stdout().is_terminal(), ask) {
        println!("Nothing is installed; `cargo xtask bench {INSTALL}` installs Debian's packages of them.");
    } else if let Err(error) = setup::install(&PEERS) {
        println!("Not installed: {error:#}");
    }
}

/// Returns true if the option is given, or if somebody at a terminal agrees.
fn consent(flag: bool, terminal: bool, ask: impl FnOnce() -> bool) -> bool {
    flag || (terminal && ask())
}

fn ask() -> bool {
    print!("Install Debian's packages of them as root (DPDK brings about 250)? [y/N] ");
    let mut answer = String::new();
    let read = std::io::Write::flush(&mut stdout()).and_then(|()| stdin().read_line(&mut answer));
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_without_the_flag_or_a_yes() {
        assert!(consent(true, false, || unreachable!("nobody is asked where the flag stands")));
        assert!(!consent(false, false, || unreachable!("nobody is asked without a terminal")));
        assert!(consent(false, true, || true));
        assert!(!consent(false, true, || false));
    }

    #[test]
    fn the_flag_may_stand_behind_the_benchmarks_options() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let arguments = Arguments { install_peers: false, arguments: words(&["--quick", INSTALL]) };
        assert_eq!(arguments.split(), (true, vec![&"--quick".to_owned()]));
        let arguments = Arguments { install_peers: false, arguments: words(&["--quick"]) };
        assert!(!arguments.split().0);
    }
}
