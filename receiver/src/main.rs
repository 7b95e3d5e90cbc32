//! The `receiver` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use receiver::send::SendError;

mod cli {
    pub mod conformance;
    pub mod membership;
    pub mod send;
}

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Conformance(cli::conformance::ConformanceArgs),
    Membership(cli::membership::MembershipArgs),
    Send(cli::send::SendArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Conformance(args) => cli::conformance::run(args),
        Command::Membership(args) => cli::membership::run(args),
        Command::Send(args) => cli::send::run(args),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("receiver: {error:#}");
    ExitCode::from(error.downcast_ref::<SendError>().map_or(1, SendError::exit_code))
}
