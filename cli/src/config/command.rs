//! `receiver config`: checks a configuration file, and prints an example and the JSON Schema.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, Subcommand};

use super::merge::Source;
use super::{example, schema};
use crate::run::{self, RunArgs};
use crate::units::count;

/// Check a configuration file, or print an example or the JSON Schema of one
#[derive(Args, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without opening anything, and name all of its faults
    #[command(after_help = crate::EXIT_CODES)]
    Check {
        /// The file, as for `receiver run --config FILE`
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print an example with all keys and what they mean
    #[command(after_help = crate::EXIT_CODES)]
    Example,
    /// Print the JSON Schema of the configuration, which editors use
    #[command(after_help = crate::EXIT_CODES)]
    Schema,
}

/// Runs the subcommand. `command` is the whole command, whose options are the keys.
///
/// # Errors
/// The file has faults, or the output cannot be written.
pub fn run(args: ConfigArgs, command: Command) -> anyhow::Result<()> {
    let text = match args.command {
        ConfigCommand::Check { file } => check(command, file)?,
        ConfigCommand::Example => example::text(&command),
        ConfigCommand::Schema => schema::text(&command),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that is gone has read what it needs.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn check(command: Command, path: PathBuf) -> anyhow::Result<String> {
    let mut words: Vec<OsString> = vec!["receiver".into(), "run".into(), "--config".into()];
    words.push(path.clone().into());
    let (matches, configured) = Source::new(command, words, path).read()?;
    let args = RunArgs::of(&matches, configured)?;
    let subscriptions = run::check(&args)?.len();
    let sinks = args.file().map_or(0, |configured| configured.file.sinks.len());
    let interface = args.interface().map_or_else(|| "the interface of the command line".to_owned(), str::to_owned);
    let (subscriptions, sinks) = (count(subscriptions as u64, "subscription"), count(sinks as u64, "sink"));
    Ok(format!("ok: {subscriptions}, {sinks} on {interface}, mode {}\n", args.mode()))
}
