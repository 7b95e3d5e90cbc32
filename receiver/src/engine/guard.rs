//! What keeps a receiver running: its workers hold it, and the last one shuts the receiver down.

use std::sync::Arc;

use crate::engine::control::Control;
use crate::engine::shared::Shared;

/// Shared by the workers: when the last is dropped, the receiver is shut down.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    control: Arc<Control>,
}

impl Guard {
    pub fn new(control: Arc<Control>) -> Self {
        Self { shared: Arc::clone(control.shared()), control }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.control.shutdown() {
            tracing::warn!("shutting down: {error}");
        }
    }
}
