//! Looks at the feeds while they lose something, apart from the threads that receive, so that losses get their causes.

use std::time::Instant;

use crate::feeds::Pace;
use crate::instance::Instance;
use crate::services::Server;

/// Looks for losses until the run ends.
pub fn server(instance: Instance) -> Server {
    Box::pin(async move {
        let mut pace = Pace::new();
        loop {
            tokio::time::sleep(pace.pause()).await;
            let instance = instance.clone();
            let look = move || {
                let began = Instant::now();
                let has_read = instance.attribute(pace.is_due());
                pace.looked(began, has_read);
                pace
            };
            // A panic was reported by the panic hook.
            let Ok(next) = tokio::task::spawn_blocking(look).await else { return };
            pace = next;
        }
    })
}
