//! Configuration files: any text is a configuration, or faults with lines that exist.
#![no_main]
#![allow(dead_code)] // The command uses more of these files.

use std::path::Path;

use clap::{Arg, ArgAction, Command};
use libfuzzer_sys::fuzz_target;

#[path = "../../cli/src"]
mod cli {
    pub mod config {
        pub mod fault;
        pub mod feed;
        pub mod file;
        pub mod keys;
    }
    pub mod feeds {
        mod request;
        pub use request::{Fec, FeedOptions, FeedRequest, Legs, MOST_LEGS, path_class};
    }
    pub mod suggest;
    pub mod values;
}
use cli::{config, feeds, suggest, values};

/// Stands in for the checks of files, which this target does not make.
mod files {
    pub fn shown(path: &std::path::Path) -> String {
        path.display().to_string()
    }
}

/// Options of each kind.
fn keys() -> Vec<config::keys::Key> {
    let run = Command::new("run")
        .arg(Arg::new("interface").long("interface"))
        .arg(Arg::new("share").long("share").action(ArgAction::SetTrue))
        .arg(Arg::new("verbose").long("verbose").action(ArgAction::Count))
        .arg(Arg::new("output").long("output").action(ArgAction::Append))
        .arg(Arg::new("duration").long("duration").value_parser(values::duration));
    config::keys::all(&config::keys::run(&Command::new("receiver").subcommand(run)))
}

fuzz_target!(|text: &str| {
    thread_local!(static KEYS: Vec<config::keys::Key> = keys());
    let mut faults = config::fault::Faults::new("receiver.toml".to_owned());
    let file = KEYS.with(|keys| config::file::File::parse(Path::new("receiver.toml"), text, keys, &mut faults));
    let lines = text.lines().count() + 1;
    assert!(file.settings.iter().all(|setting| (1..=lines).contains(&setting.line)));
    if let Some(error) = faults.error() {
        for line in error.to_string().lines().filter(|line| !line.contains(" more")) {
            let number = line.strip_prefix("receiver.toml:").and_then(|rest| rest.split_once(':')).map(|(at, _)| at);
            let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
            assert!(number <= lines, "{line} of {lines} lines");
        }
    }
});
