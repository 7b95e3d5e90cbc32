//! From which level on the log has events: one level, or a list of targets with their levels.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::suggest::closest;

/// The target of the XDP program's own log.
const XDP: &str = "receiver::xdp";
/// The log of the client of NATS. The sink has better words for its events.
const NATS: &str = "async_nats";

/// The levels by their names.
const NAMES: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The names of the levels.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().map(|(name, _)| name)
}

/// A level of the log, as a user writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Level(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    All(LevelFilter),
    Each(Box<Targets>),
}

impl Level {
    pub const OFF: Self = Self(Kind::All(LevelFilter::OFF));
    pub const ERROR: Self = Self(Kind::All(LevelFilter::ERROR));
    pub const WARN: Self = Self(Kind::All(LevelFilter::WARN));
    pub const INFO: Self = Self(Kind::All(LevelFilter::INFO));
    pub const DEBUG: Self = Self(Kind::All(LevelFilter::DEBUG));

    /// The filter for it. The XDP program's verdicts are part of it only if they were asked for.
    pub(super) fn targets(&self, verdicts: bool) -> Targets {
        let targets = match &self.0 {
            Kind::All(level) => Targets::new()
                .with_default(*level)
                .with_target(XDP, (*level).min(LevelFilter::INFO))
                .with_target(NATS, if *level >= LevelFilter::DEBUG { *level } else { LevelFilter::OFF }),
            Kind::Each(targets) => (**targets).clone(),
        };
        if verdicts { targets.with_target(XDP, LevelFilter::DEBUG) } else { targets }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named =
            |text: &str| NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level);
        if let Some(level) = named(text.trim()) {
            return Ok(Self(Kind::All(level)));
        }
        // `Targets` takes a word that is no level for a target.
        let level_of = |part: &str| part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_owned();
        let levels: Vec<String> = text.split(',').map(level_of).collect();
        match levels.iter().find(|level| named(level).is_none()) {
            None => text.parse().map(|targets| Self(Kind::Each(Box::new(targets)))).map_err(|error| format!("{error}")),
            Some(wrong) => {
                let names = NAMES.map(|(name, _)| name);
                let meant = closest(wrong, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                Err(format!("`{wrong}` is not a level of the log, which are {}{meant}", names.join(", ")))
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::All(level) => write!(f, "{level}"),
            Kind::Each(targets) => write!(f, "{targets}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_of_targets() {
        assert_eq!("debug".parse(), Ok(Level::DEBUG));
        assert_eq!("Warn".parse(), Ok(Level::WARN));
        assert_eq!("off".parse(), Ok(Level::OFF));
        let list: Level = "warn,receiver::api=debug".parse().expect("a list");
        let targets = list.targets(false);
        assert!(targets.would_enable("receiver::api", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("receiver::engine", &tracing::Level::INFO));
        assert_eq!((Level::INFO.to_string(), Level::OFF.to_string()), ("info".to_owned(), "off".to_owned()));
        let error = "dbug".parse::<Level>().expect_err("no level");
        assert!(error.ends_with("off, error, warn, info, debug, trace; did you mean debug?"), "{error}");
        assert!("receiver=loud".parse::<Level>().expect_err("no level").starts_with("`loud` is not a level"));
        assert!("".parse::<Level>().is_err() && "warn,".parse::<Level>().is_err());
    }

    #[test]
    fn verdicts_are_logged_only_if_asked_for() {
        for level in [Level::DEBUG, "trace".parse().expect("a level")] {
            assert!(!level.targets(false).would_enable(XDP, &tracing::Level::DEBUG), "{level}");
        }
        for level in [Level::OFF, Level::WARN, "warn,receiver::api=debug".parse().expect("a list")] {
            assert!(level.targets(true).would_enable(XDP, &tracing::Level::DEBUG), "{level}");
        }
    }
}
