//! Shuts the receiver down with its last worker.

use std::sync::Arc;

use crate::engine::control::Control;
use crate::engine::shared::Shared;

/// Shared by the workers. When the last of them is dropped, the receiver is shut down.
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
            tracing::warn!("the receiver could not be shut down cleanly: {error}");
        }
    }
}
