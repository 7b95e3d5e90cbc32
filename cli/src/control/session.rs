//! What the run remembers of a client.

use crate::figures::Base;

/// What the run remembers of a client between its requests.
#[derive(Default)]
pub struct Session {
    /// The counts of its last `stats`.
    pub before: Option<Base>,
}
