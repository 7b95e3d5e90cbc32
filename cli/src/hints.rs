//! What the libraries' errors cannot name: the option of this command that helps.

use receiver::SubscriptionError;

use super::errors::library_error;

/// A sentence to follow the error's text, if an option helps.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    match library_error(error)? {
        receiver::Error::Verifier { .. } => Some(". The option -vv prints that log".to_owned()),
        receiver::Error::TooFewQueues { asked, .. } => {
            Some(format!(". For queue {asked} alone write `--queues {asked},`"))
        }
        receiver::Error::Subscription(SubscriptionError::AsmInSsmRange(_)) => {
            Some(". The option is --allow-asm-in-ssm-range".to_owned())
        }
        _ => None,
    }
}
