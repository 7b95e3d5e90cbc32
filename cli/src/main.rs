//! The command line: what there is to run, how errors are told, and what the exit codes are: 0 done, 1 failed, 2 usage.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use receiver::printable;
use receiver_send::SendError;

use outlet::{Outlet, Units};

mod conformance;
mod consume;
mod descriptors;
mod event;
mod explanation;
mod figures;
mod files;
mod hex;
mod json;
mod line;
mod log;
mod membership;
mod options;
mod outlet;
mod panics;
mod run;
mod screen;
mod send;
mod signals;
mod sink;
mod subscriptions;
mod table;
mod units;
mod values;
mod view;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Conformance(conformance::ConformanceArgs),
    Membership(membership::MembershipArgs),
    Run(Box<options::RunArgs>),
    Send(Box<send::SendArgs>),
}

/// Characters of the longest message. What is longer repeats somebody's input.
const LONGEST_MESSAGE: usize = 8000;
/// Characters of the longest line about the words of the command.
const LONGEST_LINE: usize = 400;

/// A request that can not be meant: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs what was asked for.
fn main() -> ExitCode {
    panics::install();
    let ended = std::panic::catch_unwind(|| match parsed() {
        Ok(command) => run(command),
        Err(code) => code,
    });
    // What does not get there cannot be told.
    let _ = Outlet::stderr().finish();
    match ended {
        Ok(code) if !panics::seen() => code,
        _ => ExitCode::from(panics::EXIT_CODE),
    }
}

/// The command line, or the exit code where that is all there is to it: help, the version, or words that make no sense.
fn parsed() -> Result<Command, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli.command),
        Err(error) => error,
    };
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if error.use_stderr() && std::env::args_os().any(|word| is_unfit(&word.to_string_lossy())) {
        // Clap repeats a word as it is.
        let text = error.render().to_string();
        let lines: Vec<String> = text.lines().map(|line| printable(line, LONGEST_LINE)).collect();
        print(&lines.join("\n"));
    } else {
        // Where nobody reads, nobody is told.
        let _ = error.print();
    }
    Err(ExitCode::from(code))
}

/// Returns true for a word that a message cannot repeat as it is.
fn is_unfit(word: &str) -> bool {
    printable(word, LONGEST_LINE) != word
}

fn run(command: Command) -> ExitCode {
    let result = match command {
        Command::Conformance(args) => conformance::run(args),
        Command::Membership(args) => membership::run(args),
        Command::Run(args) => run::run(*args),
        Command::Send(args) => send::run(*args),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    print(&format!("receiver: {}{}", told(&error), hint(&error).unwrap_or_default()));
    ExitCode::from(exit_code(&error))
}

/// Prints to standard error, without waiting for it.
fn print(text: &str) {
    let mut out = Units::display(Outlet::stderr());
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(send) = cause.downcast_ref::<SendError>() {
            return send.exit_code();
        }
        if cause.is::<UsageError>() || cause.downcast_ref::<receiver::Error>().is_some_and(receiver::Error::is_usage) {
            return 2;
        }
    }
    1
}

fn library_error(error: &anyhow::Error) -> Option<&receiver::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// The error and its causes in one paragraph, but a line for each mode where XDP is required. A cause that was told
/// already by what it caused is not repeated.
fn told(error: &anyhow::Error) -> String {
    if let Some(error @ receiver::Error::XdpRequired { .. }) = library_error(error) {
        let text = error.to_string();
        let lines: Vec<String> = text.lines().map(|line| printable(&one_paragraph(line), LONGEST_MESSAGE)).collect();
        return lines.join("\n  ");
    }
    let mut text = String::new();
    for cause in error.chain().map(|cause| one_paragraph(&cause.to_string())) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    printable(&text, LONGEST_MESSAGE)
}

/// What the library's error cannot say: how the remedy is written on the command line.
fn hint(error: &anyhow::Error) -> Option<String> {
    match library_error(error)? {
        receiver::Error::Verifier { .. } => Some(". The option -vv prints that log".to_owned()),
        receiver::Error::TooFewQueues { asked, .. } => {
            Some(format!(". For queue {asked} alone write `--queues {asked},`"))
        }
        _ => None,
    }
}

/// The same words with single spaces between.
fn one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn errors_are_one_paragraph_that_says_nothing_twice() {
        let io = std::io::Error::other("no room\n  at all");
        let error = anyhow::Error::new(receiver::Error::Wait { doing: "wait", source: io }).context("queue 3");
        assert_eq!(told(&error), "queue 3: could not wait: no room at all");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(&anyhow!("anything")), 1);
        assert_eq!(exit_code(&anyhow::Error::new(UsageError("x".into())).context("more")), 2);
        assert_eq!(exit_code(&receiver::Error::NoSubscription.into()), 2);
        assert_eq!(exit_code(&receiver::Error::Stopped.into()), 1);
        assert_eq!(exit_code(&SendError::PortZero.into()), 2);
    }

    #[test]
    fn the_command_line_is_well_made() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
