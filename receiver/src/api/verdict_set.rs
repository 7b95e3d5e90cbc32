//! Sets of verdicts, as a tap takes them.

use std::fmt;
use std::str::FromStr;

use receiver_common::{Action, Verdict};

use crate::api::parse::{ParseError, serialize_as_text};

/// A set of verdicts. Written as names with commas between them: those of [`Verdict::name`], and `blocked`, `passed`
/// and `lost` for [`VerdictSet::BLOCKED`], [`VerdictSet::PASSED`] and [`VerdictSet::LOST`].
///
/// ```
/// use receiver::{Verdict, VerdictSet};
///
/// let set: VerdictSet = "blocked,passed_fragment".parse()?;
/// assert!(set.contains(Verdict::DroppedBlocked) && set.contains(Verdict::PassedFragment));
/// assert_eq!(VerdictSet::LOST.to_string(), "dropped_ring_full,dropped_ring_busy");
/// # Ok::<(), receiver::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VerdictSet(u64);

impl VerdictSet {
    /// No verdict.
    pub const NONE: Self = Self(0);
    /// Frames that the XDP program drops because nobody is to have them: unwanted sources, impossible sources, wrong
    /// lengths.
    pub const BLOCKED: Self = Self::of_action(Action::Drop);
    /// Frames that the XDP program leaves to the kernel.
    pub const PASSED: Self = Self::of_action(Action::Pass);
    /// Wanted frames for which a mapped ring had no room.
    pub const LOST: Self = Self::NONE.with(Verdict::DroppedRingFull).with(Verdict::DroppedRingBusy);
    /// Every frame that the XDP program does not give to a worker.
    pub const UNDELIVERED: Self = Self::BLOCKED.union(Self::PASSED).union(Self::LOST);

    /// The names of sets in a text.
    const NAMED: [(&'static str, Self); 3] =
        [("blocked", Self::BLOCKED), ("passed", Self::PASSED), ("lost", Self::LOST)];

    const fn of_action(action: Action) -> Self {
        let (mut set, mut at) = (Self::NONE, 0);
        while at < Verdict::COUNT {
            if Verdict::ALL[at].action() as u32 == action as u32 {
                set = set.with(Verdict::ALL[at]);
            }
            at += 1;
        }
        set
    }

    /// The set with one more verdict.
    #[must_use]
    pub const fn with(self, verdict: Verdict) -> Self {
        Self(self.0 | 1 << verdict as u32)
    }

    /// The verdicts of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns true if the verdict is in the set.
    pub const fn contains(self, verdict: Verdict) -> bool {
        self.0 >> verdict as u32 & 1 != 0
    }

    /// Returns true if no verdict is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The verdicts, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Verdict> {
        Verdict::ALL.into_iter().filter(move |&verdict| self.contains(verdict))
    }

    /// A bit for each verdict, by its number.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<Verdict> for VerdictSet {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        verdicts.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for VerdictSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Verdict::name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for VerdictSet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let one = |name: &str| {
            let named = Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, set)| set);
            named.or_else(|| {
                Verdict::ALL.into_iter().find(|verdict| verdict.name() == name).map(|verdict| Self::NONE.with(verdict))
            })
        };
        let wrong =
            |part| ParseError::new(part, "a verdict", "blocked, passed, lost, or names such as dropped_blocked");
        text.split(',').try_fold(Self::NONE, |set, part| Ok(set.union(one(part).ok_or_else(|| wrong(part))?)))
    }
}

serialize_as_text!(VerdictSet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_cover_the_verdicts_by_what_becomes_of_the_frame() {
        let delivered: Vec<Verdict> =
            Verdict::ALL.into_iter().filter(|&verdict| !VerdictSet::UNDELIVERED.contains(verdict)).collect();
        assert_eq!(delivered, [Verdict::Redirected, Verdict::Mapped]);
        for verdict in Verdict::ALL {
            let sets = VerdictSet::NAMED.into_iter().filter(|(_, set)| set.contains(verdict)).count();
            assert_eq!(sets, usize::from(!delivered.contains(&verdict)), "{verdict:?}");
        }
        assert!(VerdictSet::PASSED.iter().all(|verdict| verdict.name().starts_with("passed_")));
        assert!(VerdictSet::BLOCKED.iter().all(|verdict| verdict.name().starts_with("dropped_")));
    }

    #[test]
    fn a_set_is_its_text() {
        for set in [VerdictSet::BLOCKED, VerdictSet::UNDELIVERED, VerdictSet::NONE.with(Verdict::Mapped)] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        let set: VerdictSet = "lost,passed_vlan".parse().expect("names");
        assert_eq!(set.to_string(), "passed_vlan,dropped_ring_full,dropped_ring_busy");
        for wrong in ["", "blocked,", "Blocked", "dropped"] {
            let error = wrong.parse::<VerdictSet>().expect_err(wrong).to_string();
            assert!(error.contains("is not a verdict; write blocked"), "{error}");
        }
    }
}
