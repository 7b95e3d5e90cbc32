//! The lines that a check prints: what it found, and the command that helps.

use serde::Serialize;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works now, and can be better or break later.
    Warn,
    /// Packets do not arrive, or get lost.
    Fail,
    /// Not looked at.
    Skipped,
}

impl Outcome {
    /// The word at the beginning of a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the check found.
    pub outcome: Outcome,
    /// The fact, as a clause without a full stop.
    pub text: String,
    /// A command that helps, to be typed as it is.
    pub remedy: Option<String>,
}

impl Line {
    fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into(), remedy: None }
    }

    pub fn ok(text: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, text)
    }

    pub fn warn(text: impl Into<String>) -> Self {
        Self::new(Outcome::Warn, text)
    }

    pub fn fail(text: impl Into<String>) -> Self {
        Self::new(Outcome::Fail, text)
    }

    pub fn skipped(text: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, text)
    }

    /// With a command that helps.
    pub fn remedy(self, command: impl Into<String>) -> Self {
        Self { remedy: Some(command.into()), ..self }
    }
}
