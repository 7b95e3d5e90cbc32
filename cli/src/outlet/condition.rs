//! How an outlet fares: it writes, it waits for a reader, or it fails and tries again.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::counts::DropReason;
use super::device::Then;

/// After a unit was refused, the outlet counts as failing for this long.
const RECOVERY: Duration = Duration::from_secs(1);

/// How an outlet fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It writes.
    #[default]
    Ok,
    /// Nobody reads yet, or any more.
    WaitingForReader,
    /// Writing fails for this reason, and is tried again.
    Failing(String),
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::WaitingForReader => f.write_str("waiting for a reader"),
            Self::Failing(reason) => write!(f, "failing: {reason}"),
        }
    }
}

/// The condition, which the thread changes and anybody reads.
#[derive(Default)]
pub struct Status {
    /// The index of the reason in [`DropReason::ALL`].
    reason: AtomicU8,
    /// The condition may be another one than [`Condition::Ok`].
    is_troubled: AtomicBool,
    details: Mutex<Details>,
}

#[derive(Default)]
struct Details {
    condition: Condition,
    /// The latest unit that was refused for itself.
    skipped: Option<Instant>,
    last_error: Option<String>,
}

impl Status {
    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it fares.
    pub fn condition(&self) -> Condition {
        self.details().condition.clone()
    }

    /// The last error, if there was one.
    pub fn last_error(&self) -> Option<String> {
        self.details().last_error.clone()
    }

    /// Why a unit without room is dropped now.
    pub fn reason(&self) -> DropReason {
        DropReason::ALL[usize::from(self.reason.load(Ordering::Relaxed)) % DropReason::ALL.len()]
    }

    /// Changes the condition. Returns true if it is of another kind than before.
    fn change(&self, details: &mut Details, reason: DropReason, condition: Condition) -> bool {
        self.reason.store(reason as u8, Ordering::Relaxed);
        self.is_troubled.store(condition != Condition::Ok, Ordering::Relaxed);
        let before = std::mem::replace(&mut details.condition, condition);
        std::mem::discriminant(&before) != std::mem::discriminant(&details.condition)
    }

    /// Nobody reads yet.
    pub fn wait_for_reader(&self) {
        self.change(&mut self.details(), DropReason::NoReader, Condition::WaitingForReader);
    }

    /// Writing failed, and is tried again. The log has a line when that begins.
    pub fn fail(&self, name: &str, then: Then, error: &io::Error) {
        let mut details = self.details();
        let (reason, drops) = match then {
            Then::Retry(reason) => (reason, reason),
            // Units that wait for their turn wait for a slow reader.
            Then::Skip(reason) => {
                details.skipped = Some(Instant::now());
                (reason, DropReason::SlowReader)
            }
            Then::End => (DropReason::of(error), DropReason::of(error)),
        };
        let condition = match reason {
            DropReason::NoReader => Condition::WaitingForReader,
            _ => Condition::Failing(error.to_string()),
        };
        if reason.is_failure() {
            details.last_error = Some(error.to_string());
        }
        let is_new = self.change(&mut details, drops, condition);
        drop(details);
        if !is_new || then == Then::End {
            return;
        }
        match reason {
            DropReason::NoReader => tracing::warn!("output {name}: nobody reads; it is tried again"),
            _ => tracing::warn!("output {name} fails and is tried again: {error}"),
        }
    }

    /// Something was written. The log has a line if writing had failed.
    pub fn recovered(&self, name: &str) {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut details = self.details();
        if details.skipped.is_some_and(|at| at.elapsed() < RECOVERY) {
            return;
        }
        details.skipped = None;
        let had_failed = matches!(details.condition, Condition::Failing(_));
        self.change(&mut details, DropReason::SlowReader, Condition::Ok);
        drop(details);
        if had_failed {
            tracing::warn!("output {name} is written again");
        }
    }
}
