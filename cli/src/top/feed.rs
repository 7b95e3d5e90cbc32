//! Where the dashboard's figures come from: a thread that asks the run at each interval, and passes requests on to it.
//! A run that answers late does not hold up the keys.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::app::{Event, Waker};
use super::keys::{Action, ActionKind};
use super::stats::Stats;

/// A run that can be asked.
pub trait Source {
    /// The figures since the last call.
    ///
    /// # Errors
    /// Why there are none, for the operator.
    fn stats(&mut self) -> Result<Stats, String>;

    /// Blocks or unblocks a source. Returns what was done.
    ///
    /// # Errors
    /// Why it was refused.
    fn change(&mut self, action: &Action) -> Result<String, String>;

    /// Why a subscription receives nothing.
    ///
    /// # Errors
    /// Why that is not known.
    fn explain(&mut self, action: &Action) -> Result<Vec<String>, String>;
}

/// Asks at each interval and passes actions on, until the dashboard ends.
pub fn run(source: &mut dyn Source, interval: Duration, actions: &Receiver<Action>, waker: &Waker) {
    let mut next = Instant::now();
    loop {
        match actions.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(action) => waker.send(act(source, &action)),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                waker.send(match source.stats() {
                    Ok(stats) => Event::Stats(Box::new(stats)),
                    Err(why) => Event::Lost(why),
                });
                // After a delay the missed ones are skipped.
                let now = Instant::now();
                next = next.checked_add(interval).filter(|&next| next > now).unwrap_or(now + interval);
            }
        }
    }
}

fn act(source: &mut dyn Source, action: &Action) -> Event {
    if action.kind != ActionKind::Explain {
        return Event::Answer(source.change(action));
    }
    match source.explain(action) {
        Ok(findings) if findings.is_empty() => Event::Findings(action.key.clone(), vec!["no reason is known".into()]),
        Ok(findings) => Event::Findings(action.key.clone(), findings),
        Err(why) => Event::Answer(Err(why)),
    }
}
