//! The policy for frames of subscribed groups whose source is not wanted.

use std::fmt;
use std::str::FromStr;

use crate::api::parse::{ParseError, serialize_as_text};

/// When the XDP program drops a frame of a subscribed group and port whose source is not wanted. Written `always`,
/// `unless-shared` or `never`. Without effect in mode `socket`, which has no XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropUnwanted {
    /// Always, also if another program on the host has joined the group.
    Always,
    /// Unless another program has joined the group on the interface. The frame then passes to the kernel, since the
    /// other program may want it. Memberships are read at the start, on a join, and every second.
    #[default]
    UnlessShared,
    /// Never: the frame passes to the kernel. For hosts where others receive the group unseen behind the interface, as
    /// through a bridge or macvlan.
    Never,
}

impl DropUnwanted {
    const ALL: [Self; 3] = [Self::Always, Self::UnlessShared, Self::Never];

    /// The name, as in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::UnlessShared => "unless-shared",
            Self::Never => "never",
        }
    }

    /// Returns true if frames of unwanted sources pass to the kernel. `is_shared`: other programs have joined the
    /// group.
    pub(crate) fn passes(self, is_shared: bool) -> bool {
        match self {
            Self::Always => false,
            Self::UnlessShared => is_shared,
            Self::Never => true,
        }
    }
}

impl fmt::Display for DropUnwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DropUnwanted {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| ParseError::new(text, "a time to drop unwanted frames", "always, unless-shared or never"))
    }
}

serialize_as_text!(DropUnwanted);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_as_it_is_written() {
        for policy in DropUnwanted::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("sometimes".parse::<DropUnwanted>().is_err_and(|reason| reason.to_string().contains("unless-shared")));
        assert_eq!(DropUnwanted::default(), DropUnwanted::UnlessShared);
    }

    #[test]
    fn what_passes() {
        let of = |is_shared| DropUnwanted::ALL.map(|policy| policy.passes(is_shared));
        assert_eq!((of(false), of(true)), ([false, false, true], [false, true, true]));
    }
}
