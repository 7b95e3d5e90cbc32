//! Where the program runs in the kernel, and which of its entries does.

use aya::Ebpf;
use aya::programs::{ProgramError, Xdp};
use receiver_common::names;

use super::operation;
use super::refused::{foreign, refused};
use crate::api::error::Error;

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// In the driver.
    Native,
    /// In the network stack, on socket buffers (SKB mode).
    Generic,
}

/// What the program does with wanted frames whose UDP checksum is partial. In generic mode one may hold several
/// datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialChecksums {
    /// Redirects them as any other.
    Redirect,
    /// Passes them to the kernel, which completes or splits them.
    Pass,
}

/// Which entry of the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// For frames that lie in one buffer. Drivers refuse it where the MTU is larger than that.
    One,
    /// Also for frames over several (section `xdp.frags`, Linux 5.18). Not every driver takes it.
    Several,
}

impl Buffers {
    pub(super) fn entry(self) -> &'static str {
        match self {
            Self::One => names::PROGRAM,
            Self::Several => names::PROGRAM_FRAGS,
        }
    }
}

/// The program's entry as the loader has it.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, interface: &str, buffers: Buffers) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(buffers.entry()).ok_or_else(|| foreign(interface))?;
    program.try_into().map_err(|error: ProgramError| refused(interface, operation::FIND, &error))
}
