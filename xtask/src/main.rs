//! The project's own commands, started as `cargo xtask COMMAND`.

mod aarch64;
mod apt;
mod artifacts;
mod bench;
mod build_ebpf;
mod ci;
mod deb;
mod debian;
mod demonstrate_feeds;
mod demonstration;
mod failures;
mod fuzz;
mod interrupt;
mod man;
mod minimal_root;
mod object;
mod outcome;
mod preflight;
mod privilege;
mod process;
mod promtool;
mod reproducible;
mod run;
mod sanitize;
mod sbom;
mod scenario;
mod setup;
mod test;
mod toolchain;
mod torture;
mod tree;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the other commands need: `ip`, the toolchain of the XDP programs, and cargo-deny.
    Setup(setup::Arguments),
    /// Builds the XDP program and writes it to receiver-ebpf/object/.
    BuildEbpf(build_ebpf::Arguments),
    /// Builds the receiver and demonstrates it; with arguments after `--`, starts it with these.
    Run(run::Arguments),
    /// Builds all tests as the calling user, and runs them as root.
    Test(test::Arguments),
    /// Measures the receiver and its peers in separate network namespaces.
    Bench(bench::Arguments),
    /// Does random operations and faults to a running receiver, and judges what arrives.
    Torture(torture::Arguments),
    /// Runs everything that a change has to pass: formatting, clippy, dependencies, documentation, tests, fuzz targets,
    /// virtual machines, the XDP objects.
    Ci(ci::Arguments),
    /// Runs the fuzz targets, and reports executions and coverage.
    Fuzz(fuzz::Arguments),
    /// Checks the workspace for aarch64, and runs unit tests in QEMU's user mode.
    Aarch64,
    /// Runs tests under AddressSanitizer, ThreadSanitizer and Miri.
    Sanitize(sanitize::Arguments),
    /// Boots virtual machines with other kernels, and runs the receiver and its tests on their network driver.
    Vm(vm::Arguments),
    /// Writes the manual pages of the command `receiver`.
    Man(man::Arguments),
    /// Builds a Debian package of the command `receiver`.
    Deb(deb::Arguments),
    /// Writes a bill of materials for each crate, and checks that it is complete.
    Sbom(sbom::Arguments),
    /// Builds the command `receiver` in two folders, and compares the bytes.
    Reproducible(reproducible::Arguments),
    /// Makes the namespaces that `run` and `test` need, and removes them.
    #[command(hide = true)]
    TryNamespaces {
        /// Without privilege.
        #[arg(long)]
        in_user_namespace: bool,
    },
    /// The demonstration of `run`, restarted as root.
    #[command(hide = true)]
    Demonstrate {
        /// What to demonstrate.
        #[arg(long, value_enum, default_value_t)]
        demo: run::Demo,
        /// The built receiver.
        receiver: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Joins an error and its causes, except causes that the error before already quotes.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    line
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup(arguments) => setup::run(&arguments)?,
        Command::BuildEbpf(arguments) => build_ebpf::run(&arguments)?,
        Command::Run(arguments) => return run::run(&arguments),
        Command::Test(arguments) => {
            return Ok(if test::run(&arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Bench(arguments) => return bench::run(&arguments),
        Command::Torture(arguments) => return torture::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments)?,
        Command::Fuzz(arguments) => fuzz::run(&arguments)?,
        Command::Aarch64 => aarch64::run()?,
        Command::Sanitize(arguments) => sanitize::run(&arguments)?,
        Command::Vm(arguments) => return vm::run(&arguments),
        Command::Man(arguments) => man::run(&arguments)?,
        Command::Deb(arguments) => deb::run_command(&arguments)?,
        Command::Sbom(arguments) => sbom::run_command(&arguments)?,
        Command::Reproducible(arguments) => reproducible::run_command(&arguments)?,
        Command::TryNamespaces { in_user_namespace } => preflight::try_namespaces(in_user_namespace)?,
        Command::Demonstrate { demo, receiver } => return demo.run(&receiver, demonstration::Mode::Best),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_quoted_stands_once() {
        let cause = std::io::Error::from_raw_os_error(1);
        let quoting = netlab::Error::UserNamespace { step: "unshare", source: cause };
        let line = in_one_line(&anyhow::Error::new(quoting).context("no lab"));
        assert!(line.starts_with("no lab: cannot make a user namespace"), "{line}");
        assert_eq!(line.matches("Operation not permitted").count(), 1, "{line}");
    }
}
