//! What to ask again, and when: gaps in, requests out. Batched, backed off, and bounded; sending them is the caller's.
//!
//! ```
//! use bytes::Bytes;
//! use receiver_feed::arbiter::{Arbiter, Config, LegId};
//! use receiver_feed::protocol::{MoldUdp64, Rerequest};
//! use receiver_feed::rerequest::{Rerequester, RerequestConfig};
//!
//! let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(1));
//! let mut rerequester = Rerequester::new(RerequestConfig::default());
//! for (now_ns, sequence) in [(0, 1), (1, 5)] {
//!     let datagram = Bytes::from([b"SESSION  1\0\0\0\0\0\0\0", &[sequence, 0, 1, 0, 1, b'!'][..]].concat());
//!     arbiter.push(LegId::new(0), now_ns, datagram, |delivery| rerequester.observe(now_ns, &delivery))?;
//! }
//! let mut requests = Vec::new();
//! rerequester.poll(2, |request| {
//!     let stream = arbiter.stream(request.stream).expect("a stream of this arbiter").key();
//!     requests.push(Rerequest { stream, first: request.first, count: request.count });
//! });
//! assert_eq!(requests.iter().map(|request| (request.first, request.count)).collect::<Vec<_>>(), [(2, 3)]);
//! // Each goes to the server as `request.to_bytes()`; the answer comes back by `Arbiter::push_retransmission`.
//! # Ok::<(), receiver_feed::protocol::ParseError>(())
//! ```

use std::collections::BTreeMap;

use crate::arbiter::{Delivery, Event, StreamId};

/// Bounds of re-requesting. All times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RerequestConfig {
    batch: u16,
    delay_ns: u64,
    timeout_ns: u64,
    attempts: u32,
    ranges: usize,
}

impl Default for RerequestConfig {
    fn default() -> Self {
        Self { batch: 1000, delay_ns: 0, timeout_ns: 50_000_000, attempts: 4, ranges: 256 }
    }
}

impl RerequestConfig {
    /// The most messages that one request asks for: 1,000. The server sends no more than fit a datagram; the rest is
    /// asked for again.
    pub fn batch(self, messages: u16) -> Self {
        Self { batch: messages.max(1), ..self }
    }

    /// How long to wait before the first request: 0. Another source may fill the gap meanwhile.
    pub fn delay_ns(self, delay_ns: u64) -> Self {
        Self { delay_ns, ..self }
    }

    /// How long to wait for an answer: 50 ms. It doubles with each attempt that brings nothing.
    pub fn timeout_ns(self, timeout_ns: u64) -> Self {
        Self { timeout_ns: timeout_ns.max(1), ..self }
    }

    /// How many requests in a row may bring nothing: 4.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// How many missing ranges are asked for at once: 256. Further gaps are not asked for.
    pub fn ranges(self, ranges: usize) -> Self {
        Self { ranges, ..self }
    }
}

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The stream.
    pub stream: StreamId,
    /// First sequence number to ask for.
    pub first: u64,
    /// How many.
    pub count: u16,
}

/// Counters of a [`Rerequester`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RerequestStatistics {
    /// Requests handed out.
    pub requests: u64,
    /// Sequence numbers that they asked for, repetitions included.
    pub requested: u64,
    /// Sequence numbers that came back, from whichever source.
    pub answered: u64,
    /// Sequence numbers given up after the last attempt.
    pub given_up: u64,
    /// Sequence numbers never asked for, because there were too many ranges.
    pub refused: u64,
}

/// The missing ranges that are asked for.
#[derive(Clone, Debug)]
pub struct Rerequester {
    config: RerequestConfig,
    /// By stream and first sequence number.
    ranges: BTreeMap<(StreamId, u64), Range>,
    statistics: RerequestStatistics,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    to: u64,
    due_ns: u64,
    attempts: u32,
}

impl Rerequester {
    /// Nothing to ask for.
    #[must_use]
    pub fn new(config: RerequestConfig) -> Self {
        Self { config, ranges: BTreeMap::new(), statistics: RerequestStatistics::default() }
    }

    /// Takes an event of the arbiter.
    #[inline]
    pub fn observe<L, H>(&mut self, now_ns: u64, delivery: &Delivery<L, H>) {
        match &delivery.event {
            Event::Gap(gap) => self.ask(delivery.stream, gap.from, gap.to, now_ns),
            Event::Recovered(data) => {
                let end = data.first + u64::from(data.count);
                self.statistics.answered += self.remove(delivery.stream, data.first, end, now_ns);
            }
            Event::Lost(gap) => self.statistics.given_up += self.remove(delivery.stream, gap.from, gap.to, now_ns),
            Event::Reset { .. } => self.statistics.given_up += self.remove(delivery.stream, 0, u64::MAX, now_ns),
            _ => {}
        }
    }

    /// Hands out the requests that are due.
    pub fn poll(&mut self, now_ns: u64, mut send: impl FnMut(Request)) {
        let (config, statistics) = (self.config, &mut self.statistics);
        self.ranges.retain(|&(stream, from), range| {
            if range.due_ns > now_ns {
                return true;
            }
            if range.attempts >= config.attempts {
                statistics.given_up += range.to - from;
                return false;
            }
            let count = (range.to - from).min(config.batch.into()) as u16;
            send(Request { stream, first: from, count });
            statistics.requests += 1;
            statistics.requested += u64::from(count);
            range.due_ns = now_ns.saturating_add(config.timeout_ns.saturating_mul(1 << range.attempts.min(16)));
            range.attempts += 1;
            true
        });
    }

    /// When [`Rerequester::poll`] is due. `None` if nothing is missing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.ranges.values().map(|range| range.due_ns).min()
    }

    /// The counters.
    #[must_use]
    pub fn statistics(&self) -> RerequestStatistics {
        self.statistics
    }

    #[cold]
    fn ask(&mut self, stream: StreamId, from: u64, to: u64, now_ns: u64) {
        if self.ranges.len() >= self.config.ranges {
            self.statistics.refused += to - from;
            return;
        }
        let due_ns = now_ns.saturating_add(self.config.delay_ns);
        self.ranges.insert((stream, from), Range { to, due_ns, attempts: 0 });
    }

    /// Removes what lies within `first..end`. What is left of a range that was answered in part is due at once: the
    /// server is alive. Returns how many sequence numbers were removed.
    #[cold]
    fn remove(&mut self, stream: StreamId, first: u64, end: u64, now_ns: u64) -> u64 {
        let below_end = self.ranges.range((stream, 0)..(stream, end));
        let overlapping = below_end.filter(|(_, range)| range.to > first).map(|(key, range)| (*key, *range));
        let overlapping: Vec<_> = overlapping.collect();
        let mut removed = 0;
        for (key, range) in overlapping {
            self.ranges.remove(&key);
            removed += range.to.min(end) - key.1.max(first);
            let answered = Range { due_ns: now_ns, attempts: 0, ..range };
            if key.1 < first {
                self.ranges.insert(key, Range { to: first, ..range });
            }
            if range.to > end {
                self.ranges.insert((stream, end), answered);
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::arbiter::{Arbiter, Config, LegId};
    use crate::protocol::MoldUdp64;

    const MS: u64 = 1_000_000;

    struct Setup {
        arbiter: Arbiter<MoldUdp64, Bytes>,
        rerequester: Rerequester,
        delivered: u64,
    }

    fn datagram(first: u64, count: u16) -> Bytes {
        let mut bytes = [b"SESSION  1", &first.to_be_bytes()[..], &count.to_be_bytes()].concat();
        (0..count).for_each(|_| bytes.extend_from_slice(&[0, 1, b'!']));
        bytes.into()
    }

    impl Setup {
        fn new(config: RerequestConfig) -> Self {
            let arbiter = Arbiter::new(MoldUdp64, Config::new(1).recovery_ns(1_000 * MS));
            Self { arbiter, rerequester: Rerequester::new(config), delivered: 0 }
        }

        fn push(&mut self, now: u64, first: u64, count: u16) {
            let sink = |delivery: Delivery<Bytes, Bytes>| self.rerequester.observe(now, &delivery);
            self.arbiter.push(LegId::new(0), now, datagram(first, count), sink).unwrap();
        }

        fn answer(&mut self, now: u64, first: u64, count: u16) {
            let sink = |delivery: Delivery<Bytes, Bytes>| {
                self.delivered += u64::from(matches!(delivery.event, Event::Recovered(_)));
                self.rerequester.observe(now, &delivery);
            };
            self.arbiter.push_retransmission(LegId::new(0), now, datagram(first, count), sink).unwrap();
        }

        fn requests(&mut self, now: u64) -> Vec<(u64, u16)> {
            let mut all = Vec::new();
            self.rerequester.poll(now, |request| all.push((request.first, request.count)));
            all
        }
    }

    #[test]
    fn requests_are_batched_and_follow_partial_answers() {
        let mut setup = Setup::new(RerequestConfig::default().batch(4));
        setup.push(0, 1, 1);
        setup.push(1, 12, 1);
        assert_eq!(setup.requests(1), [(2, 4)]);
        assert_eq!(setup.requests(2), [], "the answer is waited for");
        setup.answer(3, 2, 3);
        assert_eq!(setup.requests(3), [(5, 4)]);
        setup.answer(4, 5, 7);
        assert_eq!((setup.requests(4), setup.rerequester.next_deadline()), (vec![], None));
        let statistics = setup.rerequester.statistics();
        assert_eq!((statistics.requests, statistics.requested, statistics.answered), (2, 8, 10));
        assert_eq!(
            setup.arbiter.streams().next().unwrap().leg(LegId::new(0)).unwrap().missing,
            10,
            "the leg lost them"
        );
    }

    #[test]
    fn attempts_are_backed_off_and_bounded() {
        let config = RerequestConfig::default().delay_ns(5 * MS).timeout_ns(10 * MS).attempts(3);
        let mut setup = Setup::new(config);
        setup.push(0, 1, 1);
        setup.push(0, 3, 1);
        let sent: Vec<u64> = (0..200).filter(|at| !setup.requests(at * MS).is_empty()).collect();
        assert_eq!(sent, [5, 15, 35]);
        assert_eq!((setup.rerequester.statistics().given_up, setup.rerequester.next_deadline()), (1, None));
    }

    #[test]
    fn the_longest_timeouts_do_not_wrap() {
        let mut setup = Setup::new(RerequestConfig::default().timeout_ns(u64::MAX / 2 + 1).attempts(9));
        setup.push(0, 1, 1);
        setup.push(0, 3, 1);
        assert_eq!(setup.requests(0), [(2, 1)]);
        // Twice the timeout is more than 64 bits hold.
        assert_eq!(setup.requests(u64::MAX / 2 + 1), [(2, 1)]);
        assert_eq!(setup.rerequester.next_deadline(), Some(u64::MAX));
    }

    #[test]
    fn ranges_are_bounded_and_end_with_the_recovery() {
        let mut setup = Setup::new(RerequestConfig::default().ranges(2));
        for first in [1, 3, 5, 7, 9] {
            setup.push(0, first, 1);
        }
        assert_eq!(setup.requests(0), [(2, 1), (4, 1)]);
        assert_eq!(setup.rerequester.statistics().refused, 2);
        setup.push(5_000 * MS, 10, 1);
        assert_eq!((setup.rerequester.statistics().given_up, setup.rerequester.next_deadline()), (2, None));
    }
}
