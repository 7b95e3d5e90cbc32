//! Medians, and what is noise. Pure.

/// The median; 0 of nothing.
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

/// The median of the ratios within each round; `None` where no round has both.
pub fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<f64> {
    let ratios = ratios(of, to);
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// The ratios within each round.
pub fn ratios(of: &[Option<f64>], to: &[Option<f64>]) -> Vec<f64> {
    let ratio = |(of, to): (&Option<f64>, &Option<f64>)| Some((*of)? / (*to).filter(|to| *to > 0.0)?);
    of.iter().zip(to).filter_map(ratio).collect()
}

/// How far a row is from itself, run twice a round: the median distance of the ratio from 1, at least half a percent.
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
        assert_eq!(ratio(&of, &to), Some(2.0));
        assert_eq!(ratio(&of[2..], &to[2..]), None);
        assert_eq!(ratio(&[Some(1.0)], &[Some(0.0)]), None);
    }

    #[test]
    fn noise_is_never_nothing() {
        let same = [Some(1.0), Some(1.0)];
        assert_eq!(noise(&same, &same), 0.005);
        assert!((noise(&[Some(1.0); 3], &[Some(1.1), Some(0.9), Some(1.0)]) - 0.1).abs() < 1e-9);
    }
}
