//! A question in the last row.

use std::net::IpAddr;

use super::{Action, ActionKind, Key, Request};
use crate::view::group_of;

/// The longest text that is typed.
const LONGEST: usize = 200;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// The text of the filter, which has its effect while it is typed.
    Filter { text: String, before: String },
    /// The source to block or unblock.
    Source { block: bool, key: String, subscription: String, text: String },
    /// Whether the run is to end.
    Quit,
}

impl Prompt {
    /// The question.
    pub fn question(&self) -> String {
        match self {
            Self::Filter { .. } => "filter (Enter keeps, Esc undoes):".to_owned(),
            Self::Source { block, subscription, .. } => {
                let (what, group) = (if *block { "block" } else { "unblock" }, group_of(subscription));
                format!("source to {what} on {group} (Esc cancels):")
            }
            Self::Quit => "end the run? y ends it, any other key goes on".to_owned(),
        }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        match self {
            Self::Filter { text, .. } | Self::Source { text, .. } => text,
            Self::Quit => "",
        }
    }

    /// Takes a key that edits the text.
    pub fn edit(&mut self, key: Key) {
        let (Self::Filter { text, .. } | Self::Source { text, .. }) = self else { return };
        match key {
            Key::Char(character) if text.len() < LONGEST => text.push(character),
            Key::Backspace => drop(text.pop()),
            Key::Control('u' | 'w') => text.clear(),
            _ => {}
        }
    }

    /// The request that the text makes.
    ///
    /// # Errors
    /// The text makes no sense; for the operator.
    pub fn entered(&self) -> Result<Option<Request>, String> {
        let Self::Source { block, key, subscription, text } = self else { return Ok(None) };
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let source: IpAddr =
            bare.parse().map_err(|_| format!("`{text}` is not an IP address; write one such as 10.0.0.1"))?;
        let kind = if *block { ActionKind::Block(source) } else { ActionKind::Unblock(source) };
        Ok(Some(Request::Run(Action { kind, key: key.clone(), subscription: subscription.clone() })))
    }
}
