//! The builder of each protocol.

use receiver_feed::protocol::AnyProtocol;

use super::timing::Timing;
use super::traits::Builder;
use super::{
    cboe_pitch, cme_mdp3, eurex_eobi, hkex_omd, iex_tp, memx, moldudp64, mpeg_ts, nyse_pillar, opra, probe, rtp, siac,
};

/// The builder of a protocol, or `None` if it cannot be sent. `messages` is the number of messages of a packet, where
/// it is the same for all, and `is_plain` leaves out RTP where it is around another protocol.
pub(in super::super) fn builder(
    protocol: AnyProtocol,
    timing: Timing,
    messages: Option<u32>,
    is_plain: bool,
) -> Option<Box<dyn Builder>> {
    Some(match protocol {
        AnyProtocol::MoldUdp64(_) => Box::new(moldudp64::Mold),
        AnyProtocol::CmeMdp3(_) => Box::new(cme_mdp3::Cme),
        AnyProtocol::CboePitch(_) => Box::new(cboe_pitch::Pitch),
        AnyProtocol::NysePillar(_) => Box::new(nyse_pillar::Pillar),
        AnyProtocol::IexTp(_) => Box::new(iex_tp::Iex),
        AnyProtocol::EurexEobi(_) => Box::new(eurex_eobi::Eobi),
        AnyProtocol::Opra(_) => Box::new(opra::Opra),
        AnyProtocol::Siac(_) => Box::new(siac::Siac),
        AnyProtocol::Memx(_) => Box::new(memx::Memx),
        AnyProtocol::HkexOmd(_) => Box::new(hkex_omd::Omd),
        AnyProtocol::Rtp(_) => Box::new(rtp::Rtp { timing }),
        AnyProtocol::MpegTs(_) => Box::new(mpeg_ts::MpegTs::new(timing, messages.unwrap_or(7), is_plain)),
        AnyProtocol::Probe(_) => Box::new(probe::Probe),
        _ => return None,
    })
}
