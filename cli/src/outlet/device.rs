//! What an outlet's thread writes to.

use std::io;
use std::time::{Duration, SystemTime};

use super::chunk::Batch;
use super::counts::{DropReason, Impairments};

/// The destination of units, in the hands of an outlet's thread, which may wait for it.
pub trait Device: Send {
    /// Opens what is not open. May wait for a reader.
    ///
    /// # Errors
    /// It cannot be opened now.
    fn open(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Returns true if [`Device::open`] would wait for a reader.
    fn lacks_reader(&self) -> bool {
        false
    }

    /// Writes units, each of them whole, from the first on, and returns their number. It can be 0 if the outlet is
    /// closed, or if it was not yet time.
    ///
    /// # Errors
    /// The first unit was not written.
    fn write(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> Result<usize, Trouble>;

    /// What was done on purpose to the units of the last write.
    fn impairments(&self) -> Impairments {
        Impairments::default()
    }

    /// Units at the end of those that it has taken which are not written yet. The next write has them first, or
    /// [`Device::settle`].
    fn unfinished(&self) -> usize {
        0
    }

    /// Writes the [unfinished](Device::unfinished) units.
    ///
    /// # Errors
    /// They are still unfinished.
    fn settle(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Removes what the last call has written: the outlet was closed meanwhile, and has counted the units as dropped.
    fn take_back(&mut self) {}

    /// How long few units wait for more, if writes are cheaper the larger they are.
    fn gathers(&self) -> Option<Duration> {
        None
    }

    /// Returns true if it keeps units that it has taken until it [turns](Device::turn).
    fn keeps_units(&self) -> bool {
        false
    }

    /// When it wants to [turn](Device::turn) although nothing is written.
    fn turns_at(&self) -> Option<SystemTime> {
        None
    }

    /// Ends the present file, and begins the next one.
    ///
    /// # Errors
    /// That could not be done, and is tried again before the next unit.
    fn turn(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Completes what was written: the outlet has ended, and nothing follows. Unfinished units were dropped.
    fn end(&mut self) {}
}

/// Reports to a device that waits if it still should.
pub trait Gate {
    /// Returns true once the outlet is closed: what is not written yet is counted as dropped.
    fn is_closed(&self) -> bool;
}

/// Why a unit was not written, and what the outlet does about it.
#[derive(Debug)]
pub struct Trouble {
    /// What the kernel answered.
    pub error: io::Error,
    /// What to do.
    pub then: Then,
}

/// What an outlet does when a unit was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Drop this unit and all later ones.
    End,
    /// Keep the unit, and try again after a pause. What does not fit meanwhile is dropped for this reason.
    Retry(DropReason),
    /// Drop the unit, and go on with the next one.
    Skip(DropReason),
}

impl Trouble {
    /// The outlet ends.
    pub fn end(error: io::Error) -> Self {
        Self { error, then: Then::End }
    }

    /// The unit is tried again.
    pub fn retry(error: io::Error) -> Self {
        Self { then: Then::Retry(DropReason::of(&error)), error }
    }

    /// The unit is dropped for this reason.
    pub fn skip(error: io::Error, reason: DropReason) -> Self {
        Self { error, then: Then::Skip(reason) }
    }
}
