//! One configuration of the command line, the file and the environment, in this order of precedence.
//!
//! A value of the file takes the place of an option's default and of its environment variable, and clap parses the
//! command line again. So a value means the same in each place, and is checked by the same rules.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::fault::{ConfigError, Faults};
use super::file::{self, File, Setting};
use super::keys::{self, Key, Kind};
use crate::files;

/// Where a configuration comes from: it can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    command: Command,
    words: Vec<OsString>,
    path: PathBuf,
}

/// A configuration as it was read.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Where it can be read again.
    pub source: Source,
    /// What the file holds.
    pub file: File,
    /// The value of each key as text.
    pub options: BTreeMap<String, String>,
}

impl Source {
    /// The words of a command line of `receiver run`, with the command's name, and the file that they name.
    pub fn new(command: Command, words: Vec<OsString>, path: PathBuf) -> Self {
        Self { command, words, path }
    }

    /// The file as messages show it.
    pub fn name(&self) -> String {
        files::shown(&self.path)
    }

    /// Reads the file, and merges it with the command line. Returns the whole command line with the values of the file.
    ///
    /// # Errors
    /// The file cannot be read, or has faults: all of them are named.
    pub fn read(&self) -> Result<(ArgMatches, Configured), ConfigError> {
        let text = file::read(&self.path).map_err(ConfigError)?;
        let run = keys::run(&self.command);
        let keys = keys::all(&run);
        let mut faults = Faults::new(self.name());
        let file = File::parse(&self.path, &text, &keys, &mut faults);
        for setting in &file.settings {
            let key = find(&keys, &setting.key);
            for value in &setting.values {
                if let Err(reason) = check(&run, key, value) {
                    faults.add(setting.line, format!("`{}` cannot be `{value}`: {reason}", key.name));
                }
            }
        }
        for (one, other) in conflicts(&run, &keys, &file.settings) {
            let line = one.line.max(other.line);
            faults.add(line, format!("`{}` and `{}` exclude each other; remove one of them", one.key, other.key));
        }
        if let Some(error) = faults.error() {
            return Err(error);
        }
        let matches = self.merge(&keys, &run, &file.settings).map_err(|error| ConfigError(first_line(&error)))?;
        let options = options(&keys, &matches);
        Ok((matches, Configured { source: self.clone(), file, options }))
    }

    fn merge(&self, keys: &[Key], run: &Command, settings: &[Setting]) -> Result<ArgMatches, clap::Error> {
        let written = with_values(self.command.clone()).try_get_matches_from(&self.words)?;
        let is_written = |id: &str| {
            let of_run = written.subcommand_matches("run").and_then(|run| run.value_source(id));
            of_run == Some(ValueSource::CommandLine)
        };
        let mut command = with_values(self.command.clone());
        for setting in settings {
            let key = find(keys, &setting.key);
            // An option of the command line also overrides one of the file that it excludes.
            if is_written(&key.id) || excluded(run, &key.id).iter().any(|id| is_written(id)) {
                continue;
            }
            let values = setting.values.clone();
            let change = move |arg: Arg| arg.env(None::<&'static str>).default_values(values);
            command = match key.is_global {
                true => command.mut_arg(&key.id, change),
                false => command.mut_subcommand("run", |run| run.mut_arg(&key.id, change)),
            };
        }
        command.try_get_matches_from(&self.words)
    }
}

/// The command with flags of `run` that take a value: `--share=false` overrides `share = true` in the file.
pub fn with_values(command: Command) -> Command {
    let with_value = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(clap::value_parser!(bool))
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    };
    command.mut_subcommand("run", |run| run.mut_args(with_value))
}

fn find<'a>(keys: &'a [Key], name: &str) -> &'a Key {
    keys.iter().find(|key| key.name == name).expect("a setting has the name of a key")
}

/// Has clap check one value by itself.
pub fn check(run: &Command, key: &Key, value: &str) -> Result<(), String> {
    let word = match key.kind {
        Kind::Flag => return Ok(()),
        Kind::Count if value.parse::<u8>().is_ok() => return Ok(()),
        Kind::Count => return Err("it is a number from 0 to 255".to_owned()),
        Kind::One(_) | Kind::Several(_) => format!("--{}={value}", key.option),
    };
    match run.clone().try_get_matches_from(["run", "--config=-", &word]) {
        Ok(_) => Ok(()),
        // Not about the value, but about options beside it.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!("it is one of {}", values.join(", ")),
        _ => first_line(error),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The options that exclude one, or that it excludes.
fn excluded(run: &Command, id: &str) -> Vec<String> {
    let names = |arg: &Arg| -> Vec<String> {
        run.get_arg_conflicts_with(arg).iter().map(|other| other.get_id().to_string()).collect()
    };
    let arguments = || run.get_arguments().filter(|arg| !arg.is_global_set());
    let own = arguments().filter(|arg| arg.get_id() == id).flat_map(names);
    let others = arguments().filter(|arg| names(arg).iter().any(|other| other == id));
    own.chain(others.map(|arg| arg.get_id().to_string())).collect()
}

/// The pairs of settings that exclude each other.
fn conflicts<'a>(run: &Command, keys: &[Key], settings: &'a [Setting]) -> Vec<(&'a Setting, &'a Setting)> {
    let set: Vec<_> = settings.iter().filter(|setting| setting.values != ["false"]).collect();
    let mut found = Vec::new();
    for (at, one) in set.iter().enumerate() {
        let excluded = excluded(run, &find(keys, &one.key).id);
        found.extend(
            set[at + 1..]
                .iter()
                .filter(|other| excluded.contains(&find(keys, &other.key).id))
                .map(|other| (*one, *other)),
        );
    }
    found
}

fn options(keys: &[Key], matches: &ArgMatches) -> BTreeMap<String, String> {
    let Some(run) = matches.subcommand_matches("run") else { return BTreeMap::new() };
    let value = |key: &Key| match key.kind {
        Kind::Flag => run.get_flag(&key.id).to_string(),
        Kind::Count => run.get_count(&key.id).to_string(),
        Kind::One(_) | Kind::Several(_) => {
            let values = run.get_raw(&key.id).into_iter().flatten();
            values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(" ")
        }
    };
    keys.iter().map(|key| (key.name.clone(), value(key))).collect()
}
