//! Microbursts: the peak rate over short windows, which an average over a second hides.

/// The windows that are measured: 100 µs, 1 ms and 10 ms.
pub const BURST_WINDOWS_NS: [u64; 3] = [100_000, 1_000_000, 10_000_000];

/// Parts of a window. The window slides by one part, so a peak is found to at least nine tenths.
const PARTS: u64 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    parts: [u64; PARTS as usize],
    newest: u64,
    sum: u64,
    peak: u64,
}

impl Window {
    #[inline]
    fn add(&mut self, part: u64, bytes: u64) {
        if part > self.newest {
            let passed = (part - self.newest).min(PARTS);
            for old in part + 1 - passed..=part {
                let old = &mut self.parts[(old % PARTS) as usize];
                self.sum -= std::mem::take(old);
            }
            self.newest = part;
        }
        // An arrival time that went back counts as now.
        self.parts[(self.newest % PARTS) as usize] += bytes;
        self.sum += bytes;
        self.peak = self.peak.max(self.sum);
    }
}

/// Peak rates of one flow.
///
/// ```
/// use receiver_feed::health::Bursts;
///
/// let mut bursts = Bursts::default();
/// for packet in 0..100u64 {
///     // 10 packets at once, each 10 ms.
///     bursts.observe(packet / 10 * 10_000_000, 1_250);
/// }
/// // 100,000 bits in 100 µs are 1 Gbit/s, although the average is 10 Mbit/s.
/// assert_eq!(bursts.peak_bit_rates(), [1_000_000_000, 100_000_000, 10_000_000]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bursts {
    windows: [Window; BURST_WINDOWS_NS.len()],
}

impl Bursts {
    /// Takes `bytes` that arrived at `arrived_ns`.
    #[inline]
    pub fn observe(&mut self, arrived_ns: u64, bytes: usize) {
        for (window, length_ns) in self.windows.iter_mut().zip(BURST_WINDOWS_NS) {
            window.add(arrived_ns / (length_ns / PARTS), bytes as u64);
        }
    }

    /// The most bytes in each of [`BURST_WINDOWS_NS`].
    #[must_use]
    pub fn peak_bytes(&self) -> [u64; BURST_WINDOWS_NS.len()] {
        self.windows.map(|window| window.peak)
    }

    /// The highest rates over each of [`BURST_WINDOWS_NS`], in bits per second.
    #[must_use]
    pub fn peak_bit_rates(&self) -> [u64; BURST_WINDOWS_NS.len()] {
        let mut rates = self.peak_bytes();
        for (rate, length_ns) in rates.iter_mut().zip(BURST_WINDOWS_NS) {
            *rate = (u128::from(*rate) * 8_000_000_000 / u128::from(length_ns)) as u64;
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A peak is that of some window, and at least that of nine tenths of the fullest one.
        #[test]
        fn peaks_are_those_of_sliding_windows(arrivals in prop::collection::vec((0u64..60_000, 1usize..1_500), 1..80)) {
            let (mut bursts, mut now, mut all) = (Bursts::default(), 1_000_000_000, Vec::new());
            for (pause, bytes) in arrivals {
                now += pause;
                all.push((now, bytes as u64));
                bursts.observe(now, bytes);
            }
            for (peak, length) in bursts.peak_bytes().into_iter().zip(BURST_WINDOWS_NS) {
                let fullest = |length: u64| {
                    let all = &all;
                    let within = move |from: u64, at: &(u64, u64)| at.0 >= from && at.0 < from + length;
                    let from = |from: u64| all.iter().filter(move |at| within(from, at)).map(|at| at.1);
                    all.iter().map(|at| from(at.0).sum::<u64>()).max().unwrap()
                };
                prop_assert!(peak <= fullest(length) && peak >= fullest(length * 9 / 10), "{} in {}", peak, length);
            }
        }
    }
}
