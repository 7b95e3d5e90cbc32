//! The VLAN tags that frames must carry: one (`100`), or two, outer first (`200.100`).

use std::fmt;
use std::str::FromStr;

use receiver_common::wire::VlanTags;

use crate::api::error::Error;
use crate::api::parse::serialize_as_text;

/// One or two VLAN ids, 1 to 4094 (IEEE 802.1Q; 802.1ad for two). Written `100`, or `200.100` with the outer id first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vlan {
    outer: u16,
    inner: Option<u16>,
}

impl Vlan {
    /// One tag, or two with the outer one first.
    ///
    /// # Errors
    /// [`Error::Option`] if an id is not 1 to 4094.
    pub fn new(outer: u16, inner: Option<u16>) -> Result<Self, Error> {
        let refused = |id: u16| Error::Option {
            option: "vlan",
            value: id.to_string(),
            reason: "a VLAN id is 1 to 4094; for two tags write OUTER.INNER".into(),
        };
        for id in [Some(outer), inner].into_iter().flatten() {
            if !(1..=4094).contains(&id) {
                return Err(refused(id));
            }
        }
        Ok(Self { outer, inner })
    }

    /// The id of the only or outer tag.
    pub fn outer(self) -> u16 {
        self.outer
    }

    /// The id of the inner tag, if there are two.
    pub fn inner(self) -> Option<u16> {
        self.inner
    }

    /// The tags in the form that the parser takes.
    pub(crate) fn tags(self) -> VlanTags {
        let (count, ..) = self.as_globals();
        VlanTags { count, outer: self.outer, inner: self.inner.unwrap_or(0) }
    }

    /// Count, outer and inner id as the XDP program's globals hold them.
    pub(crate) fn as_globals(self) -> (u32, u32, u32) {
        (1 + u32::from(self.inner.is_some()), self.outer.into(), self.inner.unwrap_or(0).into())
    }
}

impl FromStr for Vlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let id = |part: &str| {
            part.parse::<u16>().map_err(|_| Error::Option {
                option: "vlan",
                value: text.to_owned(),
                reason: "a VLAN id is a number, 1 to 4094; for two tags write OUTER.INNER".into(),
            })
        };
        match text.split_once('.') {
            Some((outer, inner)) => Self::new(id(outer)?, Some(id(inner)?)),
            None => Self::new(id(text)?, None),
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner {
            Some(inner) => write!(f, "{}.{inner}", self.outer),
            None => write!(f, "{}", self.outer),
        }
    }
}

serialize_as_text!(Vlan);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in ["1", "4094", "200.100"] {
            assert_eq!(text.parse::<Vlan>().expect(text).to_string(), text);
        }
        for text in ["", "0", "4095", "1.", ".1", "1.2.3", "x", "70000"] {
            assert!(text.parse::<Vlan>().is_err(), "{text}");
        }
        assert_eq!("7".parse::<Vlan>().expect("7").tags(), VlanTags { count: 1, outer: 7, inner: 0 });
        assert_eq!("7.8".parse::<Vlan>().expect("7.8").tags(), VlanTags { count: 2, outer: 7, inner: 8 });
    }
}
