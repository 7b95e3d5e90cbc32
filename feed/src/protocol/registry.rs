//! Protocols by name: the only place that knows them all.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::cboe_pitch::CboePitch;
use super::cme_mdp3::CmeMdp3;
use super::error::ParseError;
use super::eurex_eobi::EurexEobi;
use super::hkex_omd::HkexOmd;
use super::iex_tp::IexTp;
use super::memx::Memx;
use super::moldudp64::MoldUdp64;
use super::mpeg_ts::MpegTs;
use super::nyse_pillar::NysePillar;
use super::opra::Opra;
use super::packet::{Packet, StreamKey};
use super::probe::Probe;
use super::rtp::Rtp;
use super::siac::Siac;
use super::traits::{Protocol, SequenceWidth};

/// A name that no protocol has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no feed protocol `{name}`; known are {}", AnyProtocol::names().collect::<Vec<_>>().join(", "))]
#[non_exhaustive]
pub struct UnknownProtocol {
    /// What was asked for.
    pub name: String,
}

macro_rules! protocols {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// Any of the protocols, chosen at run time.
        ///
        /// ```
        /// use receiver_feed::protocol::{AnyProtocol, Protocol};
        ///
        /// let protocol: AnyProtocol = "moldudp64".parse()?;
        /// assert_eq!(protocol.name(), "moldudp64");
        /// # Ok::<(), receiver_feed::protocol::UnknownProtocol>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum AnyProtocol {
            $($(#[$doc])* $variant($variant),)*
        }

        $(impl From<$variant> for AnyProtocol {
            fn from(protocol: $variant) -> Self {
                Self::$variant(protocol)
            }
        })*

        impl AnyProtocol {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant($variant),)*];

            #[inline]
            fn inner(&self) -> &(dyn Protocol + Send + Sync) {
                match self { $(Self::$variant(protocol) => protocol,)* }
            }
        }

        impl Protocol for AnyProtocol {
            #[inline]
            fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
                match self { $(Self::$variant(protocol) => protocol.parse(datagram),)* }
            }

            fn name(&self) -> &'static str {
                self.inner().name()
            }

            #[inline]
            fn width(&self) -> SequenceWidth {
                match self { $(Self::$variant(protocol) => protocol.width(),)* }
            }

            fn sessions_succeed(&self) -> bool {
                self.inner().sessions_succeed()
            }

            fn stream_name(&self, stream: StreamKey) -> String {
                self.inner().stream_name(stream)
            }
        }
    };
}

protocols! {
    /// MoldUDP64.
    MoldUdp64,
    /// CME MDP 3.0.
    CmeMdp3,
    /// Cboe multicast PITCH.
    CboePitch,
    /// NYSE Pillar (XDP).
    NysePillar,
    /// IEX-TP.
    IexTp,
    /// Eurex T7 EOBI.
    EurexEobi,
    /// OPRA.
    Opra,
    /// SIAC CQS and CTS.
    Siac,
    /// MEMX MEMO-UDP.
    Memx,
    /// HKEX OMD.
    HkexOmd,
    /// RTP.
    Rtp,
    /// MPEG-TS, plain or in RTP.
    MpegTs,
    /// The probe of `receiver send`.
    Probe,
}

impl AnyProtocol {
    /// The names of all, in the order of [`AnyProtocol::ALL`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(Protocol::name)
    }
}

impl FromStr for AnyProtocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        let found = Self::ALL.iter().find(|protocol| protocol.name() == name);
        found.copied().ok_or_else(|| UnknownProtocol { name: name.to_owned() })
    }
}

impl fmt::Display for AnyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
