//! Random faults and operations on a running receiver, under load, in network namespaces of its own. A model decides
//! which packets must arrive and which must not, and the receiver's ledger has to account for each one that is missing.
//! `cargo xtask torture` builds and starts it as root; docs/torture.md describes it.

mod consumer;
mod episode;
mod frames;
mod ground;
mod leaking;
mod model;
mod operate;
mod operation;
mod plan;
mod program;
mod random;
mod report;
mod sender;
mod shrink;
mod stream;
mod subject;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::episode::Outcome;
use crate::plan::Plan;
use crate::random::Random;
use crate::report::Report;

/// The seed of the first half of a run without `--seed`.
const FIXED_SEED: u64 = 17;
/// How long a failed plan is made smaller.
const SHRINKING: Duration = Duration::from_secs(240);

/// Seeds of episodes that once failed. They run first.
const REGRESSIONS: &[u64] = &[];

#[derive(Parser)]
#[command(
    name = "receiver-torture",
    bin_name = "cargo xtask torture",
    about = "Random faults and operations on a receiver"
)]
struct Arguments {
    /// The built command `receiver`.
    #[arg(long, value_name = "PATH", hide = true)]
    receiver: PathBuf,
    /// Start episodes for N minutes. Without --seed the first half has a fixed seed, and the second half a random one.
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    minutes: f64,
    /// Draw the episodes from this seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Run this episode alone
    #[arg(long, value_name = "SEED")]
    episode: Option<u64>,
    /// Of that episode, run these steps alone; `--keep 0` runs none
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "episode")]
    keep: Vec<usize>,
    /// Run the episode this many times, until it fails
    #[arg(long, value_name = "N", default_value_t = 1, requires = "episode")]
    times: u32,
    /// The consumer overlooks every N-th packet, which shows that the judge notices
    #[arg(long, value_name = "N", default_value_t = 0)]
    blind: u64,
    /// Print the plan of each episode
    #[arg(long)]
    verbose: bool,
    /// Do not look for a smaller plan that fails
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    match arguments.episode {
        Some(seed) => {
            let plan = Plan::of(seed);
            let plan = if arguments.keep.is_empty() { plan } else { plan.keeping(&arguments.keep) };
            for _ in 0..arguments.times {
                if !run(&arguments, &plan, &mut report) {
                    break;
                }
            }
        }
        None => run_all(&arguments, &mut report),
    }
    println!("\n{report}");
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(arguments: &Arguments, report: &mut Report) {
    let time = Duration::try_from_secs_f64(arguments.minutes * 60.0).unwrap_or(Duration::MAX);
    let halves = match arguments.seed {
        Some(seed) => vec![(seed, time)],
        None => vec![(FIXED_SEED, time / 2), (random_seed(), time / 2)],
    };
    for &seed in REGRESSIONS {
        run(arguments, &Plan::of(seed), report);
    }
    for (seed, time) in halves {
        println!("seed {seed}, for {:.0} s", time.as_secs_f64());
        let start = Instant::now();
        let mut random = Random::new(seed);
        while start.elapsed() < time {
            run(arguments, &Plan::of(random.below(1 << 32)), report);
        }
    }
}

fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    Random::new(now ^ u64::from(std::process::id())).below(1 << 32)
}

/// Runs an episode. If it fails, prints the faults and a smaller plan that fails. Returns true if it is good.
fn run(arguments: &Arguments, plan: &Plan, report: &mut Report) -> bool {
    if arguments.verbose {
        println!("{plan}");
    }
    let start = Instant::now();
    let outcome = episode::run(plan, &arguments.receiver, arguments.blind);
    let seconds = start.elapsed().as_secs_f64();
    report.add(plan, &outcome);
    let steps = outcome.operations.values().sum::<u64>();
    println!(
        "episode {}: {} {:?}, {steps} operations in {seconds:.1} s, {} packets sent, {} delivered, {} lost for a \
         counted cause{}",
        plan.seed,
        plan.mode,
        plan.family,
        outcome.sent,
        outcome.came,
        outcome.judgement.missing,
        if outcome.faults.is_empty() { "" } else { ": FAILED" }
    );
    if outcome.faults.is_empty() {
        return true;
    }
    print_faults(&outcome);
    println!("  repeat it with: cargo xtask torture --episode {} --verbose", plan.seed);
    if !arguments.no_shrink && !plan.steps.is_empty() {
        print_smaller(plan, &arguments.receiver, arguments.blind);
    }
    false
}

fn print_faults(outcome: &Outcome) {
    for fault in &outcome.faults {
        println!("  {fault}");
    }
}

fn print_smaller(plan: &Plan, receiver: &Path, blind: u64) {
    println!("  looking for a smaller plan that fails, for up to {} s", SHRINKING.as_secs());
    let mut last = None;
    let smallest = shrink::shrink(plan, Instant::now() + SHRINKING, |plan| {
        let outcome = episode::run(plan, receiver, blind);
        let fails = !outcome.faults.is_empty();
        if fails {
            last = Some(outcome);
        }
        fails
    });
    let Some(outcome) = last else {
        println!("  no smaller plan failed");
        return;
    };
    let numbers: Vec<String> = smallest.numbers().iter().map(usize::to_string).collect();
    let keep = if numbers.is_empty() { "0".to_owned() } else { numbers.join(",") };
    println!("  smallest plan that failed: cargo xtask torture --episode {} --keep {keep}", plan.seed);
    println!("{smallest}");
    print_faults(&outcome);
}
