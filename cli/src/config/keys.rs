//! The keys of a configuration file. Each long option of `receiver run` has one: its name with `_` for `-`. So an
//! option that is added has its key, its type and its description at once.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

/// The options that have no key: a configuration does not name another one.
const WITHOUT: [&str; 3] = ["config", "help", "version"];

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A text.
    Text,
    /// A path; a relative one is relative to the file.
    Path,
    /// A target of a sink; a relative path in it is relative to the file.
    Target,
    /// A text, or a number: a size, a duration, a list of CPUs.
    Any,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// How often the option is given.
    Count,
    /// One value.
    One(Form),
    /// One value, or an array of them.
    Several(Form),
}

/// A key, and the option that it stands for.
#[derive(Clone, Debug)]
pub struct Key {
    /// As the file has it.
    pub name: String,
    /// As the command line has it, without the dashes.
    pub option: String,
    /// As clap knows the option.
    pub id: String,
    /// What the key holds.
    pub kind: Kind,
    /// The option belongs to all subcommands.
    pub is_global: bool,
    /// The description in the help, and the heading there.
    pub help: String,
    pub heading: String,
    /// The value if the option is not given.
    pub default: Option<String>,
    /// The values that are possible, if they can be listed.
    pub values: Vec<String>,
}

/// All keys, in the order of the help. `run` is what [`run`] returns.
pub fn all(run: &Command) -> Vec<Key> {
    run.get_arguments().filter_map(key).collect()
}

/// The subcommand `run` of the whole command, with all of its options, those of all subcommands too.
pub fn run(command: &Command) -> Command {
    let mut command = command.clone();
    command.build();
    command.find_subcommand("run").expect("the command has a subcommand `run`").clone()
}

fn key(arg: &Arg) -> Option<Key> {
    let option = arg.get_long().filter(|long| !WITHOUT.contains(long))?.to_owned();
    let form = form(arg);
    let kind = match arg.get_action() {
        ArgAction::SetTrue => Kind::Flag,
        ArgAction::Count => Kind::Count,
        ArgAction::Set => Kind::One(form),
        ArgAction::Append => Kind::Several(form),
        _ => return None,
    };
    let takes_values = matches!(kind, Kind::One(_) | Kind::Several(_));
    let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    Some(Key {
        name: option.replace('-', "_"),
        option,
        id: arg.get_id().to_string(),
        kind,
        is_global: arg.is_global_set(),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        heading: arg.get_help_heading().unwrap_or("Options").to_owned(),
        default: default.filter(|_| takes_values),
        values: match takes_values {
            true => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
            false => Vec::new(),
        },
    })
}

fn form(arg: &Arg) -> Form {
    let parsed = arg.get_value_parser().type_id();
    match () {
        () if matches!(arg.get_long(), Some("output" | "record")) => Form::Target,
        () if parsed == TypeId::of::<PathBuf>() => Form::Path,
        () if parsed == TypeId::of::<String>() || parsed == TypeId::of::<OsString>() => Form::Text,
        () => Form::Any,
    }
}
