//! The highest value at which something still goes well, by bisection. Pure, but for what is tried.

use anyhow::Result;

/// What one try at a value came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Try {
    /// It went well.
    pub good: bool,
    /// The value that was reached in truth.
    pub reached: f64,
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
    let (mut low, mut high, mut best) = (0.0, high.min(top.reached.max(1.0)), 0.0_f64);
    for _ in 0..steps {
        let middle = f64::midpoint(low, high);
        let tried = twice(middle)?;
        if tried.good {
            low = middle;
            best = best.max(tried.reached);
        } else {
            high = middle;
        }
    }
    Ok(Best { value: best, at_least: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(limit: f64) -> impl FnMut(f64) -> Result<Try> {
        move |value| Ok(Try { good: value <= limit, reached: value })
    }

    #[test]
    fn comes_close_from_below() {
        let best = bisect(1000.0, 10, below(333.0)).expect("no error");
        assert!(best.value <= 333.0 && best.value > 331.0 && !best.at_least, "{best:?}");
        assert_eq!(bisect(1000.0, 5, below(2000.0)).expect("no error"), Best { value: 1000.0, at_least: true });
        assert_eq!(bisect(1000.0, 5, below(-1.0)).expect("no error"), Best::default());
    }

    #[test]
    fn one_bad_moment_is_forgiven() {
        let mut calls = 0;
        let best = bisect(100.0, 5, |value| {
            calls += 1;
            Ok(Try { good: calls % 2 == 0, reached: value })
        });
        assert!(best.expect("no error").at_least);
    }
}
