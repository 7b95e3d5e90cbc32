//! `cargo xtask fuzz`: builds the fuzz targets, runs them, and reports executions and coverage.
//!
//! It passes the compiler flags of `cargo fuzz` itself, so that the stable compiler suffices. Only AddressSanitizer is
//! an unstable option, which `RUSTC_BOOTSTRAP` allows.
//!
//! CI runs each target over its corpus, and for a number of executions with a fixed seed: the same inputs each time.
//! Without a seed each run has new ones.

mod coverage;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::artifacts::{self, Artifact};
use crate::process::{read, shown};
use crate::{setup, tree};

const MANIFEST: &str = "fuzz/Cargo.toml";
/// Executions of each target in CI, beside its corpus.
const CI_EXECUTIONS: u64 = 20_000;
/// Coverage as libFuzzer reads it, and AddressSanitizer.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Zsanitizer=address",
    "--cfg=fuzzing",
];

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// The targets to run. Default: all.
    targets: Vec<String>,
    /// How long each target runs, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Begin with this seed. Default: a new one.
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// Write the smallest set of inputs with the same coverage to fuzz/corpus/.
    #[arg(long)]
    merge: bool,
    /// Run the targets over their corpora alone, and print the lines of the project's files that these reach.
    #[arg(long, conflicts_with_all = ["seconds", "seed", "merge"])]
    coverage: bool,
}

/// When a run ends.
enum Limit {
    Seconds(u64),
    Executions(u64),
}

/// What a run did.
struct Outcome {
    target: String,
    executions: u64,
    /// Edges of the target's code that the corpus reaches, and that the run reached.
    edges: (u64, u64),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tree::root()?;
    if arguments.coverage {
        return coverage::run(&root, &arguments.targets);
    }
    let programs = build(&root, &FLAGS, &folder(&root))?;
    let mut outcomes = Vec::new();
    for program in chosen(&programs, &arguments.targets)? {
        let found = folder(&root).join("corpus").join(&program.target);
        outcomes.push(fuzz(&root, program, &found, &Limit::Seconds(arguments.seconds), arguments.seed)?);
        if arguments.merge {
            merge(&root, program, &found)?;
        }
    }
    report(&outcomes);
    Ok(())
}

/// The step of CI: the same executions each time.
pub fn check(root: &Path) -> Result<()> {
    let programs = build(root, &FLAGS, &folder(root))?;
    let mut outcomes = Vec::new();
    for program in &programs {
        let new = folder(root).join("check").join(&program.target);
        tree::remove_folder(&new)?;
        outcomes.push(fuzz(root, program, &new, &Limit::Executions(CI_EXECUTIONS), Some(1))?);
    }
    report(&outcomes);
    Ok(())
}

/// The programs of these targets, or all if none is named.
fn chosen<'a>(programs: &'a [Artifact], targets: &[String]) -> Result<Vec<&'a Artifact>> {
    if let Some(unknown) = targets.iter().find(|name| !programs.iter().any(|built| built.target == **name)) {
        let known: Vec<_> = programs.iter().map(|built| built.target.as_str()).collect();
        bail!("no fuzz target is called {unknown}; they are {}", known.join(", "));
    }
    Ok(programs.iter().filter(|built| targets.is_empty() || targets.contains(&built.target)).collect())
}

/// Builds the targets with these flags, in this folder. `--locked`: the lock file of the fuzz targets follows the
/// packages that they test.
fn build(root: &Path, flags: &[&str], folder: &Path) -> Result<Vec<Artifact>> {
    setup::install(&[("c++", "g++")])?;
    let mut command = artifacts::cargo_with_flags(root, "build", flags, folder)?;
    // Optimized a little, with the checks for overflow and the debug assertions of the development profile.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    let mut programs = artifacts::build_with(command.args(["--manifest-path", MANIFEST]))
        .context("if fuzz/Cargo.lock is out of date: `cargo metadata --manifest-path fuzz/Cargo.toml`")?;
    ensure!(!programs.is_empty(), "{MANIFEST} has no fuzz targets");
    programs.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(programs)
}

fn folder(root: &Path) -> PathBuf {
    tree::target(root).join("fuzz")
}

/// The inputs of a target that are checked in.
fn corpus(root: &Path, target: &str) -> PathBuf {
    root.join("fuzz/corpus").join(target)
}

/// Runs one target. New inputs are kept in `new`.
fn fuzz(root: &Path, program: &Artifact, new: &Path, limit: &Limit, seed: Option<u32>) -> Result<Outcome> {
    let target = &program.target;
    fs::create_dir_all(new).with_context(|| format!("cannot make the folder {}", new.display()))?;
    let mut command = Command::new(&program.executable);
    match limit {
        Limit::Seconds(seconds) => command.arg(format!("-max_total_time={seconds}")),
        // Counted from the start, over the corpus too.
        Limit::Executions(executions) => command.arg(format!("-runs={executions}")),
    };
    if let Some(seed) = seed {
        command.arg(format!("-seed={seed}"));
    }
    // A machine may pause for seconds: only an input that does not end is an error.
    command.args(["-timeout=120", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/{target}-", folder(root).display())).arg(new);
    command.args(Some(corpus(root, target)).filter(|corpus| corpus.is_dir()));
    eprintln!("+ {}", shown(&command));
    let mut child =
        command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run `{}`", shown(&command)))?;
    let output = child.stderr.take().context("the fuzz target has no standard error")?;
    let (mut lines, mut outcome) = (Vec::new(), Outcome { target: target.clone(), executions: 0, edges: (0, 0) });
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what {target} writes"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        outcome.take(&line);
        lines.push(line);
    }
    let status = child.wait().with_context(|| format!("{target} ended unexpectedly"))?;
    if !status.success() {
        eprintln!("{}", lines.join("\n"));
        bail!("the fuzz target {target} found a fault ({status}); the input is in {}", folder(root).display());
    }
    Ok(outcome)
}

impl Outcome {
    /// Takes a line of libFuzzer's output.
    fn take(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = number.trim().parse().unwrap_or(0);
        }
        let mut words = line.split_whitespace();
        if !line.starts_with('#') || !words.any(|word| word == "cov:") {
            return;
        }
        if let Some(edges) = words.next().and_then(|word| word.parse().ok()) {
            if line.contains("INITED") {
                self.edges.0 = edges;
            }
            self.edges.1 = edges;
        }
    }
}

/// Writes the smallest set of inputs with the coverage of all of them to the corpus.
fn merge(root: &Path, program: &Artifact, found: &Path) -> Result<()> {
    let corpus = corpus(root, &program.target);
    let merged = folder(root).join("merged").join(&program.target);
    tree::remove_folder(&merged)?;
    for folder in [&merged, &corpus] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    // By edges alone: libFuzzer's finer features keep ten times as many inputs.
    let mut command = Command::new(&program.executable);
    command.args(["-merge=1", "-use_counters=0", "-use_value_profile=0", "-timeout=120", "-rss_limit_mb=4096"]);
    read(command.arg(&merged).arg(found).arg(&corpus))?;
    tree::remove_folder(&corpus)?;
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make the folder {}", corpus.display()))?;
    for entry in fs::read_dir(&merged).with_context(|| format!("cannot read {}", merged.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", merged.display()))?;
        fs::copy(entry.path(), corpus.join(entry.file_name())).context("cannot copy an input")?;
    }
    Ok(())
}

fn report(outcomes: &[Outcome]) {
    println!("\n{:<20} {:>12} {:>14} {:>12}", "target", "executions", "edges, corpus", "edges, end");
    for Outcome { target, executions, edges: (start, end) } in outcomes {
        println!("{target:<20} {executions:>12} {start:>14} {end:>12}");
    }
    let total: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
    println!("{} fuzz targets, {total} executions, no fault found.", outcomes.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_libfuzzer() {
        let mut outcome = Outcome { target: "wire".to_owned(), executions: 0, edges: (0, 0) };
        for line in [
            "INFO: Loaded 1 modules   (4111 inline 8-bit counters): 4111 [0x55, 0x56),",
            "#112\tINITED cov: 136 ft: 415 corp: 60/3Kb exec/s: 0 rss: 41Mb",
            "#2048\tNEW    cov: 138 ft: 417 corp: 61/3Kb lim: 4096 exec/s: 0 rss: 43Mb L: 40/80 MS: 1 EraseBytes-",
            "#20000\tDONE   cov: 139 ft: 420 corp: 63/3Kb lim: 4096 exec/s: 0 rss: 43Mb",
            "stat::number_of_executed_units: 20000",
        ] {
            outcome.take(line);
        }
        assert_eq!((outcome.executions, outcome.edges), (20_000, (136, 139)));
    }
}
