//! What was aimed at, what was measured, and whether it was met. Pure.

use serde::Serialize;

use crate::report::Table;

/// One target.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    pub what: String,
    /// `None` where a row or table that it needs was not measured.
    pub measured: Option<f64>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
    pub met: Option<bool>,
    /// The measured number and the limit are closer than what the number is certain to.
    pub within_noise: bool,
}

impl Target {
    pub fn at_least(what: &str, measured: Option<f64>, limit: f64, noise: f64) -> Self {
        Self::new(what, measured, Some(limit), None, noise)
    }

    pub fn at_most(what: &str, measured: Option<f64>, limit: f64, noise: f64) -> Self {
        Self::new(what, measured, None, Some(limit), noise)
    }

    fn new(what: &str, measured: Option<f64>, at_least: Option<f64>, at_most: Option<f64>, noise: f64) -> Self {
        let met = |measured: f64| {
            at_least.is_none_or(|limit| measured >= limit) && at_most.is_none_or(|limit| measured <= limit)
        };
        let limit = at_least.or(at_most).unwrap_or(0.0);
        let close = |measured: f64| (measured - limit).abs() <= noise * limit;
        Self {
            what: what.to_owned(),
            measured,
            at_least,
            at_most,
            met: measured.map(met),
            within_noise: measured.is_some_and(close),
        }
    }
}

pub fn report(targets: &[Target]) -> String {
    let mut text = Table::new(&["target", "limit", "measured", ""]);
    for target in targets {
        let limit = match (target.at_least, target.at_most) {
            (Some(limit), _) => format!(">= {limit}"),
            (_, Some(limit)) => format!("<= {limit}"),
            _ => String::new(),
        };
        let judgement = match target.met {
            None => "not measured",
            Some(true) if target.within_noise => "met (the limit is within the noise)",
            Some(true) => "met",
            Some(false) if target.within_noise => "missed (the limit is within the noise)",
            Some(false) => "missed",
        };
        let measured = target.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.3}"));
        text.line(vec![target.what.clone(), limit, measured, judgement.to_owned()]);
    }
    format!("Targets\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_on_their_side() {
        let judged = |target: Target| (target.met, target.within_noise);
        assert_eq!(judged(Target::at_least("a", Some(1.2), 1.0, 0.05)), (Some(true), false));
        assert_eq!(judged(Target::at_least("a", Some(0.98), 1.0, 0.05)), (Some(false), true));
        assert_eq!(judged(Target::at_most("a", Some(1.2), 1.0, 0.05)), (Some(false), false));
        assert_eq!(judged(Target::at_most("a", None, 1.0, 0.05)), (None, false));
        let text = report(&[Target::at_most("a", Some(0.5), 1.0, 0.0), Target::at_least("b", None, 2.0, 0.0)]);
        assert!(text.contains("<= 1     0.500  met") && text.contains("not measured"), "{text}");
    }
}
