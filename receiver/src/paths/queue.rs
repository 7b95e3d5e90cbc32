//! The path that serves a receive queue. Its type is found once a batch, not once a packet.

use std::os::fd::BorrowedFd;

use crate::api::error::Error;
use crate::paths::af_xdp::AfXdp;
use crate::paths::mapped::Mapped;
use crate::paths::{ReceivePath, Visitor};

/// The path that serves a receive queue.
pub(crate) enum QueuePath {
    /// AF_XDP, in zero-copy, copy or generic mode.
    AfXdp(AfXdp),
    /// A mapped ring.
    Mapped(Mapped),
}

impl QueuePath {
    /// The receive queue's number.
    pub fn queue(&self) -> u32 {
        match self {
            Self::AfXdp(path) => path.queue(),
            Self::Mapped(path) => path.queue(),
        }
    }

    #[inline]
    pub fn visit<V: Visitor>(&mut self, visitor: V) -> V::Output {
        match self {
            Self::AfXdp(path) => visitor.visit(path),
            Self::Mapped(path) => visitor.visit(path),
        }
    }

    /// As [`ReceivePath::prepare_to_wait`].
    pub fn prepare_to_wait(&mut self) -> Result<(), Error> {
        match self {
            Self::AfXdp(path) => path.prepare_to_wait(),
            Self::Mapped(path) => path.prepare_to_wait(),
        }
    }

    /// As [`ReceivePath::fds`].
    pub fn fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        match self {
            Self::AfXdp(path) => path.fds(fds),
            Self::Mapped(path) => path.fds(fds),
        }
    }

    /// As [`ReceivePath::replacements`].
    pub fn replacements(&self) -> u64 {
        match self {
            Self::AfXdp(path) => path.replacements(),
            Self::Mapped(path) => path.replacements(),
        }
    }
}
