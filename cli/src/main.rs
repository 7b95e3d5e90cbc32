//! The command line: the subcommands, what an error prints, and the exit codes: 0 done, 1 failed, 2 usage.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use receiver::printable;

use common::CommonArgs;
use outlet::Outlet;

mod analyze;
mod capture;
mod causes;
mod color;
mod common;
mod completions;
mod config;
mod conformance;
mod control;
mod cpus;
mod ctl;
mod doctor;
mod errors;
mod ethernet;
mod event;
mod feeds;
mod figures;
mod files;
mod hints;
mod instance;
mod interfaces;
mod log;
mod man;
mod media;
mod membership;
mod metrics;
mod outlet;
mod panics;
mod privilege;
mod publish_rate;
mod record;
mod replay;
mod run;
mod send;
mod service;
mod services;
mod signals;
mod sink;
mod subscribe_nats;
mod suggest;
mod top;
mod units;
mod values;
mod view;

/// Receive, send, and explain source-specific multicast.
#[derive(Parser)]
#[command(name = "receiver", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Analyze(analyze::AnalyzeArgs),
    Completions(completions::CompletionsArgs),
    Config(config::ConfigArgs),
    Conformance(conformance::ConformanceArgs),
    Ctl(ctl::CtlArgs),
    Doctor(doctor::DoctorArgs),
    Interfaces(interfaces::InterfacesArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
    Membership(membership::MembershipArgs),
    #[command(hide = true)]
    PublishRate(publish_rate::PublishRateArgs),
    Record(Box<record::RecordArgs>),
    Replay(replay::ReplayArgs),
    Run(Box<run::RunArgs>),
    Send(Box<send::SendArgs>),
    SubscribeNats(subscribe_nats::SubscribeNatsArgs),
    Top(top::TopArgs),
}

/// Part of the help, and the same for each subcommand.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage error, 101 fault in the program.";

/// Characters of the longest line about the words of the command.
const LONGEST_LINE: usize = 400;

fn main() -> ExitCode {
    panics::install();
    let ended = std::panic::catch_unwind(|| match parsed() {
        Ok(cli) => {
            color::set(cli.common.color);
            // The receivers that the doctor opens for moments have warnings that its checks word better.
            let is_doctor = matches!(cli.command, Command::Doctor(_));
            log::init(cli.common.level().or(is_doctor.then_some(log::Level::OFF)), cli.common.log_format);
            let code = run(cli.command);
            log::finish();
            code
        }
        Err(code) => code,
    });
    // A failure here has no place left to be reported.
    let _ = Outlet::stderr().finish();
    match ended {
        Ok(code) if !panics::seen() => code,
        _ => ExitCode::from(panics::EXIT_CODE),
    }
}

/// The command line as clap knows it.
fn command() -> clap::Command {
    adapted(Cli::command())
}

/// The command and its subcommands with what holds for each option.
fn adapted(command: clap::Command) -> clap::Command {
    command
        // The values would be those of whoever prints the help.
        .mut_args(|argument| completions::completed(argument.hide_env_values(true)))
        // `--count -1` is a wrong value, and no unknown option.
        .mut_args(|argument| {
            let takes_value = argument.get_long().is_some() && argument.get_action().takes_values();
            if takes_value { argument.allow_negative_numbers(true) } else { argument }
        })
        .mut_subcommands(adapted)
}

/// The command line, or the exit code after help, the version, completions, or a usage error.
fn parsed() -> Result<Cli, ExitCode> {
    match completions::answer(command) {
        Ok(false) => {}
        Ok(true) => return Err(ExitCode::SUCCESS),
        Err(error) => {
            outlet::print(&format!("receiver: {error}"));
            return Err(ExitCode::FAILURE);
        }
    }
    let choice = color::asked(std::env::args_os().skip(1));
    let mut command = command().color(choice);
    let matches = command.try_get_matches_from_mut(std::env::args_os()).or_else(|error| overriding().ok_or(error));
    let cli = matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let error = match cli {
        Ok(cli) => return configured(cli).map_err(|error| report(&error)),
        Err(error) => suggest::complete(error.format(&mut command), &command),
    };
    color::set(choice);
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if error.use_stderr() && std::env::args_os().any(|word| is_unfit(&word.to_string_lossy())) {
        // Clap repeats a word as it is.
        let text = error.render().to_string();
        let lines: Vec<String> = text.lines().map(|line| printable(line, LONGEST_LINE)).collect();
        outlet::print(&lines.join("\n"));
    } else {
        // A reader that is gone needs no help text.
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
        Command::Analyze(args) => analyze::run(args),
        Command::Config(args) => config::run(args, crate::command()),
        Command::Conformance(args) => conformance::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Interfaces(args) => interfaces::run(&args),
        Command::Man(args) => man::run(&args, crate::command()),
        Command::Membership(args) => membership::run(args),
        Command::PublishRate(args) => publish_rate::run(&args),
        Command::Record(args) => record::run(*args),
        Command::Replay(args) => replay::run(args),
        Command::Run(args) => run::run(*args),
        Command::Send(args) => send::run(*args),
        Command::SubscribeNats(args) => subscribe_nats::run(args),
        Command::Top(args) => top::run(args),
    };
    result.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

/// Prints the error. Returns its exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    outlet::print(&format!("receiver: {}{}", errors::describe(error), hints::hint(error).unwrap_or_default()));
    ExitCode::from(errors::exit_code(error))
}

/// The command line with flags that override those of a configuration file, if it is one.
fn overriding() -> Option<clap::ArgMatches> {
    let matches = config::with_values(command()).try_get_matches_from(std::env::args_os()).ok()?;
    matches.subcommand_matches("run").is_some_and(|run| run.contains_id("config")).then_some(matches)
}

/// The command line with the options of the configuration file that it names.
fn configured(cli: Cli) -> anyhow::Result<Cli> {
    let Command::Run(args) = &cli.command else { return Ok(cli) };
    let Some(path) = args.config.clone() else { return Ok(cli) };
    let (matches, file) = config::Source::new(command(), std::env::args_os().collect(), path).read()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Command::Run(args) = &mut cli.command {
        args.set_file(file);
    }
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        command().debug_assert();
    }

    /// A heading: it begins with a capital letter, and does not end with a full stop.
    fn assert_is_heading(what: &str, text: &str) {
        let (first, last) = (text.chars().next(), text.chars().next_back());
        assert!(first.is_some_and(char::is_uppercase), "{what} begins with no capital letter: {text}");
        assert!(last.is_some_and(|last| !['.', ' ', '\n'].contains(&last)), "{what} ends with a full stop: {text}");
        assert!(!text.contains("  "), "{what} has two spaces in a row: {text}");
    }

    #[test]
    fn each_help_text_reads_well() {
        let mut all = vec![command()];
        while let Some(mut command) = all.pop() {
            command.build();
            let name = command.get_name().to_owned();
            let about = command.get_about().unwrap_or_else(|| panic!("{name} has no description")).to_string();
            assert_is_heading(&name, &about);
            for argument in command.get_arguments() {
                let what = format!("{name} {}", argument.get_id());
                let help = argument.get_help().unwrap_or_else(|| panic!("{what} has no help")).to_string();
                assert_is_heading(&what, &help);
            }
            for text in [command.render_help(), command.render_long_help()] {
                let text = text.to_string();
                let long = text.lines().find(|line| line.chars().count() > 100);
                assert_eq!(long, None, "a line of the help of {name} is longer than 100 columns");
                assert!(text.contains("Exit codes: 0 done, 1 failed, 2 usage"), "{name}: {text}");
            }
            all.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        }
    }
}
