//! A number, or the least and the greatest of a range.

use std::fmt;
use std::str::FromStr;

/// From `least` to `most`, both included. Written `8` or `1..8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least.
    pub least: u32,
    /// The greatest, not below `least`.
    pub most: u32,
}

/// A text that is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number or range of numbers; write a number such as 8, or a range such as 1..8")]
pub struct SpanError(String);

impl Span {
    /// A range.
    #[must_use]
    pub const fn new(least: u32, most: u32) -> Self {
        Self { least, most }
    }

    /// One number.
    #[must_use]
    pub const fn one(number: u32) -> Self {
        Self::new(number, number)
    }

    pub(super) fn is_within(self, outer: Self) -> bool {
        outer.least <= self.least && self.least <= self.most && self.most <= outer.most
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError(text.to_owned());
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().ok_or_else(wrong)
        };
        let span = match text.split_once("..") {
            Some((least, most)) => Self::new(number(least)?, number(most)?),
            None => Self::one(number(text)?),
        };
        if span.least <= span.most { Ok(span) } else { Err(wrong()) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most { write!(f, "{}", self.least) } else { write!(f, "{} to {}", self.least, self.most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!("8".parse(), Ok(Span::one(8)));
        assert_eq!("1..8".parse(), Ok(Span::new(1, 8)));
        for text in ["", "..", "8..1", "1..", "-1", "1...8", "x", "99999999999"] {
            let error = text.parse::<Span>().expect_err(text).to_string();
            let remedy = "is no number or range of numbers; write a number such as 8, or a range such as 1..8";
            assert_eq!(error, format!("`{text}` {remedy}"));
        }
    }
}
