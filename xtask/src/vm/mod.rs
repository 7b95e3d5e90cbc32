//! `cargo xtask vm`: runs the receiver in virtual machines, on a real driver (virtio_net) and several kernels.
//!
//! It fetches Debian's kernels as packages into the target folder. virtme-ng and QEMU boot them over this machine's own
//! file system, which the guest cannot change. It uses software emulation, so that the command works on every machine
//! and behaves the same. Only this command needs virtual machines.
//!
//! Guests of aarch64 have a root of their own, and programs that are built for them.

mod arm64;
mod boot;
mod kernel;
mod matrix;
mod project_tests;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::aarch64::Cross;
use crate::artifacts::{self, Artifact};
use crate::process::is_root;
use crate::{failures, tree};
use kernel::{Architecture, Kernel};
use matrix::Matrix;

/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// Kernel to boot, by the beginning of its version; repeat it for several. Default: 6.1, 6.12 and 7.3
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Processor of the guests
    #[arg(long, value_enum, default_value_t)]
    arch: Architecture,
    /// Look for newer kernel packages, even if matching ones were fetched before
    #[arg(long)]
    update: bool,
    /// Run only rows whose mode and name contain this (`zero-copy link`), and project tests whose name does
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Number of wanted datagrams in the longest row; there are as many unwanted ones
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    packets: u64,
    /// Run each row this many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
    /// Run this command in the guest instead of the tests. A guest of aarch64 gets the files that it names by absolute
    /// paths
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command. It fails if a row failed, or if the command itself failed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the virtual machines run on x86-64, and this machine is {}", std::env::consts::ARCH);
    }
    let root = tree::root()?;
    let folder = tree::target(&root).join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let machine = Machine::install(&folder, arguments)?;
    let kernels = kernel::fetch(&folder, arguments.arch, &arguments.kernels, arguments.update)?;
    let plan = if arguments.command.is_empty() { Plan::tests(&root, arguments)? } else { Plan::command(arguments) };

    if !is_root() {
        println!("Not root: the guests' network is made in a user namespace.");
        netlab::enter_user_namespace()?;
    }
    let network = boot::network()?;
    let mut matrix = Matrix::default();
    let mut code = ExitCode::SUCCESS;
    for kernel in &kernels {
        println!("\n=== Linux {} ({})", kernel.version, kernel.package);
        let script = folder.join(format!("{}.sh", kernel.package));
        plan.write(&script, kernel)?;
        let log = &folder.join(format!("{}.log", kernel.package));
        let (network, folder) = (&network, &folder);
        let mut outside = boot::Outside::of(network);
        let mut rows = matrix.guest(&kernel.version, move || outside.growth());
        let each = |line: &str| rows.take(line);
        let ended = match &machine {
            Machine::Virtme(tools) => boot::Guest { tools, kernel, network, log }.run(&script, each),
            Machine::Arm64(root) => {
                arm64::Guest { root, kernel, network, folder, log }.run(&script, &plan.paths(), each)
            }
        }?;
        let dropped = boot::dropped(network)?;
        if !dropped.is_empty() {
            println!("Dropped between the guests' interfaces so far: {}.", dropped.join(", "));
        }
        if let Plan::Tests { .. } = plan {
            rows.end(ended);
        } else if ended != Some(0) {
            println!("It ended with {}.", ended.map_or("no exit code".to_owned(), |code| format!("exit code {code}")));
            code = ExitCode::FAILURE;
        }
    }
    if let Plan::Tests { .. } = plan {
        print!("\n{matrix}");
        println!("{} passed, {} failed", matrix.passed(), matrix.failed());
        if matrix.failed() > 0 || matrix.passed() == 0 {
            failures::add(&root, &matrix.failures())?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// What boots the guests.
enum Machine {
    Virtme(tools::Tools),
    Arm64(arm64::Root),
}

impl Machine {
    fn install(folder: &Path, arguments: &Arguments) -> Result<Self> {
        Ok(match arguments.arch {
            Architecture::X86 => Self::Virtme(tools::install(folder)?),
            Architecture::Arm64 | Architecture::Arm64Pages16K => {
                Self::Arm64(arm64::Root::install(folder, arguments.update)?)
            }
        })
    }
}

/// The work of a guest.
enum Plan {
    Tests {
        guest: PathBuf,
        receiver: PathBuf,
        project: Vec<project_tests::Test>,
        only: String,
        packets: u64,
        repeat: u32,
    },
    Command(Vec<String>),
}

impl Plan {
    fn tests(root: &Path, arguments: &Arguments) -> Result<Self> {
        let cross = match arguments.arch {
            Architecture::X86 => None,
            Architecture::Arm64 | Architecture::Arm64Pages16K => Some(Cross::install(root)?),
        };
        let build = |words: &[&str]| match &cross {
            None => artifacts::build(root, words),
            Some(cross) => arm64::build(cross, words),
        };
        let built = build(&["build", "--release", "--package", "receiver-cli", "--package", "vm-tests", "--bins"])?;
        let program = |name: &str| {
            let found = built.iter().find(|artifact: &&Artifact| artifact.target == name && !artifact.is_test);
            found.map(|artifact| artifact.executable.clone()).with_context(|| format!("cargo built no program {name}"))
        };
        let (guest, receiver) = (program("vm-tests")?, program("receiver")?);
        let project = project_tests::build(&arguments.only, build)?;
        let &Arguments { packets, repeat, .. } = arguments;
        Ok(Self::Tests { guest, receiver, project, only: arguments.only.clone(), packets, repeat })
    }

    fn command(arguments: &Arguments) -> Self {
        Self::Command(arguments.command.clone())
    }

    /// The built programs that the script runs, and the folders that it uses; of a command the files that it names by
    /// absolute paths.
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Command(words) => {
                words.iter().map(Path::new).filter(|word| word.is_absolute() && word.is_file()).collect()
            }
            Self::Tests { guest, receiver, project, .. } => {
                let own = [guest.as_path(), receiver.as_path()];
                own.into_iter().chain(project.iter().flat_map(project_tests::Test::paths)).collect()
            }
        }
    }

    /// The script that the guest runs as root.
    fn write(&self, path: &Path, kernel: &Kernel) -> Result<()> {
        let mut script = String::from("#!/bin/sh\nmodprobe virtio_net\n");
        match self {
            Self::Command(words) => {
                let words: Vec<String> = words.iter().map(|word| boot::quoted(word)).collect();
                script += &format!("exec {}\n", words.join(" "));
            }
            Self::Tests { guest, receiver, project, only, packets, repeat } => {
                let mut words = vec![
                    boot::quoted(&guest.to_string_lossy()),
                    format!("--receiving {} --sending {}", boot::MACS[0], boot::MACS[1]),
                    format!("--receiver {}", boot::quoted(&receiver.to_string_lossy())),
                    format!("--packets {packets} --repeat {repeat}"),
                ];
                words.extend(kernel.expect.map(|mode| format!("--expect {mode}")));
                if !only.is_empty() {
                    words.push(format!("--only {}", boot::quoted(only)));
                }
                script += &format!("{}\nended=$?\n", words.join(" "));
                for test in project {
                    script += &test.script(kernel.expect == Some("zero-copy"));
                }
                script += "exit $ended\n";
            }
        }
        fs::write(path, script).with_context(|| format!("cannot write {}", path.display()))
    }
}
