//! `receiver completions`: the script that lets a shell complete the command's words. The script asks the command
//! itself, so that the interfaces and the runs of this host complete as well.

use std::ffi::OsStr;
use std::io::{self, Write};

use anyhow::Context;
use clap::builder::Styles;
use clap::{Arg, Args};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use receiver::Interface;

use super::control::place;
use super::log::level_names;

/// The variable by which a script asks for completions: the name of its shell.
const VARIABLE: &str = "RECEIVER_COMPLETE";

/// The command as the shell finds it.
const COMMAND: &str = "receiver";

/// Print a script that completes the command's words in a shell
///
/// Subcommands, options, modes, and the interfaces and the named runs of this host complete. For bash, put `source
/// <(receiver completions bash)` into ~/.bashrc. For fish, put `receiver completions fish | source` into
/// ~/.config/fish/config.fish.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct CompletionsArgs {
    /// Shell for which the script is
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("this shell has no completions")?;
    let mut out = io::stdout().lock();
    shell.write_registration(VARIABLE, COMMAND, COMMAND, COMMAND, &mut out)?;
    Ok(out.flush()?)
}

/// Answers a script. Returns true if one asked.
///
/// # Errors
/// The script is for an unknown shell, or standard output is closed.
pub fn answer(command: impl Fn() -> clap::Command) -> clap::error::Result<bool> {
    // Some shells show descriptions as they are.
    let plain = || command().styles(Styles::plain());
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(plain).var(VARIABLE).try_complete(std::env::args_os(), directory.as_deref())
}

/// The option with what completes its value: known by the name of the value.
pub fn completed(argument: Arg) -> Arg {
    let value = argument.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
    match value.as_deref() {
        Some("IFACE") => argument.add(ArgValueCompleter::new(interfaces)),
        Some("LEVEL") => argument.add(ArgValueCompleter::new(levels)),
        Some("NAME") if argument.get_id() == "name" => argument.add(ArgValueCompleter::new(runs)),
        _ => argument,
    }
}

fn interfaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let all = Interface::all().unwrap_or_default();
    let fit = |interface: &Interface| !interface.loopback && !interface.name.contains(char::is_control);
    let described = all.into_iter().filter(fit).map(|interface| {
        let state = if interface.up { "up" } else { "down" };
        let driver = interface.driver.unwrap_or_else(|| "no driver reported".to_owned());
        (interface.name, Some(format!("{driver}, {state}")))
    });
    beginning_with(current, described)
}

fn levels(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, level_names().map(|name| (name.to_owned(), None)))
}

fn runs(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, place::names(&place::runtime_directory()).into_iter().map(|name| (name, None)))
}

fn beginning_with(
    current: &OsStr,
    candidates: impl Iterator<Item = (String, Option<String>)>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let fitting = candidates.filter(|(name, _)| name.starts_with(current.as_ref()));
    fitting.map(|(name, help)| CompletionCandidate::new(name).help(help.map(Into::into))).collect()
}
