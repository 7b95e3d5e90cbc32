//! A mix of streams: what each is, and the cycle in which they take turns. Pure.

use std::net::IpAddr;
use std::str::FromStr;

use receiver_common::generator::MAX_ENTRIES;

use receiver_membership::{SourceFilter, Subscription};
use serde::{Deserialize, Serialize};

use crate::error::SendError;

/// One stream of a mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// Source address; `None`: the interface's first address of the family.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Group to send to.
    pub group: IpAddr,
    /// UDP port to send to.
    pub port: u16,
    /// The stream's share is its weight by the sum of all weights. From 1, the default.
    #[serde(default = "equal")]
    pub weight: u32,
}

/// Streams as text: `S@G:PORT=WEIGHT`. Without `=WEIGHT` the weight is 1. Several sources with commas between them are
/// as many streams of that weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpecs(pub Vec<StreamSpec>);

impl FromStr for StreamSpecs {
    type Err = SendError;

    fn from_str(text: &str) -> Result<Self, SendError> {
        let (channels, weight) = match text.rsplit_once('=') {
            Some((channels, weight)) => (channels, weight.parse().map_err(|_| SendError::Weight(weight.to_owned()))?),
            None => (text, 1),
        };
        if weight == 0 {
            return Err(SendError::Weight("0".to_owned()));
        }
        let subscription: Subscription = channels.parse()?;
        let SourceFilter::Include(sources) = subscription.filter() else {
            return Err(SendError::StreamWithoutSource(text.to_owned()));
        };
        let (group, port) = (subscription.group(), subscription.port());
        Ok(Self(sources.iter().map(|&source| StreamSpec { source: Some(source), group, port, weight }).collect()))
    }
}

/// The cycle for flows of these weights (not 0): each flow as often as its weight, spread evenly. After any number of
/// steps, a flow is less than two packets away from its share.
pub(super) fn cycle(weights: &[u32]) -> Result<Vec<u32>, SendError> {
    let common = weights.iter().fold(0, |a, &b| gcd(a, b)).max(1);
    let steps: u64 = weights.iter().map(|&weight| u64::from(weight / common)).sum();
    if steps > u64::from(MAX_ENTRIES) {
        return Err(SendError::TooManyTurns { steps, max: MAX_ENTRIES });
    }
    // The cycle has as many parts as the flow's weight. Its n-th packet is in the middle of the n-th part.
    let mut turns: Vec<(u64, u32)> = (0..)
        .zip(weights)
        .flat_map(|(flow, &weight)| {
            let parts = u64::from(weight / common);
            (0..parts).map(move |nth| (((2 * nth + 1) << 32) / parts, flow))
        })
        .collect();
    turns.sort_unstable();
    Ok(turns.into_iter().map(|(_, flow)| flow).collect())
}

fn equal() -> u32 {
    1
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let parse = |text: &str| text.parse::<StreamSpecs>();
        let specs = parse("10.0.0.1@232.1.1.1:5000=99").expect("a stream").0;
        assert_eq!(
            specs,
            [StreamSpec { source: Some([10, 0, 0, 1].into()), group: [232, 1, 1, 1].into(), port: 5000, weight: 99 }]
        );
        assert_eq!(parse("[2001:db8::1]@[ff3e::1]:5000").expect("a stream").0[0].weight, 1);
        assert_eq!(parse("10.0.0.1,10.0.0.2@232.1.1.1:5000=3").expect("two").0.len(), 2);
        assert!(matches!(parse("10.0.0.1@232.1.1.1:5000=x"), Err(SendError::Weight(_))));
        assert!(matches!(parse("10.0.0.1@232.1.1.1:5000=0"), Err(SendError::Weight(_))));
        assert!(matches!(parse("239.1.1.1:5000=2"), Err(SendError::StreamWithoutSource(_))));
        assert!(matches!(parse("10.0.0.1@10.1.1.1:5000=2"), Err(SendError::Address(_))));
    }

    #[test]
    fn the_common_divisor_does_not_count() {
        assert_eq!(cycle(&[30_000, 60_000]).expect("short"), [1, 0, 1]);
        assert!(matches!(cycle(&[65_535, 2]), Err(SendError::TooManyTurns { steps: 65_537, .. })));
    }

    proptest! {
        #[test]
        fn shares_hold_at_any_time(weights in prop::collection::vec(1u32..200, 1..20)) {
            let turns = cycle(&weights).expect("short");
            let total: u32 = weights.iter().sum();
            let mut seen = vec![0u32; weights.len()];
            for (at, &turn) in turns.iter().enumerate() {
                seen[turn as usize] += 1;
                for (flow, &seen) in seen.iter().enumerate() {
                    let share = f64::from(weights[flow]) * (at + 1) as f64 / f64::from(total);
                    let off = (f64::from(seen) - share).abs();
                    prop_assert!(off < 2.0, "flow {} after {}: {} of {}", flow, at + 1, seen, share);
                }
            }
            let cycles = total / turns.len() as u32;
            for (seen, weight) in seen.iter().zip(&weights) {
                prop_assert_eq!(seen * cycles, *weight);
            }
        }
    }
}
