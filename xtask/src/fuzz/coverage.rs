//! `cargo xtask fuzz --coverage`: the lines of the project's files that the corpora reach.
//!
//! The compiler's own instrumentation counts them, as the edges that libFuzzer counts include those of every library
//! and of panics that cannot happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artifacts::Artifact;
use crate::process::{read, run_shown};
use crate::tree;

const FLAGS: [&str; 2] = ["-Cinstrument-coverage", "--cfg=fuzzing"];
/// The component of rustup with LLVM's programs.
const COMPONENT: &str = "llvm-tools";
/// Columns of a line with numbers.
const COLUMNS: usize = 110;

/// How often each line was executed.
type Lines = BTreeMap<u32, u64>;

/// Runs these targets over their corpora, and prints what these reach.
pub fn run(root: &Path, targets: &[String]) -> Result<()> {
    let [profdata, cov] = ["llvm-profdata", "llvm-cov"].map(program);
    let (profdata, cov) = (profdata?, cov?);
    let folder = super::folder(root).join("coverage");
    let programs = super::build(root, &FLAGS, &folder)?;
    let programs = super::chosen(&programs, targets)?;
    let profiles = folder.join("profiles");
    tree::remove_folder(&profiles)?;
    for program in &programs {
        reach(root, program, &profiles)?;
    }
    let merged = folder.join("merged.profdata");
    let mut command = Command::new(profdata);
    command.args(["merge", "-sparse", "-o"]).arg(&merged);
    for entry in fs::read_dir(&profiles).with_context(|| format!("cannot read {}", profiles.display()))? {
        command.arg(entry.context("cannot read the profiles")?.path());
    }
    read(&mut command)?;
    let mut command = Command::new(cov);
    command.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged);
    for program in &programs {
        command.arg("-object").arg(&program.executable);
    }
    report(&parse(root, &read(&mut command)?));
    Ok(())
}

/// Finds a program of LLVM beside the compiler; rustup installs it.
fn program(name: &str) -> Result<PathBuf> {
    let find = || -> Result<Option<PathBuf>> {
        let folder = read(Command::new("rustc").args(["--print", "target-libdir"]))?;
        let folder = Path::new(folder.trim()).parent().context("the compiler has no folder")?.join("bin");
        Ok(Some(folder.join(name)).filter(|program| program.is_file()))
    };
    if let Some(program) = find()? {
        return Ok(program);
    }
    run_shown(Command::new("rustup").args(["component", "add", COMPONENT]))?;
    find()?.with_context(|| format!("{name} is missing; it comes with `rustup component add {COMPONENT}`"))
}

/// Executes a target over each input of its corpus.
fn reach(root: &Path, program: &Artifact, profiles: &Path) -> Result<()> {
    let corpus = super::corpus(root, &program.target);
    let mut command = Command::new(&program.executable);
    command.env("LLVM_PROFILE_FILE", profiles.join(&program.target).with_extension("profraw"));
    for entry in fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))? {
        command.arg(entry.with_context(|| format!("cannot read {}", corpus.display()))?.path());
    }
    // It names each input on standard error.
    let output = command.output().with_context(|| format!("cannot run {}", program.executable.display()))?;
    ensure!(output.status.success(), "{} failed: {}", program.target, String::from_utf8_lossy(&output.stderr));
    println!("{}: {} inputs", program.target, command.get_args().count());
    Ok(())
}

/// The lines of the project's files by the report of LLVM (in the format of lcov). Paths are relative to the tree.
fn parse(root: &Path, report: &str) -> BTreeMap<PathBuf, Lines> {
    let mut files = BTreeMap::<PathBuf, Lines>::new();
    let mut file = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = normal(Path::new(path));
            file = path.strip_prefix(root).ok().filter(|path| !path.starts_with("target")).map(Path::to_owned);
        } else if let (Some(file), Some((number, count))) =
            (&file, line.strip_prefix("DA:").and_then(|numbers| numbers.split_once(',')))
            && let (Ok(number), Ok(count)) = (number.parse(), count.parse::<u64>())
        {
            *files.entry(file.clone()).or_default().entry(number).or_default() += count;
        }
    }
    files
}

/// The path without `..`, which stands in the paths of files that a target includes.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// Prints each file of which a line was reached, and the lines that were not.
fn report(files: &BTreeMap<PathBuf, Lines>) {
    println!("\n{:<52} {:>6} {:>8}", "file", "lines", "reached");
    let mut total = (0, 0);
    for (path, lines) in files {
        let missed: BTreeSet<u32> = lines.iter().filter(|(_, count)| **count == 0).map(|(number, _)| *number).collect();
        let reached = lines.len() - missed.len();
        if reached == 0 {
            continue;
        }
        total = (total.0 + lines.len(), total.1 + reached);
        println!("{:<52} {:>6} {:>6.1} %", path.display(), lines.len(), percent(reached, lines.len()));
        let mut line = String::new();
        for range in ranges(&missed, lines) {
            if line.len() + range.len() > COLUMNS {
                println!("    not {line}");
                line.clear();
            }
            line += &format!("{}{range}", if line.is_empty() { "" } else { ", " });
        }
        if !line.is_empty() {
            println!("    not {line}");
        }
    }
    println!("{:<52} {:>6} {:>6.1} %", "all of them", total.0, percent(total.1, total.0));
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Numbers as ranges, such as `7, 9 to 12`. A line without code does not divide a range.
fn ranges(missed: &BTreeSet<u32>, lines: &Lines) -> Vec<String> {
    let mut ranges = Vec::<(u32, u32)>::new();
    let mut last = None;
    for number in lines.keys() {
        if missed.contains(number) {
            match ranges.last_mut() {
                Some((_, end)) if last == Some(*end) => *end = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        last = Some(*number);
    }
    let shown = ranges.into_iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tree_are_added_up() {
        let report = "SF:/tree/fuzz/../common/a.rs\nDA:3,0\nDA:4,2\nDA:5,0\nDA:9,0\nend_of_record\n\
                      SF:/registry/b.rs\nDA:1,0\nend_of_record\nSF:/tree/common/a.rs\nDA:3,1\nend_of_record\n";
        let files = parse(Path::new("/tree"), report);
        let lines = &files[Path::new("common/a.rs")];
        assert_eq!((files.len(), lines.clone()), (1, Lines::from([(3, 1), (4, 2), (5, 0), (9, 0)])));
        assert_eq!(ranges(&BTreeSet::from([5, 9]), lines), ["5-9"]);
        assert_eq!(ranges(&BTreeSet::from([3, 5]), lines), ["3", "5"]);
    }
}
