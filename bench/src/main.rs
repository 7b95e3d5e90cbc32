//! The benchmark: the receiver and its peers, under the load generator in the kernel, all on this machine.
//!
//! `cargo xtask bench` builds and starts it as root. It uses its own network namespaces, which vanish with the process.

mod allocations;
mod baseline;
mod chart;
mod child;
mod conditions;
mod estimate;
mod frames;
mod json;
mod lab;
mod measured;
mod offered;
mod peers;
mod process;
mod realtime;
mod report;
mod rows;
mod sample;
mod search;
mod statistics;
mod suite;
mod tables;
mod target_list;
mod targets;
mod wake;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "receiver-bench", bin_name = "cargo xtask bench", about = "Measures the receiver beside its peers")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Hidden>,
}

/// Options of the benchmark.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Options {
    /// Run 5 rounds instead of 15, and shorter searches.
    #[arg(long)]
    pub quick: bool,
    /// Number of rounds of the main table.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: Option<u16>,
    /// Also write all results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also draw the rates as an SVG chart in this file.
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,
    /// Only these rows.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only these tables.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tables: Vec<String>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Runs one receiver under test.
    #[command(hide = true)]
    Serve(child::Arguments),
    /// Measures the delay of joins and blocks.
    #[command(hide = true)]
    Control(child::control::Arguments),
    /// Keeps a CPU from sleeping.
    #[command(hide = true)]
    Spin(child::spin::Arguments),
    /// Measures a receiver's memory.
    #[command(hide = true)]
    Memory(child::memory::Arguments),
    /// Measures a receiver without traffic.
    #[command(hide = true)]
    Idle(child::idle::Arguments),
    /// Measures many joins and leaves.
    #[command(hide = true)]
    Joins(child::joins::Arguments),
    /// Runs one foreign receiver under test.
    #[command(hide = true)]
    Supervise(child::supervise::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        None => suite::run(&arguments.options),
        Some(Hidden::Serve(arguments)) => child::run(arguments),
        Some(Hidden::Control(arguments)) => child::control::run(arguments),
        Some(Hidden::Spin(arguments)) => child::spin::run(arguments),
        Some(Hidden::Memory(arguments)) => child::memory::run(arguments),
        Some(Hidden::Idle(arguments)) => child::idle::run(arguments),
        Some(Hidden::Joins(arguments)) => child::joins::run(arguments),
        Some(Hidden::Supervise(arguments)) => child::supervise::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
