//! Medians, and their confidence intervals.

/// The median, or 0 for no values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The median of the rounds that have a value, or 0 if none has.
pub fn median_of_rounds(rounds: &[Option<f64>]) -> f64 {
    median(&rounds.iter().copied().flatten().collect::<Vec<_>>())
}

/// A ratio with its 90 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    /// The same ratio with a known relative error.
    pub fn within(median: f64, share: f64) -> Self {
        Self { median, low: median * (1.0 - share), high: median * (1.0 + share) }
    }

    /// Returns true if the value lies within the confidence interval.
    pub fn may_be(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The median of the ratios within each round. `None` if no round has both values.
pub fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<Ratio> {
    let mut ratios = ratios(of, to);
    ratios.sort_by(f64::total_cmp);
    let aside = aside(ratios.len());
    let (low, high) = (*ratios.get(aside)?, *ratios.get(ratios.len() - 1 - aside)?);
    Some(Ratio { median: median(&ratios), low, high })
}

/// A median with its 90 % confidence interval.
pub type Interval = Ratio;

/// The median of the values, and its confidence interval. `None` without a value.
pub fn interval(values: &[Option<f64>]) -> Option<Interval> {
    ratio(values, &vec![Some(1.0); values.len()])
}

/// The number of the lowest and of the highest of `count` values outside the confidence interval: the population median
/// lies between the others with 90 % probability. Each value is above or below it with the same probability, for every
/// distribution.
fn aside(count: usize) -> usize {
    // Probabilities that none, one, two... of the values lie below.
    let (mut chance, mut sum) = (0.5_f64.powi(count as i32), 0.0);
    for below in 0..count / 2 {
        sum += chance;
        if sum > 0.05 {
            return below.saturating_sub(1);
        }
        chance *= (count - below) as f64 / (below + 1) as f64;
    }
    count.saturating_sub(1) / 2
}

/// The ratios within each round.
pub fn ratios(of: &[Option<f64>], to: &[Option<f64>]) -> Vec<f64> {
    let ratio = |(of, to): (&Option<f64>, &Option<f64>)| Some((*of)? / (*to).filter(|to| *to > 0.0)?);
    of.iter().zip(to).filter_map(ratio).collect()
}

/// The distance of a row from itself, run twice per round: the median distance of the ratio from 1, at least half a
/// percent.
pub fn noise(first: &[Option<f64>], second: &[Option<f64>]) -> f64 {
    let distances: Vec<f64> = ratios(second, first).into_iter().map(|ratio| (ratio - 1.0).abs()).collect();
    median(&distances).max(0.005)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[f64::NAN, 1.0]), 1.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was twice as fast in the second round: no ratio changes.
        let (of, to) = ([Some(10.0), Some(20.0), None], [Some(5.0), Some(10.0), Some(7.0)]);
        assert_eq!(ratio(&of, &to), Some(Ratio { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(ratio(&of[2..], &to[2..]), None);
        assert_eq!(ratio(&[Some(1.0)], &[Some(0.0)]), None);
    }

    #[test]
    fn extremes_are_left_aside_where_there_are_many() {
        // Two-sided confidence intervals of the median, at least 90 %: tables of the sign test.
        assert_eq!([1, 3, 5, 7, 8, 11, 13, 15, 25].map(aside), [0, 0, 0, 0, 1, 2, 3, 3, 7]);
        let of: Vec<_> = (1..=15).map(|round| Some(f64::from(round))).collect();
        let ratio = ratio(&of, &[Some(1.0); 15]).expect("rounds");
        assert_eq!(ratio, Ratio { median: 8.0, low: 4.0, high: 12.0 });
        assert!(ratio.may_be(4.0) && ratio.may_be(12.0) && !ratio.may_be(3.9) && !ratio.may_be(12.1));
        assert!(Ratio::within(2.0, 0.05).may_be(1.95) && !Ratio::within(2.0, 0.05).may_be(1.8));
    }

    #[test]
    fn noise_is_never_nothing() {
        let same = [Some(1.0), Some(1.0)];
        assert_eq!(noise(&same, &same), 0.005);
        assert!((noise(&[Some(1.0); 3], &[Some(1.1), Some(0.9), Some(1.0)]) - 0.1).abs() < 1e-9);
    }
}
