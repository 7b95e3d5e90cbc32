//! The project's own commands, started as `cargo xtask COMMAND`.

mod build_ebpf;
mod object;
mod process;
mod setup;
mod toolchain;
mod tree;

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
        Command::Setup(arguments) => setup::run(&arguments),
        Command::BuildEbpf(arguments) => build_ebpf::run(&arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}
