//! The ladder of modes: the XDP program on the interface, an AF_XDP socket on each queue, or a reason for each mode that
//! could not be had. Used at the start, and when an interface comes back under a new index.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use crate::driver;
use crate::error::Error;
use crate::interface::Interface;
use crate::mode::{ModeRequest, ReceiveMode, Refused};
use crate::program::{Attach, Config, Program};
use crate::receiver::Queues;
use crate::xsk::{BindConfig, BindMode, BusyPoll, HugePages, UmemConfig, XskSocket};

/// The shape of each queue's rings and packet memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rings {
    pub ring_size: u32,
    pub frames: u32,
    pub frame_size: u32,
    pub huge_pages: HugePages,
    pub busy_poll: Option<BusyPoll>,
}

impl Default for Rings {
    fn default() -> Self {
        Self { ring_size: 2048, frames: 8192, frame_size: 2048, huge_pages: HugePages::Try, busy_poll: None }
    }
}

/// Receive queues and the sockets bound to them.
pub(crate) type Sockets = Vec<(u32, XskSocket)>;

/// What is asked for.
pub(crate) struct Ladder<'a> {
    pub interface: &'a Interface,
    pub program: &'a Config,
    pub rings: &'a Rings,
}

/// What it came to.
pub(crate) struct Rungs {
    pub mode: ReceiveMode,
    pub refused: Vec<Refused>,
    pub program: Option<Program>,
    pub sockets: Sockets,
}

/// A rung that did not hold, and the program if it is still on the interface.
struct Failure {
    error: Error,
    program: Option<Program>,
}

impl Ladder<'_> {
    /// Goes down to the first mode that can be had.
    pub fn climb(&self, asked: ModeRequest, queues: &Queues) -> Result<Rungs, Error> {
        let ladder: &[ReceiveMode] = match &asked {
            ModeRequest::Auto => &ReceiveMode::LADDER,
            ModeRequest::Exactly(mode) => std::slice::from_ref(mode),
        };
        let mut refused = Vec::new();
        let mut attached: Option<(Attach, Program)> = None;
        for &mode in ladder {
            let Some(attach) = attach_for(mode) else {
                return Ok(Rungs { mode, refused, program: None, sockets: Vec::new() });
            };
            let queues = self.queue_numbers(queues)?;
            let opened = self.attach(attach, attached.take()).and_then(|program| self.bind_to(mode, &queues, program));
            match opened {
                Ok((program, sockets)) => {
                    for limit in driver::silent(self.interface.driver.as_deref()) {
                        tracing::info!("{}: {limit}", self.interface.name);
                    }
                    return Ok(Rungs { mode, refused, program: Some(program), sockets });
                }
                Err(failure) => {
                    let Failure { error, program } = *failure;
                    if asked != ModeRequest::Auto || !is_next_worth_a_try(&error) {
                        return Err(named(mode, self.interface, error));
                    }
                    tracing::debug!("mode {mode}: {error}");
                    refused.push(Refused { mode, reason: error.to_string() });
                    attached = program.map(|program| (attach, program));
                }
            }
        }
        // Mode `socket` ends the ladder of `auto`; a mode by name has returned above.
        Err(Error::ModeUnavailable {
            mode: ReceiveMode::Socket,
            name: self.interface.name.clone(),
            reason: "no mode was asked for".into(),
        })
    }

    /// Binds a socket to each queue and hands it to the program.
    pub fn bind(&self, mode: ReceiveMode, queues: &[u32], program: &mut Program) -> Result<Sockets, Error> {
        let bind_mode = match mode {
            ReceiveMode::ZeroCopy => BindMode::ZeroCopy,
            _ => BindMode::Copy,
        };
        let mut sockets = Vec::with_capacity(queues.len());
        for &queue in queues {
            let mut config = BindConfig::new(self.interface.index, &self.interface.name, queue, bind_mode)
                .with_rx_ring_size(self.rings.ring_size);
            config.umem = UmemConfig {
                frame_count: self.rings.frames,
                frame_size: self.rings.frame_size,
                headroom: 0,
                huge_pages: self.rings.huge_pages,
            };
            config.busy_poll = self.rings.busy_poll;
            let socket = XskSocket::bind(&config);
            let driver = self.interface.driver.as_deref();
            sockets.push((queue, socket.map_err(|error| error.of_driver(driver))?));
        }
        for (queue, socket) in &sockets {
            program.set_socket(*queue, socket.as_fd())?;
        }
        Ok(sockets)
    }

    fn bind_to(
        &self,
        mode: ReceiveMode,
        queues: &[u32],
        mut program: Program,
    ) -> Result<(Program, Sockets), Box<Failure>> {
        match self.bind(mode, queues, &mut program) {
            Ok(sockets) => Ok((program, sockets)),
            Err(error) => Err(Box::new(Failure { error, program: Some(program) })),
        }
    }

    /// The program on the interface: the one that is there already, if it sits where this mode wants it.
    fn attach(&self, attach: Attach, attached: Option<(Attach, Program)>) -> Result<Program, Box<Failure>> {
        match attached {
            Some((there, program)) if there == attach => return Ok(program),
            other => drop(other),
        }
        let load = || {
            let mut program = Program::load(self.interface, self.program)?;
            program.attach(self.interface, attach).map_err(|error| explained(error, attach, self.interface))?;
            Ok(program)
        };
        load().map_err(|error| Box::new(Failure { error, program: None }))
    }

    fn queue_numbers(&self, queues: &Queues) -> Result<Vec<u32>, Error> {
        let numbers: Vec<u32> = match queues {
            Queues::All => (0..self.interface.queues).collect(),
            Queues::First(count) => (0..*count).collect(),
            Queues::These(numbers) => numbers.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        };
        if numbers.is_empty() {
            let reason = "at least one queue must be served";
            return Err(Error::Option { option: "queues", value: "none".into(), reason });
        }
        let available = self.interface.queues;
        match numbers.iter().find(|&&queue| queue >= available.min(receiver_common::MAX_QUEUES)) {
            Some(&asked) => Err(Error::NoSuchQueue { name: self.interface.name.clone(), asked, available }),
            None => Ok(numbers),
        }
    }
}

/// Where the program sits in a mode; `None` in mode `socket`.
pub(crate) fn attach_for(mode: ReceiveMode) -> Option<Attach> {
    match mode {
        ReceiveMode::ZeroCopy | ReceiveMode::Copy => Some(Attach::Native),
        ReceiveMode::Generic => Some(Attach::Generic),
        ReceiveMode::Socket => None,
    }
}

/// Adds what is known of a driver that refuses the program.
fn explained(error: Error, attach: Attach, interface: &Interface) -> Error {
    match (error, attach, driver::attach(interface.driver.as_deref())) {
        (Error::Program { name, doing, reason }, Attach::Native, Some(limit)) => {
            Error::Program { name, doing, reason: format!("{reason} ({limit})") }
        }
        (error, ..) => error,
    }
}

/// A program that is not ours would go on deciding about our packets: nobody wants to find that out at night.
fn is_next_worth_a_try(error: &Error) -> bool {
    !matches!(error, Error::XdpOccupied { .. })
}

/// An error of a mode that was asked for by name says so, where it does not speak for itself.
fn named(mode: ReceiveMode, interface: &Interface, error: Error) -> Error {
    match error {
        Error::Xsk(ref reason) if reason.is_mode_unsupported() => {
            Error::ModeUnavailable { mode, name: interface.name.clone(), reason: reason.to_string() }
        }
        other => other,
    }
}
