//! What a configuration file holds: options, subscriptions, feeds and sinks, each with the line where it is written.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use receiver::{Subscription, printable};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, Lines};
use super::feed::{self, FeedEntry, FeedTable};
use super::keys::{Form, Key, Kind};
use crate::feeds::{Legs, MOST_LEGS};
use crate::files;
use crate::suggest::closest;

/// The largest file, in bytes: room for more than 100,000 subscriptions.
const MOST_BYTES: u64 = 16 << 20;
/// The longest name of a subscription or sink, in bytes.
const LONGEST_NAME: usize = 64;
/// Characters of the longest word of the file that a message repeats.
const SHOWN: usize = 100;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// The path as it was given.
    pub path: PathBuf,
    /// The options.
    pub settings: Vec<Setting>,
    /// The subscriptions, in their order.
    pub subscriptions: Vec<SubscriptionEntry>,
    /// The feeds, in their order.
    pub feeds: Vec<FeedEntry>,
    /// The sinks, in their order.
    pub sinks: Vec<SinkEntry>,
}

/// An option in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The values as the command line would have them: `true` or `false` for a flag, a number for a count.
    pub values: Vec<String>,
    /// Counted from 1.
    pub line: usize,
}

/// A subscription in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionEntry {
    /// The name, which no other subscription has.
    pub name: Option<String>,
    /// What it asks for.
    pub subscription: Subscription,
    /// Counted from 1.
    pub line: usize,
}

/// A sink in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkEntry {
    /// The name, which no other sink has.
    pub name: Option<String>,
    /// The target, in the grammar of `--output`.
    pub target: String,
    /// The names of the subscriptions whose datagrams it gets; `None` for all.
    pub subscriptions: Option<Vec<String>>,
    /// Counted from 1.
    pub line: usize,
}

/// A subscription. Each one has its own `[[subscription]]`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionTable {
    /// A name for messages, for sinks, and for `receiver ctl`.
    name: Option<String>,
    /// SOURCE[,SOURCE...]@GROUP:PORT, GROUP:PORT for any source, or !SOURCE[,...]@GROUP:PORT for any other source.
    #[schemars(with = "String")]
    address: Spanned<String>,
}

/// A sink: where received data goes. Each one has its own `[[sink]]`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkTable {
    /// A name for messages and figures.
    name: Option<String>,
    /// The target, as `--output` has it.
    target: String,
    /// The names of the subscriptions whose datagrams it gets. Without this key it gets those of all.
    #[schemars(with = "Option<Vec<String>>")]
    subscriptions: Option<Vec<Spanned<String>>>,
}

/// Reads the text of a file.
///
/// # Errors
/// One sentence that names the file.
pub fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    let name = files::shown(path);
    read.map_err(|error| format!("cannot read the configuration {name}: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the configuration {name} is longer than {} MiB; check the name", MOST_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|_| format!("the configuration {name} is not UTF-8 text; save it as UTF-8"))
}

impl File {
    /// Takes what the text holds, and adds a fault for all else.
    pub fn parse(path: &Path, text: &str, keys: &[Key], faults: &mut Faults) -> Self {
        let lines = Lines::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(0, |span| lines.of(&span));
            faults.add(line, shown(&error.message().replace('\n', ", ")));
        }
        if !faults.is_empty() {
            // What follows a fault of the syntax may be read wrongly.
            return Self::default();
        }
        let mut reader = Reader { lines, folder: path.parent().unwrap_or(Path::new("")), keys, faults };
        let mut file = reader.table(table.into_inner());
        file.path = path.to_owned();
        file
    }
}

struct Reader<'a> {
    lines: Lines,
    folder: &'a Path,
    keys: &'a [Key],
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn line<T>(&self, spanned: &Spanned<T>) -> usize {
        self.lines.of(&spanned.span())
    }

    fn table(&mut self, table: DeTable<'_>) -> File {
        let mut file = File::default();
        for (key, value) in table {
            let line = self.line(&key);
            match key.get_ref().as_ref() {
                "subscription" => file.subscriptions = self.subscriptions(value),
                "sink" => file.sinks = self.sinks(value),
                // A text is the option `--feed`.
                "feed" if !matches!(value.get_ref(), DeValue::String(_)) => file.feeds = self.feeds(value),
                "config" => self.faults.add(line, "a configuration cannot name another one; remove `config`"),
                name => match self.keys.iter().find(|key| key.name == name) {
                    Some(key) => file.settings.extend(self.setting(key, line, &value)),
                    None => self.unknown(line, name, self.keys.iter().map(|key| key.name.as_str()).chain(TABLES)),
                },
            }
        }
        self.check_names(&file);
        file
    }

    fn unknown<'k>(&mut self, line: usize, name: &str, known: impl IntoIterator<Item = &'k str> + Clone) {
        let meant = match closest(&name.replace('-', "_"), known.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if name.len() < 3 || known.clone().into_iter().count() > 5 => {
                "`receiver config example` prints all keys".to_owned()
            }
            None => format!("the keys here are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
        };
        self.faults.add(line, format!("unknown key `{}`; {meant}", shown(name)));
    }

    fn setting(&mut self, key: &Key, line: usize, value: &Spanned<DeValue<'_>>) -> Option<Setting> {
        let values = match self.values(key, value.get_ref()) {
            Ok(values) => values,
            Err(expected) => {
                let given = value.get_ref().type_str();
                self.faults.add(line, format!("`{}` is {expected}, not {} {given}", key.name, article(given)));
                return None;
            }
        };
        Some(Setting { key: key.name.clone(), values, line })
    }

    /// The values as words, or what the key takes instead.
    fn values(&self, key: &Key, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
        match (key.kind, value) {
            (Kind::Flag, DeValue::Boolean(is_set)) => Ok(vec![is_set.to_string()]),
            (Kind::Flag, _) => Err("true or false"),
            (Kind::Count, DeValue::Integer(_)) => Ok(vec![word(value).ok_or("a number from 0 on")?]),
            (Kind::Count, _) => Err("a number from 0 on"),
            (Kind::Several(form), DeValue::Array(array)) => {
                array.iter().map(|value| self.one(key, form, value.get_ref())).collect()
            }
            (Kind::One(form) | Kind::Several(form), value) => Ok(vec![self.one(key, form, value)?]),
        }
    }

    fn one(&self, key: &Key, form: Form, value: &DeValue<'_>) -> Result<String, &'static str> {
        let text = match (form, value) {
            (Form::Any, DeValue::Integer(_) | DeValue::Float(_) | DeValue::String(_)) => word(value),
            (_, DeValue::String(text)) => Some(text.to_string()),
            _ => None,
        };
        let text = text.ok_or(match form {
            Form::Any => "a number or a text in quotes",
            _ if key.name == "subscriptions" => {
                "the path of a list, in quotes (a subscription is written as [[subscription]])"
            }
            Form::Path => "a path in quotes",
            Form::Target | Form::Text => "a text in quotes",
        })?;
        Ok(match form {
            Form::Path if text != "-" => self.path(&text),
            Form::Target => self.target(&text),
            _ => text,
        })
    }

    /// A path as the process needs it.
    fn path(&self, text: &str) -> String {
        self.folder.join(text).to_string_lossy().into_owned()
    }

    /// A target with its path as the process needs it.
    fn target(&self, text: &str) -> String {
        match text.split_once(':') {
            Some(("pcapng" | "framed", path)) if path == "-" || path.starts_with("-?") => text.into(),
            Some((scheme @ ("file" | "pcapng" | "framed" | "unix"), path)) => format!("{scheme}:{}", self.path(path)),
            Some((scheme, _)) if !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()) => text.into(),
            _ if text == "-" => text.into(),
            _ => self.path(text),
        }
    }

    fn subscriptions(&mut self, value: Spanned<DeValue<'_>>) -> Vec<SubscriptionEntry> {
        let mut all = Vec::new();
        for (line, table) in self.tables::<SubscriptionTable>("subscription", value, &["name", "address"]) {
            let at = self.line(&table.address);
            match table.address.get_ref().parse() {
                Ok(subscription) => all.push(SubscriptionEntry { name: table.name, subscription, line }),
                Err(error) => self.faults.add(at, receiver::SubscriptionError::to_string(&error)),
            }
        }
        all
    }

    fn sinks(&mut self, value: Spanned<DeValue<'_>>) -> Vec<SinkEntry> {
        let tables = self.tables::<SinkTable>("sink", value, &["name", "target", "subscriptions"]);
        let entry = |(line, table): (usize, SinkTable)| SinkEntry {
            name: table.name,
            target: self.target(&table.target),
            subscriptions: table.subscriptions.map(|names| names.into_iter().map(Spanned::into_inner).collect()),
            line,
        };
        tables.into_iter().map(entry).collect()
    }

    fn feeds(&mut self, value: Spanned<DeValue<'_>>) -> Vec<FeedEntry> {
        let mut all = Vec::new();
        for (line, table) in self.tables::<FeedTable>("feed", value, &feed::KEYS) {
            let Self { lines, faults, .. } = self;
            let request = table.request(&mut |(place, message)| faults.add(lines.of(&place), message));
            all.extend(request.map(|request| FeedEntry { request, line }));
        }
        all
    }

    /// The tables of an array of them, each with its line.
    fn tables<T: for<'de> Deserialize<'de>>(
        &mut self,
        name: &str,
        value: Spanned<DeValue<'_>>,
        known: &[&str],
    ) -> Vec<(usize, T)> {
        let line = self.line(&value);
        let DeValue::Array(array) = value.into_inner() else {
            self.faults.add(line, format!("`{name}` is an array of tables; write [[{name}]]"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for mut item in array {
            let line = self.line(&item);
            if let DeValue::Table(table) = item.get_mut() {
                let unknown: Vec<_> =
                    table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).cloned().collect();
                for key in unknown {
                    self.unknown(self.line(&key), key.get_ref(), known.iter().copied());
                    table.remove(&key);
                }
            }
            match T::deserialize(item.into_deserializer()) {
                Ok(table) => all.push((line, table)),
                Err(error) => {
                    let at = error.span().map_or(line, |span| self.lines.of(&span));
                    self.faults.add(at, format!("[[{name}]]: {}", shown(error.message())));
                }
            }
        }
        all
    }

    /// Each name is that of one thing, and a sink names subscriptions that exist.
    fn check_names(&mut self, file: &File) {
        let of = |name: &Option<String>, line: usize| name.clone().map(|name| (name, line));
        let subscriptions: Vec<_> = file.subscriptions.iter().filter_map(|entry| of(&entry.name, entry.line)).collect();
        let sinks: Vec<_> = file.sinks.iter().filter_map(|entry| of(&entry.name, entry.line)).collect();
        self.check_unique("subscription", &subscriptions);
        self.check_unique("sink", &sinks);
        self.check_feeds(file);
        for sink in &file.sinks {
            if sink.subscriptions.is_some() && sink.name.is_none() {
                self.faults.add(sink.line, "[[sink]]: a sink with `subscriptions` needs a `name`");
            }
            for name in sink.subscriptions.iter().flatten() {
                if subscriptions.iter().any(|(known, _)| known == name) {
                    continue;
                }
                let meant = closest(name, subscriptions.iter().map(|(name, _)| name.as_str()))
                    .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                self.faults.add(sink.line, format!("no [[subscription]] has the name `{}`{meant}", shown(name)));
            }
        }
    }

    /// The legs of a feed are subscriptions that exist, and each is a leg once.
    fn check_feeds(&mut self, file: &File) {
        let known: Vec<&str> = file.subscriptions.iter().filter_map(|entry| entry.name.as_deref()).collect();
        let (mut names, mut taken) = (HashMap::new(), HashMap::new());
        for FeedEntry { request, line } in &file.feeds {
            let name = &request.name;
            if let Some(first) = names.insert(name.as_str(), *line) {
                let message = format!("the feed of line {first} has the name `{name}` too; name each feed once");
                self.faults.add(*line, message);
            }
            let legs: &[String] = match &request.legs {
                Legs::Named(legs) => legs,
                Legs::All => &[],
            };
            let takes_all = request.legs == Legs::All;
            if takes_all && file.feeds.len() > 1 {
                let message = format!("feed {name} takes all subscriptions, beside other feeds; name its `legs`");
                self.faults.add(*line, message);
            }
            if legs.is_empty() && !takes_all {
                let message = format!("feed {name} has no legs; name one or more subscriptions, or remove `legs`");
                self.faults.add(*line, message);
            }
            if legs.len() > MOST_LEGS {
                let message = format!("feed {name} has {} legs; a feed has up to {MOST_LEGS}", legs.len());
                self.faults.add(*line, message);
            }
            for leg in legs.iter().chain(request.fec.names()) {
                let shown = shown(leg);
                if !known.contains(&leg.as_str()) {
                    let meant = closest(leg, known.iter().copied())
                        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    self.faults.add(*line, format!("no [[subscription]] has the name `{shown}`{meant}"));
                } else if let Some(other) = taken.insert(leg.as_str(), name) {
                    let message = format!("`{shown}` is a leg of feed {other} and of feed {name}; name it once");
                    self.faults.add(*line, message);
                }
            }
        }
    }

    fn check_unique(&mut self, what: &str, names: &[(String, usize)]) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (name, line) in names {
            let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if !name.starts_with(char::is_alphabetic) || !name.chars().all(is_part) || name.len() > LONGEST_NAME {
                let rule = "a name is a letter, then letters, digits, `-`, `_` or `.`, at most 64 bytes";
                self.faults.add(*line, format!("the name `{}` of a {what} is not valid: {rule}", shown(name)));
            }
            if let Some(first) = seen.insert(name, *line) {
                let message =
                    format!("the {what} of line {first} has the name `{}` too; name each {what} once", shown(name));
                self.faults.add(*line, message);
            }
        }
    }
}

/// The keys of tables.
const TABLES: [&str; 3] = ["subscription", "feed", "sink"];

/// A scalar as a word of the command line.
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        // As it is written: `200.10` is an outer and an inner VLAN id.
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn shown(text: &str) -> String {
    printable(text, SHOWN)
}
