//! What a tap copies, and how much of it waits for its reader.

use crate::api::verdict_set::VerdictSet;

/// A tap: the XDP program copies frames of these verdicts for a reader of their own ([`Tap`](crate::Tap)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TapConfig {
    /// The verdicts whose frames are copied. Default: [`VerdictSet::BLOCKED`].
    pub verdicts: VerdictSet,
    /// Frames that can wait for the reader, in each of the rings: a power of two from 64 to 1,048,576. There is a ring
    /// for each receive queue, up to 8. A frame takes 2 KiB of kernel memory. Default: 4,096.
    pub slots: u32,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self { verdicts: VerdictSet::BLOCKED, slots: 4_096 }
    }
}

impl TapConfig {
    /// As errors name it.
    pub(crate) fn shown(&self) -> String {
        format!("\"{}\" with {} slots", self.verdicts, self.slots)
    }
}
