//! The example of a configuration file: two subscriptions and a sink, and each key with what it means.

use clap::Command;

use super::keys::{self, Key, Kind};
use super::merge;

/// The longest line of the example, in columns.
const WIDTH: usize = 100;

/// Values for keys without a default.
const SAMPLES: [(&str, &str); 21] = [
    ("feed_class", "A"),
    ("feed_window", "10ms"),
    ("priority", "fifo:10"),
    ("control", "/run/receiver/channel-7.sock"),
    ("metrics", "127.0.0.1:9464"),
    ("log", "info"),
    ("name", "channel-7"),
    ("subscriptions", "subscriptions.list"),
    ("vlan", "100"),
    ("duration", "1h30m"),
    ("count", "1000000"),
    ("summary", "summary.json"),
    ("output", "file:channel-7.raw"),
    ("record", "channel-7.pcapng"),
    ("max_flows", "65536"),
    ("ring_size", "2048"),
    ("frames", "16384"),
    ("frame_size", "2048"),
    ("copy_limit", "64MiB"),
    ("socket_buffer", "8MiB"),
    ("cpus", "2,4-7"),
];

/// Values to try for a key without a default and without a sample.
const CANDIDATES: [&str; 5] = ["1s", "1", "64MiB", "2048", "value"];

const HEAD: &str = "\
# An example of a configuration for `receiver run --config FILE`.
#
# The keys are the long options of `receiver run`, with _ for -. The command line overrides the
# file, and the file overrides the environment. Times and sizes are written as on the command line,
# in quotes: \"1m30s\", \"64MiB\". Relative paths are relative to this file. `receiver config check FILE`
# names all faults; SIGHUP and `receiver ctl reload` apply a change of the file without losing a
# packet of what stays.

# Interface to receive on.
interface = \"eth1\"
";

const TABLES: &str = "
# --- Subscriptions ---

# Each one has a table of its own. `name` may be left out; `address` is SOURCE[,SOURCE...]@GROUP:PORT,
# GROUP:PORT for any source, or !SOURCE[,...]@GROUP:PORT for any other source.
[[subscription]]
name = \"video\"
address = \"10.0.0.1,10.0.0.2@232.1.1.1:5000\"

[[subscription]]
name = \"audio\"
address = \"[2001:db8::1]@[ff3e::1]:5002\"

# --- Sinks ---

# Where received data goes; `target` is that of --output. Without `subscriptions` a sink gets the
# datagrams of all.
#[[sink]]
#name = \"recording\"
#target = \"video.raw\"
#subscriptions = [\"video\"]

# --- Feeds ---

# Subscriptions that carry the same sequenced streams, as legs of one feed: each message reaches the
# sinks once and in order. Without `legs` all subscriptions are legs. The keys behind `legs` may be
# left out: `window` is how long a missing range is waited for, `recovery` how long a declared gap is
# open to a late fill, `class` that of ST 2022-7 (A, B, C, C-high-rate or D).
#[[feed]]
#name = \"itch\"
#protocol = \"moldudp64\"
#legs = [\"video\", \"audio\"]
#window = \"10ms\"
#reorder = 0
#held = 4096
#recovery = \"1s\"
#leg_timeout = \"1s\"
#stale = \"5s\"
#streams = 16384
#rerequest = \"10.0.0.9:5100\"
";

/// The example for a command with these options.
pub fn text(command: &Command) -> String {
    let run = keys::run(command);
    let mut text = HEAD.to_owned();
    let all = keys::all(&run);
    let mut headings: Vec<&str> = Vec::new();
    for key in &all {
        if !headings.contains(&key.heading.as_str()) {
            headings.push(&key.heading);
        }
    }
    for heading in headings {
        text.push_str(&format!("\n# --- {heading} ---\n"));
        for key in all.iter().filter(|key| key.heading == heading && key.name != "interface") {
            text.push('\n');
            for line in wrapped(&key.help) {
                text.push_str(&format!("# {line}\n"));
            }
            text.push_str(&format!("#{} = {}\n", key.name, value(&run, key)));
        }
    }
    text + TABLES
}

/// A value of the key, as TOML.
fn value(run: &Command, key: &Key) -> String {
    let sample = || SAMPLES.iter().find(|(name, _)| *name == key.name).map(|(_, sample)| *sample);
    let listed = || key.values.first().map(String::as_str);
    let tried = || CANDIDATES.into_iter().find(|value| merge::check(run, key, value).is_ok());
    let word = || key.default.as_deref().or_else(sample).or_else(listed).or_else(tried).unwrap_or_default();
    match key.kind {
        Kind::Flag => "false".to_owned(),
        Kind::Count => "0".to_owned(),
        Kind::One(keys::Form::Any) if word().parse::<i64>().is_ok() => word().to_owned(),
        Kind::One(_) => format!("\"{}\"", word()),
        Kind::Several(_) => format!("[\"{}\"]", word()),
    }
}

/// The words in lines of the example's width.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH - 2 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
