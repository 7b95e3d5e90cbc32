//! A run as a service of systemd (`Type=notify`): it reports when it is ready, what it does, that it lives, and why it
//! ended. Without a service manager all of this does nothing.

#[cfg(debug_assertions)]
mod hang;
mod notifier;
mod status;
mod watchdog;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::errors;
use crate::figures::{Facts, Figures};
use notifier::Notifier;
use watchdog::Watchdog;

pub use watchdog::Activity;

/// The service manager of this process.
static MANAGER: LazyLock<Option<Notifier>> = LazyLock::new(Notifier::from_environment);

/// The shortest time between two states of a run. An interval of a second may come a little early.
const STATUS_INTERVAL: Duration = Duration::from_millis(900);

fn notify(states: &[NotifyState<'_>]) {
    if let Some(manager) = &*MANAGER {
        manager.send(states);
    }
}

/// Reports the error that ends the process.
pub fn failed(error: &anyhow::Error) {
    let text = errors::describe(error);
    let states: Vec<_> = [NotifyState::Status(&text)].into_iter().chain(errno(error).map(NotifyState::Errno)).collect();
    notify(&states);
}

/// The kernel's error number, if a cause is the kernel's.
fn errno(error: &anyhow::Error) -> Option<u32> {
    u32::try_from(receiver_host::os_error(error.as_ref())?).ok()
}

/// A reload that is under way. Dropped, it is over.
#[must_use = "the reload is over when this is dropped"]
pub struct Reload(());

/// Reports that the configuration is being reloaded.
pub fn reloading() -> Reload {
    // The manager wants the time of the same clock with it.
    let time = NotifyState::monotonic_usec_now().ok();
    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
    notify(&states);
    Reload(())
}

impl Drop for Reload {
    fn drop(&mut self) {
        notify(&[NotifyState::Ready]);
    }
}

/// Reports a run to the service manager, from the run's main thread.
pub struct Service {
    /// `None` if no watchdog watches.
    watchdog: Option<Watchdog>,
    /// The names of the receiving threads, by index.
    names: Vec<String>,
    /// The receiving threads that were stuck at the last look.
    stuck: Vec<usize>,
    /// When the next state is due.
    status: Instant,
}

impl Service {
    /// With the receiving threads: their names, and their marks in the same order.
    pub fn new(names: Vec<String>, threads: Arc<[Activity]>) -> Self {
        let now = Instant::now();
        let limit = MANAGER.as_ref().and_then(|_| sd_notify::watchdog_enabled()).filter(|limit| !limit.is_zero());
        let watchdog = limit.map(|limit| Watchdog::new(limit, threads, now));
        Self { watchdog, names, stuck: Vec::new(), status: now }
    }

    /// Reports that everything is joined.
    pub fn ready(&self, facts: &Facts) {
        let joined = crate::units::count(facts.subscriptions.len() as u64, "subscription");
        let text = format!("{}, {}: {joined} joined", facts.interface, facts.mode);
        notify(&[NotifyState::Ready, NotifyState::Status(&text)]);
    }

    /// When the main thread has to call [`Service::heartbeat`] next.
    pub fn next(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(Watchdog::next)
    }

    /// Sends the heartbeat if it is due and all threads live. To be called often by the main thread.
    pub fn heartbeat(&mut self, now: Instant) {
        #[cfg(debug_assertions)]
        hang::point();
        let Some(watchdog) = &mut self.watchdog else { return };
        let Some(stuck) = watchdog.look(now) else { return };
        for &index in stuck.iter().filter(|index| !self.stuck.contains(index)) {
            let (name, period) = (&self.names[index], watchdog.period().as_secs_f64());
            tracing::error!(
                "thread {name} has been in one batch for more than {period:.1} s: no heartbeat until it ends"
            );
            notify(&[NotifyState::Status(&format!("thread {name} is stuck"))]);
        }
        if stuck.is_empty() {
            notify(&[NotifyState::Watchdog]);
        }
        self.stuck = stuck;
    }

    /// Reports the figures of an interval.
    pub fn interval(&mut self, facts: &Facts, figures: &Figures) {
        let now = Instant::now();
        if MANAGER.is_some() && now >= self.status && self.stuck.is_empty() {
            self.status = now + STATUS_INTERVAL;
            notify(&[NotifyState::Status(&status::line(facts, figures))]);
        }
    }

    /// Reports that the run ends.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("stopping: leaves its groups and empties its rings")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_error_number_is_found_in_the_chain() {
        let refused = std::io::Error::from_raw_os_error(13);
        let wait = receiver::Error::Wait { doing: "wait", source: refused };
        assert_eq!(errno(&anyhow::Error::new(wait).context("more")), Some(13));
        assert_eq!(errno(&anyhow::anyhow!("no cause")), None);
    }
}
