//! How errors end the command: their text in one paragraph, and the exit code.

use receiver::printable;
use receiver_send::SendError;

use crate::config::ConfigError;

/// Characters of the longest message. A longer one repeats somebody's input.
const LONGEST_MESSAGE: usize = 8000;

/// A request that makes no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code for an error: 2 for a request that makes no sense, otherwise 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(send) = cause.downcast_ref::<SendError>() {
            return send.exit_code();
        }
        if cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.downcast_ref::<receiver::Error>().is_some_and(receiver::Error::is_usage)
        {
            return 2;
        }
    }
    1
}

/// The library's error in the chain of causes, if there is one.
pub fn library_error(error: &anyhow::Error) -> Option<&receiver::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// The error and its causes in one paragraph. A cause whose text is already part of the paragraph is not repeated.
/// Where XDP is required, each mode has a line of its own, and so has each fault of a configuration.
pub fn describe(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        let lines: Vec<String> = error.0.lines().map(|line| printable(line, LONGEST_MESSAGE)).collect();
        return lines.join("\n  ");
    }
    if let Some(error @ receiver::Error::XdpRequired { .. }) = library_error(error) {
        let text = error.to_string();
        let lines: Vec<String> = text.lines().map(|line| printable(&one_paragraph(line), LONGEST_MESSAGE)).collect();
        return lines.join("\n  ");
    }
    let mut text = String::new();
    for cause in error.chain().map(|cause| one_paragraph(&cause.to_string())) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    printable(&text, LONGEST_MESSAGE)
}

/// The same words with single spaces between them.
pub fn one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn errors_are_one_paragraph_that_says_nothing_twice() {
        let io = std::io::Error::other("no room\n  at all");
        let error = anyhow::Error::new(receiver::Error::Wait { doing: "wait", source: io }).context("queue 3");
        assert_eq!(describe(&error), "queue 3: could not wait: no room at all");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(&anyhow!("anything")), 1);
        assert_eq!(exit_code(&anyhow::Error::new(UsageError("x".into())).context("more")), 2);
        assert_eq!(exit_code(&receiver::Error::NoSubscription.into()), 2);
        assert_eq!(exit_code(&receiver::Error::Stopped.into()), 1);
        assert_eq!(exit_code(&SendError::PortZero.into()), 2);
    }
}
