//! RTP reception quality by RFC 3550: loss (appendix A.3), jitter (section 6.4.1 and appendix A.8), reordering.

use crate::protocol::RtpHeader;

/// Forward jump from which on a new numbering may begin (RFC 3550, appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// How far behind the highest a packet may be of a new numbering. Nearer ones are late.
const MAX_MISORDER: u16 = 100;
/// Sequence numbers remembered one by one.
const WINDOW: u64 = 4096;

/// Clock rate of a static payload type in Hz (RFC 3551, section 6). `None` if it is dynamic or reserved.
#[must_use]
pub fn clock_rate(payload_type: u8) -> Option<u32> {
    match payload_type {
        0 | 3..=5 | 7..=9 | 12 | 13 | 15 | 18 => Some(8000),
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        16 => Some(11_025),
        17 => Some(22_050),
        14 | 25 | 26 | 28 | 31..=34 => Some(90_000),
        _ => None,
    }
}

/// One RTP stream.
#[derive(Clone, Debug)]
pub struct RtpHealth {
    rate: u32,
    ssrc: Option<u32>,
    /// Highest sequence number, extended.
    highest: u64,
    first: u64,
    /// The sequence number that would confirm a new numbering.
    bad: Option<u16>,
    seen: Box<[u64; (WINDOW / 64) as usize]>,
    distinct: u64,
    transit: Option<i64>,
    /// In clock units, scaled by 16 as in appendix A.8.
    jitter: u64,
    max_jitter: u64,
    report: RtpReport,
}

/// What was found about one RTP stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpReport {
    /// Packets, duplicates included.
    pub packets: u64,
    /// Packets expected and not received, duplicates left out. It falls again when a late packet comes.
    pub lost: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// First copies that came after a later packet.
    pub reordered: u64,
    /// The longest run of packets that were skipped at once.
    pub longest_gap: u64,
    /// How often the SSRC changed or the sequence started anew.
    pub restarts: u64,
    /// Interarrival jitter, in clock units.
    pub jitter: u32,
    /// Interarrival jitter, in nanoseconds.
    pub jitter_ns: u64,
    /// The largest jitter, in nanoseconds.
    pub max_jitter_ns: u64,
    /// Highest sequence number received, extended by wraps.
    pub highest_sequence: u64,
}

impl RtpHealth {
    /// For a payload with this clock rate in Hz: see [`clock_rate`].
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        Self {
            rate: clock_rate.max(1),
            ssrc: None,
            highest: 0,
            first: 0,
            bad: None,
            seen: Box::new([0; (WINDOW / 64) as usize]),
            distinct: 0,
            transit: None,
            jitter: 0,
            max_jitter: 0,
            report: RtpReport::default(),
        }
    }

    /// Takes a packet that arrived at `arrived_ns`.
    #[inline]
    pub fn observe(&mut self, header: &RtpHeader, arrived_ns: u64) {
        self.report.packets += 1;
        if self.ssrc != Some(header.ssrc) {
            self.report.restarts += u64::from(self.ssrc.is_some());
            self.restart(header);
        } else {
            let ahead = header.sequence.wrapping_sub(self.highest as u16);
            let behind = ahead.wrapping_neg();
            if (1..MAX_DROPOUT).contains(&ahead) {
                self.advance(u64::from(ahead));
            } else if behind < MAX_MISORDER {
                self.behind(u64::from(behind));
            } else if self.bad == Some(header.sequence) {
                self.report.restarts += 1;
                self.restart(header);
            } else {
                self.bad = Some(header.sequence.wrapping_add(1));
                return;
            }
        }
        self.time(header.timestamp, arrived_ns);
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> RtpReport {
        let expected = if self.ssrc.is_some() { self.highest + 1 - self.first } else { 0 };
        let jitter = self.jitter >> 4;
        RtpReport {
            lost: self.report.lost + expected.saturating_sub(self.distinct),
            jitter: jitter as u32,
            jitter_ns: self.nanoseconds(self.jitter),
            max_jitter_ns: self.nanoseconds(self.max_jitter),
            highest_sequence: self.highest,
            ..self.report
        }
    }

    fn nanoseconds(&self, jitter: u64) -> u64 {
        (u128::from(jitter) * 1_000_000_000 / 16 / u128::from(self.rate)) as u64
    }

    #[cold]
    fn restart(&mut self, header: &RtpHeader) {
        if self.ssrc.is_some() {
            self.report.lost += (self.highest + 1 - self.first).saturating_sub(self.distinct);
        }
        self.ssrc = Some(header.ssrc);
        (self.first, self.highest) = (header.sequence.into(), header.sequence.into());
        (self.distinct, self.bad, self.transit, self.jitter) = (1, None, None, 0);
        self.seen.fill(0);
        self.mark(self.highest);
    }

    #[inline]
    fn advance(&mut self, by: u64) {
        self.bad = None;
        for skipped in self.highest + 1..self.highest + by {
            self.seen[(skipped % WINDOW / 64) as usize] &= !(1 << (skipped % 64));
        }
        self.report.longest_gap = self.report.longest_gap.max(by - 1);
        self.highest += by;
        self.distinct += 1;
        self.mark(self.highest);
    }

    #[inline]
    fn mark(&mut self, sequence: u64) {
        self.seen[(sequence % WINDOW / 64) as usize] |= 1 << (sequence % 64);
    }

    #[cold]
    fn behind(&mut self, by: u64) {
        let Some(sequence) = self.highest.checked_sub(by).filter(|sequence| *sequence >= self.first) else {
            // Before the first that came: not expected.
            self.report.reordered += 1;
            return;
        };
        if self.seen[(sequence % WINDOW / 64) as usize] >> (sequence % 64) & 1 != 0 {
            self.report.duplicates += 1;
            return;
        }
        self.mark(sequence);
        self.distinct += 1;
        self.report.reordered += 1;
    }

    #[inline]
    fn time(&mut self, timestamp: u32, arrived_ns: u64) {
        // Whole seconds apart, so that no product exceeds 64 bits; only the low 32 bits count.
        let (seconds, rest) = (arrived_ns / 1_000_000_000, arrived_ns % 1_000_000_000);
        let rate = u64::from(self.rate);
        let arrived = seconds.wrapping_mul(rate).wrapping_add(rest * rate / 1_000_000_000);
        let transit = i64::from((arrived as u32).wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let difference = u64::from((transit.wrapping_sub(before) as i32).unsigned_abs());
            self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
            self.max_jitter = self.max_jitter.max(self.jitter);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> RtpHeader {
        let (sequence, timestamp, ssrc) = (sequence.to_be_bytes(), timestamp.to_be_bytes(), ssrc.to_be_bytes());
        RtpHeader::parse(&[&[0x80, 96][..], &sequence, &timestamp, &ssrc].concat()).unwrap()
    }

    #[test]
    fn loss_reordering_duplicates_and_wrap() {
        let mut health = RtpHealth::new(90_000);
        for sequence in [65_533u16, 65_534, 65_534, 0, 65_535, 3, 4, 2] {
            health.observe(&header(1, sequence, 0), 0);
        }
        let report = health.report();
        assert_eq!((report.packets, report.lost, report.duplicates, report.reordered), (8, 1, 1, 2));
        assert_eq!((report.longest_gap, report.highest_sequence, report.restarts), (2, 65_540, 0));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        // Alternately 0 and 80 units late: |D| is 80 each time, and J converges to it.
        let mut health = RtpHealth::new(8_000);
        let mut expected = 0.0;
        for sequence in 0..200u16 {
            let late_ns = u64::from(sequence % 2) * 10_000_000;
            health.observe(&header(1, sequence, u32::from(sequence) * 160), u64::from(sequence) * 20_000_000 + late_ns);
            if sequence > 0 {
                expected += (80.0 - expected) / 16.0;
            }
        }
        let report = health.report();
        assert!((f64::from(report.jitter) - expected).abs() <= 1.0, "{} and {expected}", report.jitter);
        assert!((9_800_000..=10_000_000).contains(&report.jitter_ns), "{}", report.jitter_ns);
    }

    #[test]
    fn a_new_source_or_numbering_restarts() {
        let mut health = RtpHealth::new(90_000);
        for sequence in [10, 11, 13] {
            health.observe(&header(1, sequence, 0), 0);
        }
        health.observe(&header(1, 30_000, 0), 0);
        assert_eq!(health.report().restarts, 0, "one packet proves nothing");
        health.observe(&header(1, 30_001, 0), 0);
        health.observe(&header(2, 500, 0), 0);
        health.observe(&header(2, 501, 0), 0);
        let report = health.report();
        assert_eq!((report.restarts, report.lost, report.highest_sequence), (2, 1, 501));
    }

    #[test]
    fn jumps_begin_where_rfc_3550_says() {
        // The packet after 10,000, and then the highest number and the late packets (appendix A.1).
        for (next, found) in [(12_999, (12_999, 0)), (13_000, (10_000, 0)), (9_901, (10_000, 1)), (9_900, (10_000, 0))]
        {
            let mut health = RtpHealth::new(90_000);
            for sequence in [9_000, 10_000, next] {
                health.observe(&header(1, sequence, 0), 0);
            }
            let report = health.report();
            assert_eq!((report.highest_sequence, report.reordered), found, "{next}");
        }
    }

    #[test]
    fn jitter_does_not_depend_on_the_time_of_day() {
        let jitter = |since: u64| {
            let mut health = RtpHealth::new(90_000);
            for sequence in 0..100u16 {
                let late_ns = u64::from(sequence * 7 % 5) * 1_000_000;
                let arrived_ns = since + u64::from(sequence) * 10_000_000 + late_ns;
                health.observe(&header(1, sequence, u32::from(sequence) * 900), arrived_ns);
            }
            (health.report().jitter_ns, health.report().max_jitter_ns)
        };
        // Seconds since 1970, and the end of 64 bits.
        assert_eq!(jitter(0), jitter(1_764_370_000_000_000_000));
        assert_eq!(jitter(0), jitter(18_446_744_000_000_000_000));
        assert!(jitter(0).0 > 1_000_000 && jitter(0).1 >= jitter(0).0);
    }

    proptest! {
        #[test]
        fn any_packets(packets in prop::collection::vec((0u32..2, any::<u16>(), any::<u32>(), any::<u64>()), 0..200)) {
            let mut health = RtpHealth::new(90_000);
            for (ssrc, sequence, timestamp, now) in packets {
                health.observe(&header(ssrc, sequence, timestamp), now);
            }
            let report = health.report();
            prop_assert!(report.duplicates <= report.packets);
        }

        #[test]
        fn loss_is_what_was_left_out(start: u16, dropped in prop::collection::btree_set(1u64..2_000, 0..300)) {
            let mut health = RtpHealth::new(90_000);
            for at in (0..=2_000u64).filter(|at| !dropped.contains(at)) {
                health.observe(&header(1, start.wrapping_add(at as u16), 0), at);
            }
            prop_assert_eq!(health.report().lost, dropped.len() as u64);
        }
    }
}
