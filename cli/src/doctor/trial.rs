//! Tries the modes with XDP one after another and undoes each, and looks at the carrier before and after.

use std::thread::sleep;
use std::time::{Duration, Instant};

use receiver::{Error, ReceiveMode, Receiver, Refused};
use receiver_host::{Capability, Lack, LinkState};

use super::target::Target;

/// The modes with XDP, fastest first.
pub const MODES: [ReceiveMode; 4] =
    [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic];
/// How long a link may take to come back.
const CARRIER_WAIT: Duration = Duration::from_secs(10);

/// What trying the modes has shown.
#[derive(Clone, Debug)]
pub enum Trial {
    /// They were not tried, for this reason.
    NotTried(String),
    /// They were tried.
    Tried(Tried),
}

/// The modes, and what became of the link.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// The modes that are available.
    pub available: Vec<ReceiveMode>,
    /// The others.
    pub refused: Vec<Refused>,
    /// How often the link lost its carrier meanwhile.
    pub carrier_downs: u32,
    /// True if the link has its carrier again.
    pub has_carrier: bool,
    /// True if a program stayed on the interface.
    pub is_left_behind: bool,
}

/// Returns true if the process lacks more than CAP_NET_RAW, without which the modes with mapped rings work.
fn is_for_no_mode(error: &Error) -> bool {
    let raw_alone = Lack::Capabilities(vec![Capability::NetRaw]);
    matches!(error, Error::NotPermitted { lack, .. } if *lack != raw_alone)
}

impl Trial {
    /// Tries each mode.
    pub fn run(target: &Target) -> Self {
        let name = target.name();
        if let Some(holder) = &target.holder {
            return Self::NotTried(format!("{name} has an XDP program already: {holder}"));
        }
        if !target.probe {
            return Self::NotTried("--no-probe leaves it out".to_owned());
        }
        if !target.interface.up || target.interface.loopback {
            return Self::NotTried(format!("{name} is not up"));
        }
        let state = || LinkState::read(target.interface.index).ok().flatten();
        let before = state();
        let mut tried = Tried::default();
        for mode in MODES {
            let built = Receiver::builder(name).mode(mode).vlan(target.vlan).queues(target.queues.clone()).build();
            match built {
                Err(error) if mode == ReceiveMode::ZeroCopy && is_for_no_mode(&error) => {
                    return Self::NotTried(error.to_string());
                }
                Err(error) => tried.refused.push(Refused { mode, reason: error.to_string() }),
                Ok(receiver) => {
                    let _ = receiver.handle().shutdown();
                    tried.available.push(mode);
                }
            }
        }
        let deadline = Instant::now() + CARRIER_WAIT;
        let had_carrier = before.as_ref().is_some_and(|state| state.interface.carrier);
        let mut after = state();
        while had_carrier && !after.as_ref().is_some_and(|state| state.interface.carrier) && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
            after = state();
        }
        let downs = |state: &Option<LinkState>| state.as_ref().and_then(|state| state.carrier_downs).unwrap_or(0);
        tried.carrier_downs = downs(&after).wrapping_sub(downs(&before));
        tried.has_carrier = !had_carrier || after.as_ref().is_some_and(|state| state.interface.carrier);
        tried.is_left_behind = after.is_some_and(|state| !state.xdp_programs.is_empty());
        Self::Tried(tried)
    }

    /// Returns true if the mode was tried and is available.
    pub fn has(&self, mode: ReceiveMode) -> bool {
        match self {
            Self::NotTried(_) => false,
            Self::Tried(tried) => tried.available.contains(&mode),
        }
    }
}
