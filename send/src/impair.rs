//! Impairments by seed: which packets of a leg are lost, held back or sent twice, and how late they leave.
//!
//! A fate depends on the seed, the lane (a leg) and the packet's number alone. So a run can be repeated: the same seed
//! loses the same packets on every machine.
//!
//! ```
//! use receiver_send::impair::{Fate, Fates, Impairment};
//!
//! let mut impairment = Impairment::default();
//! impairment.loss = "1%".parse()?;
//! let fates = Fates::new(7, 0, &impairment);
//! let lost: Vec<u64> = (0..1000).filter(|number| fates.of(*number) == Fate::Lost).collect();
//! assert_eq!(lost.len(), 9);
//! # Ok::<(), receiver_send::impair::ShareError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::random::{Purpose, Random};

/// Parts in a whole.
const WHOLE: u32 = 1_000_000_000;
/// Decimals of a percentage.
const DECIMALS: usize = 7;
/// How many later packets overtake one that is held back, if nothing else is asked for.
const DEFAULT_REORDER_BY: u32 = 3;

/// A share of all packets, in steps of a billionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share of packets; write a percentage from 0% to 100%, such as 1% or 0.05%")]
pub struct ShareError(String);

impl Share {
    /// None.
    pub const ZERO: Self = Self(0);

    /// In billionths.
    #[must_use]
    pub fn billionths(self) -> u32 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let parse = || {
            let digits = text.strip_suffix('%')?.trim_end();
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
            if whole.len() + fraction.len() == 0 || !is_number(whole) || !is_number(fraction) {
                return None;
            }
            let fraction = fraction.trim_end_matches('0');
            if fraction.len() > DECIMALS {
                return None;
            }
            let billionths: u64 = format!("{whole}{fraction:0<DECIMALS$}").parse().ok()?;
            u32::try_from(billionths).ok().filter(|&billionths| billionths <= WHOLE)
        };
        parse().map(Self).ok_or_else(|| ShareError(text.to_owned()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 10_000_000, self.0 % 10_000_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{fraction:0DECIMALS$}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Share {
    /// As a number from 0 to 1.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(WHOLE))
    }
}

/// What happens to the packets of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Impairment {
    /// Packets that are not sent.
    pub loss: Share,
    /// Packets that are held back until later ones have left.
    pub reorder: Share,
    /// How many later packets overtake one that is held back, from 1. Default 3.
    pub reorder_by: u32,
    /// Packets that are sent twice.
    pub duplicate: Share,
    /// How much later each packet leaves.
    pub delay: Duration,
    /// How much later than `delay` a packet may leave. The order stays.
    pub jitter: Duration,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: Share::ZERO,
            reorder: Share::ZERO,
            reorder_by: DEFAULT_REORDER_BY,
            duplicate: Share::ZERO,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
        }
    }
}

impl Impairment {
    /// Returns true if the shares are parts of one whole: a packet has one fate.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let shares = [self.loss, self.reorder, self.duplicate];
        shares.iter().map(|share| u64::from(share.0)).sum::<u64>() <= u64::from(WHOLE)
    }

    /// Returns true if any packet may have another fate than [`Fate::Sent`].
    #[must_use]
    pub fn changes_packets(&self) -> bool {
        [self.loss, self.reorder, self.duplicate].iter().any(|share| share.0 > 0)
    }
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent once, in order.
    Sent,
    /// It is not sent.
    Lost,
    /// It is sent after later ones.
    HeldBack,
    /// It is sent twice.
    Twice,
}

/// The fates of one leg's packets.
#[derive(Clone, Copy, Debug)]
pub struct Fates {
    random: Random,
    /// Ends of the parts of a billion that are lost, held back, sent twice.
    ends: [u64; 3],
}

impl Fates {
    /// Of a seed and a lane, such as the number of the leg.
    #[must_use]
    pub fn new(seed: u64, lane: u64, impairment: &Impairment) -> Self {
        let lost = u64::from(impairment.loss.0);
        let held_back = lost + u64::from(impairment.reorder.0);
        let ends = [lost, held_back, held_back + u64::from(impairment.duplicate.0)];
        Self { random: Random::new(seed, Purpose::Fate, lane), ends }
    }

    /// Of the packet with this number.
    #[inline]
    #[must_use]
    pub fn of(&self, number: u64) -> Fate {
        if self.ends[2] == 0 {
            return Fate::Sent;
        }
        let drawn = self.random.below(number, u64::from(WHOLE));
        match self.ends.iter().position(|&end| drawn < end) {
            Some(0) => Fate::Lost,
            Some(1) => Fate::HeldBack,
            Some(_) => Fate::Twice,
            None => Fate::Sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(text: &str) -> Share {
        text.parse().expect(text)
    }

    #[test]
    fn shares_are_percentages() {
        for (text, billionths) in
            [("1%", 10_000_000), ("0.1%", 1_000_000), (".5%", 5_000_000), ("100%", WHOLE), ("0.0000001%", 1), ("0%", 0)]
        {
            assert_eq!(share(text).billionths(), billionths, "{text}");
        }
        for text in ["", "%", ".%", "1", "0.01", "101%", "-1%", "1.0.0%", "0.00000001%", "1e-3%", "ten%"] {
            let error = text.parse::<Share>().expect_err(text).to_string();
            let remedy = "is not a share of packets; write a percentage from 0% to 100%, such as 1% or 0.05%";
            assert_eq!(error, format!("`{text}` {remedy}"));
        }
    }

    #[test]
    fn fates_have_their_shares() {
        let mut impairment = Impairment::default();
        (impairment.loss, impairment.reorder, impairment.duplicate) = (share("10%"), share("5%"), share("1%"));
        let fates = Fates::new(1, 0, &impairment);
        let count = |fate| (0..100_000).filter(|number| fates.of(*number) == fate).count();
        assert_eq!([Fate::Lost, Fate::HeldBack, Fate::Twice].map(count), [10_092, 4_910, 1_040]);
        impairment.loss = share("95%");
        assert!(!impairment.is_possible());
    }

    proptest! {
        #[test]
        fn a_share_is_written_as_it_is_parsed(billionths in 0..=WHOLE) {
            prop_assert_eq!(Share(billionths).to_string().parse(), Ok(Share(billionths)));
        }

        #[test]
        fn the_extremes_are_exact(seed: u64, lane: u64, number: u64) {
            let fate = |loss| {
                let impairment = Impairment { loss: share(loss), ..Impairment::default() };
                Fates::new(seed, lane, &impairment).of(number)
            };
            prop_assert_eq!([fate("0%"), fate("100%")], [Fate::Sent, Fate::Lost]);
        }
    }
}
