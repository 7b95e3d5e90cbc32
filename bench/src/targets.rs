//! The targets, the measured values, and whether they were met.

use serde::Serialize;

use crate::report::Table;
use crate::statistics::Ratio;

/// One target.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    pub what: String,
    /// `None` if a row or table that it needs was not measured.
    pub measured: Option<f64>,
    /// The 90 % confidence interval.
    pub between: Option<[f64; 2]>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
    pub met: Option<bool>,
    /// True if the limit lies within the confidence interval.
    pub within_noise: bool,
}

impl Target {
    pub fn at_least(what: &str, measured: Option<Ratio>, limit: f64) -> Self {
        Self::new(what, measured, Some(limit), None)
    }

    pub fn at_most(what: &str, measured: Option<Ratio>, limit: f64) -> Self {
        Self::new(what, measured, None, Some(limit))
    }

    fn new(what: &str, measured: Option<Ratio>, at_least: Option<f64>, at_most: Option<f64>) -> Self {
        let met = |measured: Ratio| {
            at_least.is_none_or(|limit| measured.median >= limit)
                && at_most.is_none_or(|limit| measured.median <= limit)
        };
        let limit = at_least.or(at_most).unwrap_or(0.0);
        let uncertain = |measured: Ratio| measured.low < measured.high && measured.may_be(limit);
        Self {
            what: what.to_owned(),
            measured: measured.map(|measured| measured.median),
            between: measured.map(|measured| [measured.low, measured.high]),
            at_least,
            at_most,
            met: measured.map(met),
            within_noise: measured.is_some_and(uncertain),
        }
    }
}

pub fn report(targets: &[Target]) -> String {
    let mut text = Table::new(&["target", "limit", "measured", "between", ""]);
    for target in targets {
        let limit = match (target.at_least, target.at_most) {
            (Some(limit), _) => format!(">= {limit}"),
            (_, Some(limit)) => format!("<= {limit}"),
            _ => String::new(),
        };
        let judgement = match target.met {
            None => "not measured",
            Some(true) if target.within_noise => "not certain (met; the limit is within the interval)",
            Some(true) => "met",
            Some(false) if target.within_noise => "not certain (missed; the limit is within the interval)",
            Some(false) => "missed",
        };
        let measured = target.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.3}"));
        let between = target.between.map_or_else(String::new, |[low, high]| format!("{low:.3}..{high:.3}"));
        text.line(vec![target.what.clone(), limit, measured, between, judgement.to_owned()]);
    }
    format!("Targets\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_on_their_side() {
        let judged = |target: Target| (target.met, target.within_noise);
        let about = |value| Some(Ratio::within(value, 0.05));
        assert_eq!(judged(Target::at_least("a", about(1.2), 1.0)), (Some(true), false));
        assert_eq!(judged(Target::at_least("a", about(0.98), 1.0)), (Some(false), true));
        assert_eq!(judged(Target::at_most("a", about(1.2), 1.0)), (Some(false), false));
        assert_eq!(judged(Target::at_most("a", None, 1.0)), (None, false));
        assert_eq!(judged(Target::at_least("a", Some(Ratio::within(1.0, 0.0)), 1.0)), (Some(true), false));
        let text = report(&[Target::at_most("a", about(0.5), 1.0), Target::at_least("b", None, 2.0)]);
        assert!(text.contains("<= 1     0.500  0.475..0.525  met") && text.contains("not measured"), "{text}");
    }
}
