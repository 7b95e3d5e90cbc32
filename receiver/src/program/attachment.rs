//! The program on its interface: attach, detach, and the sockets that it redirects frames to.

use std::os::fd::{AsRawFd, BorrowedFd};

use aya::programs::{ProgramError, XdpMode};
use receiver_host::os_error;

use super::entry::{Attach, Buffers, xdp};
use super::loaded::Program;
use super::operation;
use super::refused::{occupied, refused};
use crate::api::error::Error;
use receiver_host::Interface;

impl Program {
    /// Selects the entry for frames over one or several buffers, from the next attach on. To be called while detached.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Program`] with the verifier's or loader's reason: the entry stays what it was.
    pub fn set_buffers(&mut self, buffers: Buffers) -> Result<(), Error> {
        let program = xdp(&mut self.ebpf, &self.interface, buffers)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
            Err(error) => return Err(refused(&self.interface, operation::LOAD, &error)),
        }
        self.buffers = buffers;
        Ok(())
    }

    /// The entry that is attached, or will be.
    pub fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// Attaches to the interface. No frame is redirected before [`Program::set_socket`].
    ///
    /// # Errors
    /// [`Error::XdpOccupied`] if another program is attached, [`Error::NotPermitted`], [`Error::Program`].
    pub fn attach(&mut self, interface: &Interface, attach: Attach) -> Result<(), Error> {
        // Asked first, since the kernel's answers for "occupied" differ by mode, and aya would try netlink, which
        // replaces.
        if let Some(program) = interface.xdp_program {
            return Err(occupied(&interface.name, program));
        }
        let mode = match attach {
            Attach::Native => XdpMode::Driver,
            Attach::Generic => XdpMode::Skb,
        };
        let link = xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .attach_to_if_index(interface.index, mode)
            .map_err(|error| {
                match os_error(&error) {
                    // Another program was attached since the interface was read.
                    Some(libc::EBUSY | libc::EEXIST) => match Interface::lookup(&interface.name) {
                        Ok(Interface { xdp_program: Some(program), name, .. }) => occupied(&name, program),
                        _ => refused(&interface.name, operation::ATTACH, &error),
                    },
                    _ => refused(&interface.name, operation::ATTACH, &error),
                }
            })?;
        self.link = Some(link);
        Ok(())
    }

    /// The id of the entry that is attached, or will be, as netlink reports it for an interface.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn id(&mut self) -> Result<u32, Error> {
        let info = xdp(&mut self.ebpf, &self.interface, self.buffers)?.info();
        info.map(|info| info.id()).map_err(|error| refused(&self.interface, operation::ASK, &error))
    }

    /// Records the interface's new name.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.interface);
    }

    /// Detaches the program from the interface.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn detach(&mut self) -> Result<(), Error> {
        let Some(link) = self.link.take() else { return Ok(()) };
        xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .detach(link)
            .map_err(|error| refused(&self.interface, operation::DETACH, &error))
    }

    /// Redirects the frames of a queue to an AF_XDP socket that is bound to that queue.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.sockets
            .set(queue, socket.as_raw_fd(), 0)
            .map_err(|error| refused(&self.interface, operation::SET_SOCKET, &error))
    }

    /// Stops the redirection for a queue: its wanted frames pass to the kernel from now on.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unset_socket(&mut self, queue: u32) -> Result<(), Error> {
        match self.sockets.unset(queue) {
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
            other => other.map_err(|error| refused(&self.interface, operation::UNSET_SOCKET, &error)),
        }
    }
}
