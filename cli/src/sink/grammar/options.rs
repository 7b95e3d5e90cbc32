//! The options behind `?` in a target.

use std::time::Duration;

use super::problem::Problem;
use super::target::{Kind, Target};
use crate::suggest::closest;
use crate::values;

/// The options of a target.
pub struct Options<'a> {
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Checks the keys.
    pub fn new(text: Option<&'a str>, keys: &[&'static str]) -> Result<Self, Problem> {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for part in text.into_iter().flat_map(|text| text.split('&')) {
            let (key, value) = part.split_once('=').ok_or_else(|| Problem::NoValue(part.to_owned()))?;
            if !keys.contains(&key) {
                let remedy = closest(key, keys.iter().copied()).map_or_else(
                    || format!("the keys are {}", keys.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(Problem::UnknownKey { key: key.to_owned(), remedy });
            }
            if key != "only" && values.iter().any(|(other, _)| *other == key) {
                return Err(Problem::Twice(key.to_owned()));
            }
            values.push((key, value));
        }
        Ok(Self { values })
    }

    /// The value of a key, if it has one.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        remedy: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some((_, text)) = self.values.iter().find(|(other, _)| *other == key) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::Value { key, value: (*text).to_owned(), remedy }),
        }
    }

    /// With the options that all kinds have.
    pub fn target(self, kind: Kind) -> Result<Target, Problem> {
        let limit = self.parsed("limit", "a size such as 64MiB", |text| size(text).filter(|&bytes| bytes > 0))?;
        let only: Vec<String> =
            self.values.iter().filter(|(key, _)| *key == "only").map(|(_, text)| (*text).to_owned()).collect();
        if only.iter().any(String::is_empty) {
            return Err(Problem::Value { key: "only", value: String::new(), remedy: "a subscription, or GROUP:PORT" });
        }
        Ok(Target { kind, limit, only })
    }
}

/// Parses a number of bytes.
pub fn size(text: &str) -> Option<u64> {
    values::size(text).ok()
}

/// Parses a length of time.
pub fn time(text: &str) -> Option<Duration> {
    values::duration(text).ok()
}

/// Parses `yes` or `no`.
pub fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Parses a host, with an IPv6 address in brackets, and a port.
pub fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| (inner, port));
    }
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    is_host.then_some((host, port))
}
