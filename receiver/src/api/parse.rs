//! Settings as a user writes them: the same text on a command line, in a configuration file and in a message.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

use crate::api::text::printable;

/// Characters of a wrong text that an error repeats.
const LONGEST_TEXT: usize = 80;

/// A text that is no value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {what}; write {form}", printable(text, LONGEST_TEXT))]
pub struct ParseError {
    text: String,
    what: &'static str,
    form: &'static str,
}

impl ParseError {
    /// The error for `text`, which should be `what` (`a mode`), in one of the forms that `form` lists.
    pub(crate) fn new(text: &str, what: &'static str, form: &'static str) -> Self {
        Self { text: text.to_owned(), what, form }
    }
}

/// Implements serde's traits by [`Display`](fmt::Display) and [`FromStr`].
macro_rules! serialize_as_text {
    ($($kind:ty),+ $(,)?) => { $(
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::api::parse::from_text(deserializer)
            }
        }
    )+ };
}
pub(crate) use serialize_as_text;

/// Reads a value from its text. A whole number stands for its digits, so that a file can have `vlan = 100`.
pub(crate) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    deserializer.deserialize_any(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
