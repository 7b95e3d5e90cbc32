//! The builder of each protocol.

use receiver_feed::protocol::AnyProtocol;

use super::traits::Builder;
use super::{iex_tp, moldudp64, probe};

/// The builder of a protocol, or `None` if it cannot be sent.
pub(in super::super) fn builder(protocol: AnyProtocol) -> Option<Box<dyn Builder>> {
    Some(match protocol {
        AnyProtocol::MoldUdp64(_) => Box::new(moldudp64::Mold),
        AnyProtocol::IexTp(_) => Box::new(iex_tp::Iex),
        AnyProtocol::Probe(_) => Box::new(probe::Probe),
        _ => return None,
    })
}
