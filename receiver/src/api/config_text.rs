//! The text forms of settings whose types belong to the AF_XDP crate.

use std::fmt;
use std::str::FromStr;

use receiver_xsk::{BusyPoll, HugePages};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::parse::{ParseError, serialize_as_text};

struct BusyPollText(BusyPoll);

impl FromStr for BusyPollText {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (budget, time) = text.split_once(" packets in ")?;
            let microseconds = time.strip_suffix(" us")?.parse().ok()?;
            Some(BusyPoll { budget: budget.parse().ok()?, microseconds })
        };
        parse().map(Self).ok_or_else(|| ParseError::new(text, "a measure of busy polling", "`64 packets in 50 us`"))
    }
}

impl fmt::Display for BusyPollText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets in {} us", self.0.budget, self.0.microseconds)
    }
}

struct HugePagesText(HugePages);

impl FromStr for HugePagesText {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "try" => Ok(Self(HugePages::Try)),
            "never" => Ok(Self(HugePages::Never)),
            _ => Err(ParseError::new(text, "a use of huge pages", "try or never")),
        }
    }
}

impl fmt::Display for HugePagesText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            HugePages::Try => "try",
            HugePages::Never => "never",
        })
    }
}

serialize_as_text!(BusyPollText, HugePagesText);

/// `64 packets in 50 us`, or nothing.
pub(super) mod busy_poll {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<BusyPoll>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(BusyPollText).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BusyPoll>, D::Error> {
        Ok(Option::<BusyPollText>::deserialize(deserializer)?.map(|text| text.0))
    }
}

/// `try` or `never`.
pub(super) mod huge_pages {
    use super::*;

    pub fn serialize<S: Serializer>(value: &HugePages, serializer: S) -> Result<S::Ok, S::Error> {
        HugePagesText(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HugePages, D::Error> {
        Ok(HugePagesText::deserialize(deserializer)?.0)
    }
}
