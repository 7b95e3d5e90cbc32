//! The faults of a configuration file: all of them at once, each with its line.

use std::ops::Range;

/// A configuration that cannot be used. Each line of the message is one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The most faults that one message names.
const MOST_NAMED: usize = 50;

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Faults {
    file: String,
    found: Vec<(usize, String)>,
}

impl Faults {
    /// None so far. Messages name the file as `file`.
    pub fn new(file: String) -> Self {
        Self { file, found: Vec::new() }
    }

    /// Adds a fault in a line, counted from 1; line 0 is the file as a whole.
    pub fn add(&mut self, line: usize, message: impl Into<String>) {
        self.found.push((line, message.into()));
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error that names them, if there are any.
    pub fn error(mut self) -> Option<ConfigError> {
        if self.found.is_empty() {
            return None;
        }
        self.found.sort_by_key(|(line, _)| *line);
        let more = self.found.len().saturating_sub(MOST_NAMED);
        let mut lines: Vec<String> = self
            .found
            .iter()
            .take(MOST_NAMED)
            .map(|(line, message)| match line {
                0 => format!("{}: {message}", self.file),
                line => format!("{}:{line}: {message}", self.file),
            })
            .collect();
        if more > 0 {
            lines.push(format!("{}: and {more} more", self.file));
        }
        Some(ConfigError(lines.join("\n")))
    }
}

/// The lines of a text.
pub struct Lines {
    /// The positions of the newlines.
    ends: Vec<usize>,
}

impl Lines {
    /// Finds them.
    pub fn new(text: &str) -> Self {
        Self { ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    /// The line, counted from 1, in which a part of the text begins.
    pub fn of(&self, part: &Range<usize>) -> usize {
        1 + self.ends.partition_point(|&end| end < part.start)
    }
}
