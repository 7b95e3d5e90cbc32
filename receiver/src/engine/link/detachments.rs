//! When a program that somebody detached is attached again: at once, or after a pause that grows with each detachment,
//! so that two programs do not fight over the interface.

use std::time::{Duration, Instant};

/// The first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A program that stayed attached for this long is attached again at once.
const CALM: Duration = Duration::from_secs(60);

/// What to do about one detachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Attach it at once, and report that.
    AtOnce,
    /// Wait for this long, and report that: it is the first pause of a series.
    FirstPause(Duration),
    /// Wait for this long. The series was reported.
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Detachments {
    /// When the program was last attached again.
    attached: Option<Instant>,
    pause: Duration,
    until: Option<Instant>,
}

impl Detachments {
    /// Records that the program was found detached.
    pub fn detached(&mut self, now: Instant) -> Answer {
        if self.attached.is_none_or(|attached| now.duration_since(attached) >= CALM) {
            self.pause = Duration::ZERO;
            return Answer::AtOnce;
        }
        let is_first = self.pause.is_zero();
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(now + self.pause);
        if is_first { Answer::FirstPause(self.pause) } else { Answer::Pause(self.pause) }
    }

    /// Records that the program was attached again.
    pub fn attached(&mut self, now: Instant) {
        (self.attached, self.until) = (Some(now), None);
    }

    /// The rest of the pause; `None` if there is none.
    pub fn waiting(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|rest| !rest.is_zero())
    }

    /// Ends the pause: the device is gone.
    pub fn end_pause(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_calm() {
        let (mut detachments, mut now) = (Detachments::default(), Instant::now());
        assert_eq!(detachments.detached(now), Answer::AtOnce);
        detachments.attached(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            now += Duration::from_millis(10);
            match detachments.detached(now) {
                Answer::FirstPause(pause) => assert!(pauses.is_empty() && pause == FIRST_PAUSE),
                Answer::Pause(_) => assert!(!pauses.is_empty()),
                Answer::AtOnce => panic!("after {pauses:?}"),
            }
            let pause = detachments.waiting(now).expect("a pause");
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(detachments.waiting(now), None);
            detachments.attached(now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(detachments.detached(now + CALM), Answer::AtOnce);
    }

    proptest! {
        /// Whoever detaches it whenever it is attached, at whatever times: within a minute it is attached a few times.
        #[test]
        fn nobody_is_fought(delays in proptest::collection::vec(0_u64..500, 1..200)) {
            let (mut detachments, start) = (Detachments::default(), Instant::now());
            let mut now = start;
            let mut attached = 0;
            for delay in delays {
                now += Duration::from_millis(delay);
                detachments.detached(now);
                now += detachments.waiting(now).unwrap_or_default();
                detachments.attached(now);
                if now.duration_since(start) < Duration::from_secs(60) {
                    attached += 1;
                }
            }
            prop_assert!(attached <= 7, "{attached}");
        }
    }
}
