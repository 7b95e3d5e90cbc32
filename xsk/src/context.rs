//! The description of a socket for its errors.

use super::config::BindMode;
use super::errno::Errno;
use super::error::{Call, Cause, Error};

/// The socket that an error names.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) interface: String,
    pub(super) queue: u32,
    pub(super) mode: BindMode,
    pub(super) multi_buffer: Option<u32>,
}

impl Context {
    /// Names the call that failed, by the error of rustix.
    pub(super) fn check<T>(&self, call: Call, result: rustix::io::Result<T>) -> Result<T, Error> {
        self.check_own(call, result.map_err(Errno::of))
    }

    /// Names the call that failed.
    pub(super) fn check_own<T>(&self, call: Call, result: Result<T, Errno>) -> Result<T, Error> {
        result.map_err(|errno| self.system(call, errno))
    }

    pub(super) fn system(&self, call: Call, errno: Errno) -> Error {
        self.error(Cause::System { call, errno })
    }

    pub(super) fn error(&self, cause: Cause) -> Error {
        Error {
            interface: self.interface.clone(),
            queue: self.queue,
            mode: self.mode,
            multi_buffer: self.multi_buffer,
            cause,
            known: None,
        }
    }
}
