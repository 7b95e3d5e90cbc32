//! Media Delivery Index (RFC 4445): the delay factor, which is the buffer that would smooth the arrivals, and the media
//! loss rate.
//!
//! A virtual buffer fills with each arrival and drains at the media rate. Before arrival `i` at time `T` it holds the
//! sum of all sizes before `i`, less media rate × `T`; after it, the size of `i` more. The delay factor is the largest
//! less the smallest of all these values, divided by the media rate (section 3.1).

/// One interval's index.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MdiSample {
    /// When the interval ended.
    pub at_ns: u64,
    /// Delay factor, in nanoseconds.
    pub delay_factor_ns: u64,
    /// Media packets lost or out of order, per second.
    pub media_loss_rate: f64,
}

/// The index of one stream, interval by interval.
#[derive(Clone, Debug)]
pub struct Mdi {
    interval_ns: u64,
    rate: Option<u64>,
    /// The rate was stated, and is not measured.
    stated: bool,
    began_ns: Option<u64>,
    bytes: u64,
    /// Arrivals of the interval, for when the rate is known only at its end.
    lowest: i128,
    highest: i128,
    lost: u64,
    last: Option<MdiSample>,
    worst_ns: u64,
}

impl Mdi {
    /// With an interval of 1 s, as section 3.1 recommends. The media rate is that of the interval before, unless
    /// [`Mdi::set_media_rate`] states it: so the first interval gives no sample.
    #[must_use]
    pub fn new() -> Self {
        Self::with_interval(1_000_000_000)
    }

    /// With another interval.
    #[must_use]
    pub fn with_interval(interval_ns: u64) -> Self {
        let (began_ns, rate, last) = (None, None, None);
        let interval_ns = interval_ns.max(1);
        Self { interval_ns, rate, stated: false, began_ns, bytes: 0, lowest: 0, highest: 0, lost: 0, last, worst_ns: 0 }
    }

    /// States the media rate in bytes per second, such as [`PcrReport::bit_rate`](super::PcrReport::bit_rate) / 8.
    pub fn set_media_rate(&mut self, bytes_per_second: u64) {
        (self.rate, self.stated) = (Some(bytes_per_second).filter(|rate| *rate > 0), true);
    }

    /// Takes `bytes` of media that arrived at `arrived_ns`, and how many media packets were found lost or out of order.
    /// Returns the sample of an interval that has ended.
    #[inline]
    pub fn observe(&mut self, arrived_ns: u64, bytes: usize, lost: u64) -> Option<MdiSample> {
        let mut ended = None;
        let began_ns = match self.began_ns {
            Some(began_ns) if arrived_ns.saturating_sub(began_ns) < self.interval_ns => began_ns,
            Some(began_ns) => {
                ended = self.end(began_ns, arrived_ns);
                arrived_ns
            }
            None => arrived_ns,
        };
        self.began_ns = Some(began_ns);
        if let Some(rate) = self.rate {
            // In byte-nanoseconds per second, so that nothing is rounded.
            let drained = i128::from(rate) * i128::from(arrived_ns.saturating_sub(began_ns));
            let before = i128::from(self.bytes) * 1_000_000_000 - drained;
            self.lowest = self.lowest.min(before);
            self.highest = self.highest.max(before + bytes as i128 * 1_000_000_000);
        }
        self.bytes += bytes as u64;
        self.lost += lost;
        ended
    }

    /// The sample of the last interval that ended.
    #[must_use]
    pub fn last(&self) -> Option<MdiSample> {
        self.last
    }

    /// The largest delay factor of all intervals, in nanoseconds.
    #[must_use]
    pub fn worst_delay_factor_ns(&self) -> u64 {
        self.worst_ns
    }

    #[cold]
    fn end(&mut self, began_ns: u64, at_ns: u64) -> Option<MdiSample> {
        let length_ns = at_ns - began_ns;
        let sample = self.rate.map(|rate| MdiSample {
            at_ns,
            delay_factor_ns: u64::try_from((self.highest - self.lowest) / i128::from(rate)).unwrap_or(u64::MAX),
            media_loss_rate: self.lost as f64 * 1e9 / length_ns as f64,
        });
        if sample.is_some() {
            self.last = sample;
        }
        if !self.stated {
            let measured = u128::from(self.bytes) * 1_000_000_000 / u128::from(length_ns);
            self.rate = u64::try_from(measured).ok().filter(|rate| *rate > 0);
        }
        self.worst_ns = self.worst_ns.max(sample.map_or(0, |sample| sample.delay_factor_ns));
        (self.bytes, self.lost, self.lowest, self.highest) = (0, 0, 0, 0);
        sample
    }
}

impl Default for Mdi {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 1,000 bytes each millisecond, in bursts of `burst`.
    fn delay_factor(burst: u64) -> u64 {
        let mut mdi = Mdi::new();
        mdi.set_media_rate(1_000_000);
        for packet in 0..=1_000 {
            mdi.observe(packet / burst * burst * MS, 1_000, 0);
        }
        mdi.last().unwrap().delay_factor_ns
    }

    #[test]
    fn an_even_stream_needs_one_packet_of_buffer() {
        assert_eq!(delay_factor(1), MS);
    }

    #[test]
    fn a_burst_needs_room_for_itself() {
        assert_eq!(delay_factor(4), 4 * MS);
        assert_eq!(delay_factor(20), 20 * MS);
    }

    #[test]
    fn a_pause_drains_the_buffer() {
        let mut mdi = Mdi::new();
        mdi.set_media_rate(1_000_000);
        for packet in 0..=1_001 {
            let late = if (500..510).contains(&packet) { 510 } else { packet };
            mdi.observe(late * MS, 1_000, 0);
        }
        // The buffer runs 10 packets low; the arrivals then bring it back to where it was, and one packet above.
        assert_eq!(mdi.last().unwrap().delay_factor_ns, 11 * MS);
    }

    #[test]
    fn the_measured_rate_follows_the_stream() {
        let mut mdi = Mdi::new();
        // 1,000 bytes each millisecond for two seconds, then 2,000.
        let samples: Vec<_> =
            (0..5_001).filter_map(|at| mdi.observe(at * MS, if at < 2_000 { 1_000 } else { 2_000 }, 0)).collect();
        let factors: Vec<_> = samples.iter().map(|sample| sample.delay_factor_ns).collect();
        // The second after the change is measured against the rate before it.
        assert_eq!(factors, [MS, 1_001 * MS, MS, MS]);
        let mut stated = Mdi::new();
        stated.set_media_rate(1_000_000);
        let factors =
            (0..3_001).filter_map(|at| stated.observe(at * MS, 2_000, 0)).map(|sample| sample.delay_factor_ns);
        assert!(factors.into_iter().all(|factor| factor > 1_000 * MS), "a stated rate stays");
    }

    #[test]
    fn loss_is_per_second_and_the_rate_is_found() {
        let mut mdi = Mdi::with_interval(500 * MS);
        let samples: Vec<_> = (0..2_000).filter_map(|at| mdi.observe(at * MS, 1_000, at % 100 / 99)).collect();
        assert_eq!(samples.len(), 2, "the first interval finds the rate");
        assert!(samples.iter().all(|sample| sample.media_loss_rate == 10.0 && sample.delay_factor_ns == MS));
        assert_eq!(mdi.worst_delay_factor_ns(), MS);
    }
}
