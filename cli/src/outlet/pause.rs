//! The pauses between two tries of what fails.

use std::time::Duration;

/// The first pause, and the longest one.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// The next pause. Each is twice as long as the one before.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    /// Takes the next pause.
    pub fn take(&mut self) -> Duration {
        let now = self.0;
        self.0 = (2 * now).min(LONGEST);
        now
    }
}
