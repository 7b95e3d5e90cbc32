//! A running receiver.

use crate::api::datagram::Datagram;
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::engine::worker::{Wait, Worker};

/// A running receiver: its workers, and a handle that steers it. Dropping it leaves all groups and takes the XDP program
/// off the interface.
#[must_use = "a receiver that is dropped stops"]
pub struct Receiver {
    workers: Vec<Worker>,
    handle: Handle,
    next: usize,
}

impl Receiver {
    pub(crate) fn new(workers: Vec<Worker>, handle: Handle) -> Self {
        Self { workers, handle, next: 0 }
    }

    /// A handle that steers this receiver from elsewhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Receives from all queues in turn, on this thread. For speed give each queue a thread: [`Receiver::into_workers`].
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        crate::engine::worker::poll_all(&mut self.workers, &mut self.next, wait, |datagram| {
            consumer(datagram);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// The workers, one for each queue (one alone in mode `socket`), to be driven by a thread each. The receiver shuts
    /// down when the last of them is dropped.
    pub fn into_workers(self) -> Vec<Worker> {
        self.workers
    }

    /// Receives owned datagrams in an async program. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] outside of a tokio runtime with I/O; [`Error::Wait`] when the runtime cannot watch the sockets.
    #[cfg(feature = "tokio")]
    pub fn into_async(self) -> Result<crate::AsyncReceiver, Error> {
        crate::AsyncReceiver::new(self.workers, self.handle)
    }
}
