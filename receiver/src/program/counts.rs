//! What the program counts, and the end of its log.

use std::collections::BTreeSet;
use std::net::IpAddr;

use receiver_common::{AnyAddress, Port, Unwanted, Verdict};

use super::loaded::Program;
use super::operation;
use super::refused::refused;
use crate::api::error::Error;

/// Frames of one group slot whose source was not wanted, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwantedCounts {
    /// Dropped.
    pub blocked: u64,
    /// Passed to the kernel for other programs.
    pub passed: u64,
}

impl UnwantedCounts {
    /// What was counted since an earlier count of the same slot.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { blocked: self.blocked.saturating_sub(before.blocked), passed: self.passed.saturating_sub(before.passed) }
    }
}

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
        let values = self.unwanted(slot)?;
        let sum = |of: fn(&Unwanted) -> u64| values.iter().map(of).sum();
        Ok(UnwantedCounts { blocked: sum(|value| value.dropped), passed: sum(|value| value.passed) })
    }

    /// A source whose frame was dropped or [passed](Program::set_shared) as unwanted for a group slot: the last one on the
    /// CPU that met most of them. `None` if there was none since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn last_unwanted(&self, slot: u32) -> Result<Option<IpAddr>, Error> {
        let count = |unwanted: &Unwanted| unwanted.dropped + unwanted.passed;
        let most = self.unwanted(slot)?.into_iter().max_by_key(count);
        Ok(most.filter(|unwanted| count(unwanted) > 0).map(|unwanted| address(unwanted.source)))
    }

    fn unwanted(&self, slot: u32) -> Result<Vec<Unwanted>, Error> {
        let values =
            self.blocked.get(&slot, 0).map_err(|error| refused(&self.interface, operation::COUNTER, &error))?;
        Ok(values.to_vec())
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

    /// Passes what is left of the program's log on to `tracing` (target `receiver::xdp`); a thread does so all the
    /// time. To be called while no frames come: it goes on as long as the program logs. Nothing unless `trace` was
    /// asked for.
    pub fn flush_log(&self) {
        if let Some(trace) = &self.trace {
            trace.flush();
        }
    }

    /// Verdicts that were not logged since load, for want of room in the program's log; `None` unless `trace` was asked
    /// for. Exact after [`Program::flush_log`]; before, those on their way to the log are among them.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unlogged(&self) -> Result<Option<u64>, Error> {
        let Some(trace) = &self.trace else { return Ok(None) };
        let verdicts: u64 = self.verdicts()?.iter().sum();
        Ok(Some(verdicts.saturating_sub(trace.logged())))
    }
}

/// An address as the program's maps hold it.
fn address([first, last]: AnyAddress) -> IpAddr {
    let bytes = u128::from(first.to_le()) | u128::from(last.to_le()) << 64;
    IpAddr::from(bytes.to_le_bytes()).to_canonical()
}
