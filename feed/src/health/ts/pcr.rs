//! The program clock of one PID against the arrival times.

use super::report::PcrReport;

/// Units of the clock per second.
pub(super) const HZ: u64 = 27_000_000;
/// The clock wraps after 2^33 × 300 units.
const WRAP: u64 = (1 << 33) * 300;
/// Longest interval between clock references: 100 ms (TR 101 290, 2.3a and 2.3b).
const MAX_INTERVAL_NS: u64 = 100_000_000;

/// What one clock reference broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PcrFaults {
    pub(super) repetition: bool,
    pub(super) discontinuity: bool,
    pub(super) accuracy: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PcrClock {
    last: Option<(u64, u64)>,
    /// Bytes of the whole stream since the last reference.
    last_offset: u64,
    /// Jitter scaled by 16, as RFC 3550 smooths it, in nanoseconds.
    jitter: u64,
    report: PcrReport,
}

impl PcrClock {
    /// Takes a reference that arrived at `arrived_ns`, `offset` bytes into the stream.
    pub(super) fn observe(
        &mut self,
        pcr: u64,
        arrived_ns: u64,
        offset: u64,
        discontinuity: bool,
        precise: bool,
    ) -> PcrFaults {
        let mut faults = PcrFaults::default();
        self.report.count += 1;
        let before = self.last.replace((pcr, arrived_ns));
        let bytes = offset - std::mem::replace(&mut self.last_offset, offset);
        let Some((last, last_ns)) = before.filter(|_| !discontinuity) else { return faults };
        let units = (pcr + WRAP - last) % WRAP;
        let (clock_ns, interval_ns) = (units * 1000 / 27, arrived_ns.saturating_sub(last_ns));
        faults.repetition = interval_ns > MAX_INTERVAL_NS;
        faults.discontinuity = clock_ns > MAX_INTERVAL_NS;
        self.report.max_interval_ns = self.report.max_interval_ns.max(interval_ns);
        if units == 0 || units > WRAP / 2 {
            return faults;
        }
        let deviation_ns = interval_ns.abs_diff(clock_ns);
        if !faults.discontinuity {
            self.jitter = self.jitter + deviation_ns - ((self.jitter + 8) >> 4);
            self.report.jitter_ns = self.jitter >> 4;
            self.report.max_deviation_ns = self.report.max_deviation_ns.max(deviation_ns);
            self.report.bit_rate = (u128::from(bytes) * 8 * u128::from(HZ) / u128::from(units)) as u64;
            faults.accuracy = precise && deviation_ns > 500;
        }
        faults
    }

    /// Returns true if the last reference is too long ago.
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        self.last.is_some_and(|(_, last_ns)| now_ns.saturating_sub(last_ns) > MAX_INTERVAL_NS)
    }

    pub(super) fn report(&self) -> Option<PcrReport> {
        (self.report.count > 0).then_some(self.report)
    }
}
