//! The project's own commands, started as `cargo xtask COMMAND`.

mod artifacts;
mod bench;
mod build_ebpf;
mod ci;
mod demonstration;
mod interrupt;
mod object;
mod outcome;
mod privilege;
mod process;
mod run;
mod setup;
mod test;
mod toolchain;
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
    /// Installs what the other commands need: the toolchain of the XDP program, and the tools that the tests run.
    Setup(setup::Arguments),
    /// Builds the XDP program and writes it to receiver-ebpf/object/.
    BuildEbpf(build_ebpf::Arguments),
    /// Builds the receiver and shows it at work; with arguments after `--`, starts it with these.
    Run(run::Arguments),
    /// Runs every test, elevating only the test programs.
    Test(test::Arguments),
    /// Measures the receiver beside its peers, in namespaces of its own.
    Bench(bench::Arguments),
    /// Everything that a change has to pass: formatting, clippy, documentation, tests, a virtual machine, the XDP object.
    Ci,
    /// Boots virtual machines with other kernels, and runs the receiver and its tests on their network driver.
    Vm(vm::Arguments),
    /// The demonstration of `run`, when it is started again as root.
    #[command(hide = true)]
    Demonstrate {
        /// The built receiver.
        receiver: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
        Command::Ci => ci::run()?,
        Command::Vm(arguments) => return vm::run(&arguments),
        Command::Demonstrate { receiver } => return demonstration::run(&receiver, demonstration::Mode::Best),
    }
    Ok(ExitCode::SUCCESS)
}
