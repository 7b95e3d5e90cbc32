//! The highest value at which something still goes well, by bisection. Pure, but for what is tried.

use anyhow::Result;

/// What one try at a value came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Try {
    /// It went well.
    pub good: bool,
    /// The value that was reached in truth.
    pub reached: f64,
    /// That was the most that could be tried, less than what was asked for.
    pub limited: bool,
}

/// The best that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// 0 where nothing went well.
    pub value: f64,
    /// Even the highest went well: it could be more.
    pub at_least: bool,
}

/// Bisects `0..=high` so many times, the highest first. What goes wrong is tried once more: a machine that is held up for a
/// moment loses packets that the receiver did not.
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
        // Nothing above 600 can be tried, and the highest fails.
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
