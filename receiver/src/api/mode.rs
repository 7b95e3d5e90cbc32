//! How packets reach the consumer: the mode that is asked for, and the mode that is in use.

use std::fmt;
use std::str::FromStr;

use crate::api::parse::{ParseError, serialize_as_text};

/// How datagrams reach user space. The modes with XDP, fastest first, then the one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReceiveMode {
    /// AF_XDP; the NIC writes frames into the receiver's memory. Needs a driver that can.
    ZeroCopy,
    /// A mapped ring: the XDP program copies each packet once into memory that the receiver has mapped. Needs a driver
    /// with native XDP, and no AF_XDP socket. The one mode with XDP that can leave the packets to the other programs on
    /// the host as well ([`Builder::share`](crate::Builder::share)).
    Mapped,
    /// AF_XDP; the kernel copies each frame once into the receiver's memory. Needs a driver with native XDP.
    Copy,
    /// XDP in the network stack (SKB mode): works with any driver, slower. The program copies each packet into a mapped
    /// ring. With preferred busy polling ([`Builder::busy_poll`](crate::Builder::busy_poll)) AF_XDP sockets take the
    /// rings' place.
    Generic,
    /// No XDP: kernel UDP sockets. Needs no privilege.
    Socket,
}

impl ReceiveMode {
    /// All modes, fastest first.
    pub const ALL: [Self; 5] = [Self::ZeroCopy, Self::Mapped, Self::Copy, Self::Generic, Self::Socket];

    /// The name, as in options and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Mapped => "mapped",
            Self::Copy => "copy",
            Self::Generic => "generic",
            Self::Socket => "socket",
        }
    }
}

impl fmt::Display for ReceiveMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The mode that is asked for: `auto`, or the name of a mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ModeRequest {
    /// The fastest mode that is available. [`Handle::refused`](crate::Handle::refused) has the reasons against the
    /// faster ones.
    #[default]
    Auto,
    /// This mode, or an error.
    Exactly(ReceiveMode),
}

impl FromStr for ReceiveMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| ParseError::new(text, "a receive mode", "zero-copy, mapped, copy, generic or socket"))
    }
}

impl FromStr for ModeRequest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |_| ParseError::new(text, "a mode", "auto, zero-copy, mapped, copy, generic or socket");
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Exactly).map_err(wrong) }
    }
}

impl fmt::Display for ModeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Exactly(mode) => mode.fmt(f),
        }
    }
}

serialize_as_text!(ReceiveMode, ModeRequest);

/// A mode that is not available, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The mode.
    pub mode: ReceiveMode,
    /// Why it is not available, and what to do.
    pub reason: String,
}

impl Refused {
    /// The reasons in their order, each with the consecutive modes that it applies to: `zero-copy, copy`.
    ///
    /// ```
    /// use receiver::{ReceiveMode, Refused};
    /// let modes = [ReceiveMode::ZeroCopy, ReceiveMode::Copy];
    /// let refused = modes.map(|mode| Refused { mode, reason: "not today".into() });
    /// let grouped: Vec<_> = Refused::by_reason(&refused).collect();
    /// assert_eq!(grouped, [("zero-copy, copy".to_owned(), "not today")]);
    /// ```
    pub fn by_reason(refused: &[Self]) -> impl Iterator<Item = (String, &str)> {
        refused.chunk_by(|one, next| one.reason == next.reason).map(|same| {
            let modes: Vec<&str> = same.iter().map(|refused| refused.mode.name()).collect();
            (modes.join(", "), same[0].reason.as_str())
        })
    }
}

/// The warning that mode `socket` is used in place of XDP, with the reasons.
pub(crate) fn fallback_warning(interface: &str, refused: &[Refused]) -> String {
    let reasons: Vec<String> =
        Refused::by_reason(refused).map(|(modes, reason)| format!("{modes}: {reason}")).collect();
    format!(
        "XDP is not available on {interface}, so kernel sockets receive (mode socket): at a fraction of the rate, and \
         what they drop by source is not counted. Reasons: {}. Remove the cause, or ask for mode socket if that is \
         what you want, or require XDP, so that this is an error",
        reasons.join("; ")
    )
}

impl From<ReceiveMode> for ModeRequest {
    fn from(mode: ReceiveMode) -> Self {
        Self::Exactly(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_read_as_it_is_written() {
        for mode in ReceiveMode::ALL {
            assert_eq!(
                (mode.to_string().parse(), mode.to_string().parse()),
                (Ok(mode), Ok(ModeRequest::Exactly(mode)))
            );
        }
        assert_eq!(ModeRequest::Auto.to_string().parse(), Ok(ModeRequest::Auto));
        assert!("fast".parse::<ModeRequest>().is_err_and(|error| error.to_string().contains("auto, zero-copy")));
        assert!("auto".parse::<ReceiveMode>().is_err());
    }

    #[test]
    fn a_reason_is_told_once_for_all_modes_in_a_row() {
        let refused = |mode, reason: &str| Refused { mode, reason: reason.into() };
        let all = [
            refused(ReceiveMode::ZeroCopy, "no driver"),
            refused(ReceiveMode::Copy, "no privilege"),
            refused(ReceiveMode::Generic, "no privilege"),
        ];
        let grouped: Vec<_> = Refused::by_reason(&all).collect();
        assert_eq!(grouped, [("zero-copy".into(), "no driver"), ("copy, generic".into(), "no privilege")]);
        assert_eq!(Refused::by_reason(&[]).count(), 0);
        let warning = fallback_warning("eth1", &all);
        let start = "XDP is not available on eth1, so kernel sockets receive (mode socket): ";
        assert!(warning.starts_with(start), "{warning}");
        assert!(warning.contains("Reasons: zero-copy: no driver; copy, generic: no privilege. Remove the cause"));
    }
}
