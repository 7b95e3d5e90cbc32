//! Selects the receive mode: attaches the XDP program, opens an AF_XDP socket or a mapped ring for each queue, or gives
//! the reason for each mode that is not available. Used at the start, and when an interface comes back under a new
//! index.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::api::config::ReceiverConfig;
use crate::api::error::Error;
use crate::api::mode::{ModeRequest, ReceiveMode, Refused};
use crate::api::queues::Queues;
use crate::engine::others::holders_of_xdp_sockets;
use crate::program::driver;
use crate::program::{Attach, Buffers, PartialChecksums, Program, Ring, RingShape};
use receiver_common::mapped::{FRAME_SIZE, LARGE_FRAME_SIZE, max_packet};
use receiver_common::wire::{ETHERNET_LEN, VLAN_TAG_LEN};
use receiver_host::{Capability, Interface, Lack, XDP, XDP_PROGRAM};
use receiver_xsk::{self as xsk, BindConfig, BindMode, XskSocket};

/// An Ethernet header and two VLAN tags, in bytes: what the MTU does not count.
const FRAME_AROUND_MTU: u32 = (ETHERNET_LEN + 2 * VLAN_TAG_LEN) as u32;
/// Bytes of a frame that the kernel keeps free before the packet.
const KERNEL_HEADROOM: u32 = 256;
/// The longest frame that every driver takes with a program for single buffers: that of ice. A page less what the
/// kernel needs of it, 3.5 KB, is the limit of most.
const SINGLE_BUFFER: u32 = 3072;

/// The longest frame that is sure to fit one buffer, in bytes.
fn single_buffer(frame_size: u32) -> u32 {
    frame_size.saturating_sub(KERNEL_HEADROOM).min(SINGLE_BUFFER)
}

/// The largest MTU whose packets are sure to fit one buffer.
pub(crate) fn single_buffer_mtu(frame_size: u32) -> u32 {
    single_buffer(frame_size).saturating_sub(FRAME_AROUND_MTU)
}

/// The largest MTU whose packets fit a frame of a mapped ring.
pub(crate) fn ring_mtu(frame_size: usize) -> u32 {
    max_packet(frame_size) as u32 - FRAME_AROUND_MTU
}

/// Bytes of a frame of the mapped rings: the smaller size that holds the packets of an MTU, or else the larger one.
pub(crate) fn ring_frame_size(mtu: u32) -> usize {
    if mtu > ring_mtu(FRAME_SIZE) { LARGE_FRAME_SIZE } else { FRAME_SIZE }
}

/// Receive queues and the sockets bound to them.
pub(crate) type Sockets = Vec<(u32, XskSocket)>;

/// Tries modes on one interface.
pub(crate) struct ModeSelection<'a> {
    pub interface: &'a Interface,
    pub config: &'a ReceiverConfig,
}

/// What was selected.
pub(crate) struct Attached {
    pub mode: ReceiveMode,
    /// The faster modes that are not available.
    pub refused: Vec<Refused>,
    pub program: Option<Program>,
    pub sockets: Sockets,
    /// In place of sockets.
    pub rings: Vec<Ring>,
}

/// A mode that is not available, and the program if it is still on the interface.
struct Failure {
    error: Error,
    program: Option<Program>,
    /// The program was not loaded, for a reason that does not depend on the mode.
    not_loaded: bool,
}

impl ModeSelection<'_> {
    /// Attaches in the first mode that is available.
    pub fn select(&self) -> Result<Attached, Error> {
        let asked = self.config.mode;
        let modes: &[ReceiveMode] = match &asked {
            ModeRequest::Auto if self.config.share => &[ReceiveMode::Mapped],
            ModeRequest::Auto => &ReceiveMode::ALL,
            ModeRequest::Exactly(mode) => std::slice::from_ref(mode),
        };
        let mut refused: Vec<Refused> = Vec::new();
        let mut attached: Option<(Attach, Program)> = None;
        let mut not_loaded = false;
        for &mode in modes {
            let Some(attach) = attach_for(mode) else {
                // A tap needs the program.
                if self.config.require_xdp || self.config.tap.is_some() {
                    break;
                }
                return Ok(Attached { mode, refused, program: None, sockets: Vec::new(), rings: Vec::new() });
            };
            if let (true, Some(before)) = (not_loaded, refused.last()) {
                refused.push(Refused { mode, ..before.clone() });
                continue;
            }
            let queues = self.queue_numbers()?;
            match self.open(mode, attach, &queues, &mut attached) {
                Ok((program, sockets, rings)) => {
                    for limit in driver::silent(self.interface.driver.as_deref()) {
                        tracing::info!("{}: {limit}", self.interface.name);
                    }
                    return Ok(Attached { mode, refused, program: Some(program), sockets, rings });
                }
                Err(failure) => {
                    let Failure { error, program, .. } = *failure;
                    not_loaded = failure.not_loaded;
                    if asked != ModeRequest::Auto || !allows_next_mode(&error) {
                        return Err(named(mode, self.interface, error));
                    }
                    if self.config.share {
                        return Err(self.cannot_share(&error));
                    }
                    tracing::debug!("mode {mode}: {error}");
                    refused.push(Refused { mode, reason: error.to_string() });
                    attached = program.map(|program| (attach, program));
                }
            }
        }
        Err(Error::XdpRequired { name: self.interface.name.clone(), refused })
    }

    /// Binds a socket to each queue. No socket receives before [`publish`].
    pub fn bind(&self, mode: ReceiveMode, queues: &[u32]) -> Result<Sockets, Error> {
        let bind_mode = match mode {
            ReceiveMode::ZeroCopy => BindMode::ZeroCopy,
            _ => BindMode::Copy,
        };
        let mut sockets = Vec::with_capacity(queues.len());
        for &queue in queues {
            let mut config = BindConfig::new(self.interface.index, &self.interface.name, queue, bind_mode)
                .with_rx_ring_size(self.config.ring_size);
            config.umem = self.config.umem();
            config.busy_poll = self.config.busy_poll;
            config.multi_buffer = self.is_multi_buffer().then_some(self.interface.mtu);
            config.multi_buffer_if_possible = true;
            let socket = XskSocket::bind(&config);
            sockets.push((queue, socket.map_err(|error| self.refused_socket(queue, error))?));
        }
        Ok(sockets)
    }

    fn refused_socket(&self, queue: u32, error: xsk::Error) -> Error {
        match error.cause {
            xsk::Cause::System { call: xsk::Call::Bind, errno: xsk::Errno::BUSY } => {
                Error::QueueTaken { name: self.interface.name.clone(), queue, processes: holders_of_xdp_sockets() }
            }
            xsk::Cause::System { errno: xsk::Errno::PERM | xsk::Errno::ACCESS, call: xsk::Call::Socket } => {
                let doing = "opening an AF_XDP socket";
                Error::NotPermitted { doing, name: self.interface.name.clone(), lack: Lack::of(&XDP), needed: &XDP }
            }
            xsk::Cause::System { errno: xsk::Errno::NOBUFS, call: xsk::Call::UmemReg }
                if !Capability::IpcLock.is_held() =>
            {
                let needed = self.config.umem().length();
                Error::LockedMemory {
                    name: self.interface.name.clone(),
                    queue,
                    needed,
                    limit: receiver_host::lock_limit(),
                }
            }
            xsk::Cause::System { call: xsk::Call::Bind, errno } if error.mode == BindMode::ZeroCopy => {
                let errno = Errno::from_raw_os_error(errno.raw_os_error());
                match driver::zero_copy(self.interface.driver.as_deref(), errno) {
                    Some(limit) => error.explained(limit.to_string()).into(),
                    None => error.into(),
                }
            }
            _ => error.into(),
        }
    }

    /// `auto` does not fall back to a mode that shares no packets.
    fn cannot_share(&self, error: &Error) -> Error {
        let reason = match error {
            Error::ModeUnavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        Error::ShareUnavailable { name: self.interface.name.clone(), reason }
    }

    /// Attaches the program, and opens a socket or a mapped ring for each queue. `attached` is the program of the mode
    /// before.
    fn open(
        &self,
        mode: ReceiveMode,
        attach: Attach,
        queues: &[u32],
        attached: &mut Option<(Attach, Program)>,
    ) -> Result<(Program, Sockets, Vec<Ring>), Box<Failure>> {
        let shape = match self.ring_shape(mode, queues) {
            Ok(shape) => shape,
            Err(error) => {
                let program = attached.take().filter(|(there, _)| *there == attach).map(|(_, program)| program);
                return Err(Box::new(Failure { error, program, not_loaded: false }));
            }
        };
        let needed: &[Capability] = if shape.is_some() { &XDP_PROGRAM } else { &XDP };
        let opened = self.attach(attach, shape.as_ref(), attached.take());
        let opened = opened.and_then(|program| self.open_queues(mode, queues, shape.as_ref(), program));
        opened.map_err(|failure| Box::new(Failure { error: needing(failure.error, needed), ..*failure }))
    }

    /// A socket or a mapped ring for each queue.
    fn open_queues(
        &self,
        mode: ReceiveMode,
        queues: &[u32],
        shape: Option<&RingShape>,
        mut program: Program,
    ) -> Result<(Program, Sockets, Vec<Ring>), Box<Failure>> {
        let opened = match shape {
            Some(shape) => program.open_rings(queues, shape).map(|rings| (Vec::new(), rings)),
            None => self
                .bind(mode, queues)
                .and_then(|sockets| publish(&mut program, &sockets).map(|()| (sockets, Vec::new()))),
        };
        match opened {
            Ok((sockets, rings)) => Ok((program, sockets, rings)),
            Err(error) => Err(Box::new(Failure { error, program: Some(program), not_loaded: false })),
        }
    }

    /// The size of the mapped rings; `None` if the queues have AF_XDP sockets in this mode.
    fn ring_shape(&self, mode: ReceiveMode, queues: &[u32]) -> Result<Option<RingShape>, Error> {
        if !self.config.has_rings(mode) {
            return Ok(None);
        }
        let unavailable = |reason: &str| {
            Err(Error::ModeUnavailable { mode, name: self.interface.name.clone(), reason: reason.to_owned() })
        };
        if self.config.busy_poll.is_some() {
            return unavailable(
                "preferred busy polling needs an AF_XDP socket; use it with mode zero-copy, copy or generic",
            );
        }
        let count = queues.len() as u32;
        let [entries, frames] =
            [self.config.ring_size, self.config.queue_frames(mode)].map(|each| each.saturating_mul(count));
        let last = queues.iter().max().copied().unwrap_or(0);
        let frame_size = ring_frame_size(self.interface.mtu);
        Ok(Some(RingShape {
            queues: last + 1,
            slots: self.config.ring_size,
            frames,
            frame_size,
            entries,
            share: self.config.share,
        }))
    }

    /// Attaches the program, or returns the one that is attached already, if it is where this mode needs it.
    fn attach(
        &self,
        attach: Attach,
        shape: Option<&RingShape>,
        attached: Option<(Attach, Program)>,
    ) -> Result<Program, Box<Failure>> {
        match attached {
            Some((there, program)) if there == attach && shape.is_none() && !program.has_rings() => return Ok(program),
            other => drop(other),
        }
        let failed = |not_loaded| move |error| Box::new(Failure { error, program: None, not_loaded });
        let checksums = match attach == Attach::Generic && !self.interface.physical {
            true => PartialChecksums::Pass,
            false => PartialChecksums::Redirect,
        };
        // Without rings the same program is loaded in every mode.
        let mut program =
            Program::load_with(self.interface, self.config, checksums, shape).map_err(failed(shape.is_none()))?;
        self.attach_entry(&mut program, attach).map_err(failed(false))?;
        Ok(program)
    }

    /// Attaches the program: the entry that fits the MTU, or the other one if the driver accepts only that.
    pub fn attach_entry(&self, program: &mut Program, attach: Attach) -> Result<(), Error> {
        let entries = match self.is_multi_buffer() {
            true => [Buffers::Several, Buffers::One],
            // The driver may consider more than this MTU: veth considers that of its peer.
            false => [Buffers::One, Buffers::Several],
        };
        let mut put = |buffers| program.set_buffers(buffers).and_then(|()| program.attach(self.interface, attach));
        let Err(first) = put(entries[0]) else { return Ok(()) };
        if !is_program_refused(&first) {
            return Err(first);
        }
        put(entries[1]).map_err(|second| match is_program_refused(&second) {
            // The first error is about the entry that fits the MTU.
            true => self.explained(first, attach),
            false => second,
        })
    }

    /// Returns true if a packet may need several buffers.
    pub fn is_multi_buffer(&self) -> bool {
        self.interface.mtu.saturating_add(FRAME_AROUND_MTU) > single_buffer(self.config.frame_size)
    }

    /// Adds what is known of the driver and of the MTU to the reason of a refusal.
    fn explained(&self, error: Error, attach: Attach) -> Error {
        let Error::Program { name, doing, mut reason } = error else { return error };
        if let (Attach::Native, Some(limit)) = (attach, driver::attach(self.interface.driver.as_deref())) {
            reason = format!("{reason} ({limit})");
        }
        if self.is_multi_buffer() {
            let (mtu, fits) = (self.interface.mtu, single_buffer_mtu(self.config.frame_size));
            reason = format!(
                "{reason}; packets of its MTU, {mtu}, need several buffers, which the driver's XDP may not support, \
                 nor do kernels before 5.18; lower it (ip link set {name} mtu {fits}), or use mode generic or socket"
            );
        }
        Error::Program { name, doing, reason }
    }

    fn queue_numbers(&self) -> Result<Vec<u32>, Error> {
        let available = self.interface.queues;
        let numbers: Vec<u32> = match &self.config.queues {
            Queues::All => (0..available).collect(),
            &Queues::First(asked) if asked > available => {
                return Err(Error::TooFewQueues { name: self.interface.name.clone(), asked, available });
            }
            Queues::First(count) => (0..*count).collect(),
            Queues::These(numbers) => numbers.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        };
        match numbers.iter().find(|&&queue| queue >= available.min(receiver_common::MAX_QUEUES)) {
            Some(&asked) => Err(Error::NoSuchQueue { name: self.interface.name.clone(), asked, available }),
            None => Ok(numbers),
        }
    }
}

/// Has the program redirect each queue's frames to its socket.
pub(crate) fn publish(program: &mut Program, sockets: &Sockets) -> Result<(), Error> {
    sockets.iter().try_for_each(|(queue, socket)| program.set_socket(*queue, socket.as_fd()))
}

/// Returns true if each socket accepts packets over several buffers.
pub(crate) fn take_several_buffers(sockets: &Sockets) -> bool {
    sockets.iter().all(|(_, socket)| socket.takes_several_buffers())
}

/// Where the program is attached in a mode; `None` in mode `socket`.
pub(crate) fn attach_for(mode: ReceiveMode) -> Option<Attach> {
    match mode {
        ReceiveMode::ZeroCopy | ReceiveMode::Mapped | ReceiveMode::Copy => Some(Attach::Native),
        ReceiveMode::Generic => Some(Attach::Generic),
        ReceiveMode::Socket => None,
    }
}

/// Names what is lacking of all that the mode needs, and not of what the failed step needs.
fn needing(error: Error, all: &'static [Capability]) -> Error {
    match error {
        Error::NotPermitted { doing, name, lack, .. } => {
            let lack = if matches!(lack, Lack::Capabilities(_)) { Lack::of(all) } else { lack };
            Error::NotPermitted { doing, name, lack, needed: all }
        }
        other => other,
    }
}

/// Returns true if the program itself was refused: the other entry may be accepted.
fn is_program_refused(error: &Error) -> bool {
    matches!(error, Error::Program { .. } | Error::Verifier { .. })
}

/// Returns false if another XDP program is attached: it would go on to decide about this receiver's packets, unnoticed.
fn allows_next_mode(error: &Error) -> bool {
    !matches!(error, Error::XdpOccupied { .. })
}

/// Names the mode that was asked for in an error that does not name it.
fn named(mode: ReceiveMode, interface: &Interface, error: Error) -> Error {
    match error {
        Error::Xsk(ref reason) if reason.is_mode_unsupported() => {
            Error::ModeUnavailable { mode, name: interface.name.clone(), reason: reason.to_string() }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_buffer_holds_what_fits_a_frame_and_every_driver() {
        assert_eq!((single_buffer(2048), single_buffer(4096)), (1792, 3072));
        assert_eq!((single_buffer_mtu(2048), single_buffer_mtu(4096)), (1770, 3050));
    }

    #[test]
    fn the_mtu_decides_how_large_the_frames_of_a_mapped_ring_are() {
        assert_eq!((ring_mtu(FRAME_SIZE), ring_mtu(LARGE_FRAME_SIZE)), (1994, 10_186));
        assert_eq!([1500, 1994].map(ring_frame_size), [FRAME_SIZE; 2]);
        assert_eq!([1995, 9000, 10_186, 65_535].map(ring_frame_size), [LARGE_FRAME_SIZE; 4]);
    }
}
