//! What a tap copies, and how much of it waits for its reader.

use crate::api::error::Error;
use crate::api::verdict_set::VerdictSet;

/// The smallest and the largest ring.
const SLOTS: std::ops::RangeInclusive<u32> = 64..=1 << 20;

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
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let wrong = |reason: String| Error::Option { option: "tap", value: self.shown(), reason };
        if self.verdicts.is_empty() {
            return Err(wrong("it must have a verdict; name dropped_blocked, or leave the tap out".to_owned()));
        }
        if !self.slots.is_power_of_two() || !SLOTS.contains(&self.slots) {
            let next = self.slots.checked_next_power_of_two().unwrap_or(u32::MAX);
            let near = next.clamp(*SLOTS.start(), *SLOTS.end());
            return Err(wrong(format!("its slots must be a power of two from 64 to 1048576; use {near}")));
        }
        Ok(())
    }

    /// As errors name it.
    pub(crate) fn shown(&self) -> String {
        format!("\"{}\" with {} slots", self.verdicts, self.slots)
    }
}
