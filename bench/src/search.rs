//! Bisection for the highest value at which a try succeeds.

use anyhow::Result;

/// The result of one try at a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Try {
    /// The try succeeded.
    pub good: bool,
    /// The value that was actually reached.
    pub reached: f64,
    /// The try could not reach the requested value; it was the highest possible one.
    pub limited: bool,
}

/// The best result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// 0 if no try succeeded.
    pub value: f64,
    /// Even the highest try succeeded, so the limit could be higher.
    pub at_least: bool,
}

/// Bisects `0..=high` N times, starting with the highest value. A failed try is repeated once: a machine that pauses
/// for a moment loses packets that the receiver did not lose.
pub fn bisect(high: f64, steps: usize, mut attempt: impl FnMut(f64) -> Result<Try>) -> Result<Best> {
    let mut twice = |value: f64| -> Result<Try> {
        let first = attempt(value)?;
        if first.good { Ok(first) } else { attempt(value) }
    };
    let top = twice(high)?;
    if top.good {
        return Ok(Best { value: top.reached, at_least: true });
    }
    let (mut low, mut high, mut best) = (0.0, high, Best::default());
    for _ in 0..steps {
        let middle = f64::midpoint(low, high);
        let tried = twice(middle)?;
        if tried.good {
            low = middle;
            if tried.reached >= best.value {
                best = Best { value: tried.reached, at_least: tried.limited };
            }
            if tried.limited {
                break;
            }
        } else {
            high = middle;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(limit: f64) -> impl FnMut(f64) -> Result<Try> {
        move |value| Ok(Try { good: value <= limit, reached: value, limited: false })
    }

    #[test]
    fn comes_close_from_below() {
        let best = bisect(1000.0, 10, below(333.0)).expect("no error");
        assert!(best.value <= 333.0 && best.value > 331.0 && !best.at_least, "{best:?}");
        assert_eq!(bisect(1000.0, 5, below(2000.0)).expect("no error"), Best { value: 1000.0, at_least: true });
        assert_eq!(bisect(1000.0, 5, below(-1.0)).expect("no error"), Best::default());
    }

    #[test]
    fn what_can_not_be_tried_is_no_limit() {
        // No value above 600 can be tried, and the highest try fails.
        let best = bisect(1000.0, 10, |value| {
            Ok(Try { good: value < 1000.0, reached: f64::min(value, 600.0), limited: value > 600.0 })
        });
        assert_eq!(best.expect("no error"), Best { value: 600.0, at_least: true });
    }

    #[test]
    fn one_bad_moment_is_forgiven() {
        let mut calls = 0;
        let best = bisect(100.0, 5, |value| {
            calls += 1;
            Ok(Try { good: calls % 2 == 0, reached: value, limited: false })
        });
        assert!(best.expect("no error").at_least);
    }
}
