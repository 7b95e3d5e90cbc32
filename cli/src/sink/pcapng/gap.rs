//! What is missing between two packets of a recording.

use std::fmt::Write;

use crate::outlet::DropReason;

/// Packets between the last one that was written and the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Lost before they came to the sink.
    pub lost: u64,
    /// Dropped for want of room.
    pub unwritten: u64,
    /// Why.
    pub reason: Option<DropReason>,
}

impl Gap {
    /// Appends it to a comment, if something is missing.
    pub fn write(&self, text: &mut String) {
        let before = if text.is_empty() { "" } else { "; " };
        let _ = match (self.lost, self.unwritten, self.reason) {
            (0, 0, _) => Ok(()),
            (lost, 0, _) => write!(text, "{before}lost before this packet: {lost}"),
            (lost, unwritten, reason) => {
                let reason = reason.map_or("", DropReason::name);
                let all = lost + unwritten;
                write!(text, "{before}lost before this packet: {all}, of these not written ({reason}): {unwritten}")
            }
        };
    }
}
