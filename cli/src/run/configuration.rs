//! The configuration in effect of a run, and how a reload reads it again.

use clap::{ArgMatches, FromArgMatches};

use super::check::check;
use super::options::RunArgs;
use crate::common::CommonArgs;
use crate::config::{Configured, Effective, Source, Wanted};
use crate::instance::Read;
use crate::log::Level;

/// The configuration in effect, with these subscriptions; and, if it has a file, the way to read it again.
pub fn of(args: &RunArgs, wanted: Vec<Wanted>) -> (Option<Read>, Effective) {
    let Some(configured) = args.file() else {
        return (None, Effective { subscriptions: wanted, ..Effective::default() });
    };
    let source = configured.source.clone();
    let read: Read = Box::new(move || read(&source));
    // The log has its level already.
    (Some(read), effective(configured, wanted, None))
}

fn read(source: &Source) -> anyhow::Result<Effective> {
    let (matches, configured) = source.read()?;
    let args = RunArgs::of(&matches, configured)?;
    let wanted = check(&args)?;
    let configured = args.file().expect("it was read from a file");
    Ok(effective(configured, wanted, level(&matches)))
}

fn effective(configured: &Configured, subscriptions: Vec<Wanted>, level: Option<Level>) -> Effective {
    let sinks = configured.file.sinks.clone();
    Effective { subscriptions, feeds: configured.file.feeds.clone(), sinks, options: configured.options.clone(), level }
}

fn level(matches: &ArgMatches) -> Option<Level> {
    let run = matches.subcommand_matches("run")?;
    CommonArgs::from_arg_matches(run).ok()?.level()
}
