//! Ends the threads of a scope, also if the one that would end them panics.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag once it is dropped.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
