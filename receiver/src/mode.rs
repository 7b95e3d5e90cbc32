//! How packets reach the consumer: what was asked for, and what it came to be.

use std::fmt;
use std::str::FromStr;

/// How datagrams reach user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiveMode {
    /// AF_XDP, the NIC writes into the receiver's memory.
    ZeroCopy,
    /// AF_XDP, the kernel copies each frame once into the receiver's memory.
    Copy,
    /// AF_XDP behind XDP in the network stack (SKB mode): any driver, slower.
    Generic,
    /// No XDP: kernel UDP sockets. Needs no privilege.
    Socket,
}

impl ReceiveMode {
    /// All, fastest first: the order of the ladder.
    pub const LADDER: [Self; 4] = [Self::ZeroCopy, Self::Copy, Self::Generic, Self::Socket];

    /// As it is written in options and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
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

/// What mode is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ModeRequest {
    /// The fastest that can be had; each step down the ladder is told with its reason.
    #[default]
    Auto,
    /// This one or an error.
    Exactly(ReceiveMode),
}

impl FromStr for ModeRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        ReceiveMode::LADDER
            .into_iter()
            .find(|mode| mode.name() == text)
            .map(Self::Exactly)
            .ok_or_else(|| "a mode is auto, zero-copy, copy, generic or socket".to_owned())
    }
}

/// A step of the ladder that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The mode.
    pub mode: ReceiveMode,
    /// Why it could not be had.
    pub reason: String,
}
