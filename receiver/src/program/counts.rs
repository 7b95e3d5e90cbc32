//! The program's counters, and the end of its log.

use std::collections::BTreeSet;
use std::net::IpAddr;

use receiver_common::{Port, Verdict};

use super::loaded::Program;
use super::operation;
use super::refused::refused;
use super::slot_counters::{SlotCounters, UnwantedCounts, address};
use super::tap::TapRings;
use crate::api::error::Error;
use crate::stats::tap_ledger::TapLedger;

impl Program {
    /// Frames by verdict since load, over all CPUs.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn verdicts(&self) -> Result<[u64; Verdict::COUNT], Error> {
        let mut counts = [0; Verdict::COUNT];
        for (index, count) in (0..).zip(&mut counts) {
            let values = self.verdicts.get(&index, 0);
            *count = values.map_err(|error| refused(&self.interface, operation::COUNTER, &error))?.iter().sum();
        }
        Ok(counts)
    }

    /// Frames of unwanted sources that were dropped for one group slot since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    #[cfg(feature = "internals")]
    pub fn blocked(&self, slot: u32) -> Result<u64, Error> {
        Ok(self.unwanted_counts(slot)?.blocked)
    }

    /// Frames of unwanted sources that were dropped or [passed](Program::set_shared) for one group slot since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unwanted_counts(&self, slot: u32) -> Result<UnwantedCounts, Error> {
        self.blocked.get(slot, &self.interface)
    }

    /// The counters of the group slots, to be read while the program is in use elsewhere.
    pub fn slot_counters(&self) -> SlotCounters {
        self.blocked.clone()
    }

    /// A source whose frame was dropped or [passed](Program::set_shared) as unwanted for a group slot.
    ///
    /// # Errors
    /// [`Error::Program`].
    #[cfg(feature = "internals")]
    pub fn last_unwanted(&self, slot: u32) -> Result<Option<IpAddr>, Error> {
        Ok(self.unwanted_counts(slot)?.latest)
    }

    /// Groups and ports of frames that passed as [`Verdict::PassedOtherGroup`] since load. At most
    /// [`receiver_common::OTHER_PORTS`] for each CPU: a new one takes the place of an older one with its hash.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn other_ports(&self) -> Result<Vec<(IpAddr, u16)>, Error> {
        let mut seen = BTreeSet::new();
        for index in 0..receiver_common::OTHER_PORTS {
            let values = self.other_ports.get(&index, 0);
            let values = values.map_err(|error| refused(&self.interface, operation::READ_MAP, &error))?;
            let there = values.iter().filter(|other| other.group != [0; 2]);
            seen.extend(there.map(|other| (address(other.group), Port::from_wire(other.port as u16).to_host())));
        }
        Ok(seen.into_iter().collect())
    }

    /// The reader's side of the tap, once; `None` if the program was loaded without a tap.
    pub fn take_tap(&mut self) -> Option<TapRings> {
        self.tap_rings.take()
    }

    /// The counts of the tap. `verdicts` were read before, so that no frame in flight looks lost.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn tap_ledger(&self, verdicts: &[u64; Verdict::COUNT]) -> Result<TapLedger, Error> {
        let Some(tap) = &self.tap else { return Ok(TapLedger::default()) };
        tap.ledger(verdicts).map_err(|error| refused(&self.interface, operation::COUNTER, &error))
    }

    /// Logs the program's log to `tracing` from now on. Not before the program's mode is selected: verdicts of a
    /// program that is given up are in no ledger. Does nothing without `trace_verdicts`.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn follow_log(&mut self) -> Result<(), Error> {
        let Some(trace) = &mut self.trace else { return Ok(()) };
        trace.follow().map_err(|error| refused(&self.interface, operation::LOG, &error))
    }

    /// Logs what is left in the program's log to `tracing` (target `receiver::xdp`), as a thread does all the time. To
    /// be called while no frames arrive: it goes on as long as the program logs. Does nothing without `trace_verdicts`.
    pub fn flush_log(&self) {
        if let Some(trace) = &self.trace {
            trace.flush();
        }
    }

    /// Verdicts that were not logged since load, because the program's log was full; `None` without `trace_verdicts`.
    /// Exact after [`Program::flush_log`]; before, it includes verdicts on their way to the log.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unlogged(&self) -> Result<Option<u64>, Error> {
        let Some(trace) = &self.trace else { return Ok(None) };
        let verdicts: u64 = self.verdicts()?.iter().sum();
        Ok(Some(verdicts.saturating_sub(trace.logged())))
    }
}
