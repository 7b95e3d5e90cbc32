//! A running receiver.

use crate::api::datagram::Datagram;
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::api::tap::Tap;
use crate::engine::worker::{Wait, Worker};

/// A running receiver on one interface. Dropping it leaves all groups and detaches the XDP program.
///
/// [`Receiver::builder`] sets it up. It is driven in one of three ways: by [`Receiver::poll`] on one thread, by a
/// thread for each [`Worker`], or as an [`AsyncReceiver`](crate::AsyncReceiver).
///
/// ```no_run
/// # fn main() -> Result<(), receiver::Error> {
/// use receiver::{Receiver, Wait};
///
/// let receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
/// let handle = receiver.handle();
/// std::thread::scope(|scope| {
///     for mut worker in receiver.into_workers() {
///         scope.spawn(move || {
///             while let Ok(_count) = worker.poll(Wait::Forever, |datagram| {
///                 std::hint::black_box(datagram.payload());
///             }) {}
///         });
///     }
///     std::thread::sleep(std::time::Duration::from_secs(10));
///     handle.shutdown()
/// })
/// # }
/// ```
#[must_use = "a receiver that is dropped stops"]
pub struct Receiver {
    workers: Vec<Worker>,
    handle: Handle,
    next: usize,
    tap: Option<Tap>,
}

impl Receiver {
    pub(crate) fn new(workers: Vec<Worker>, handle: Handle, tap: Option<Tap>) -> Self {
        Self { workers, handle, next: 0, tap }
    }

    /// A handle that steers this receiver from any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Takes the reader of the tap, once; `None` without [`Builder::tap`](crate::Builder::tap). A tap that nobody has
    /// taken ends with this value, or with [`Receiver::into_workers`].
    pub fn take_tap(&mut self) -> Option<Tap> {
        self.tap.take()
    }

    /// Receives from all queues in turn, on this thread. It is faster to give each queue a thread:
    /// [`Receiver::into_workers`].
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        crate::engine::worker::poll_all(&mut self.workers, &mut self.next, wait, |datagram| {
            consumer(datagram);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// Returns the workers, one for each queue (one alone in mode `socket`), to be driven by a thread each. The
    /// receiver shuts down when the last of them is dropped.
    pub fn into_workers(self) -> Vec<Worker> {
        self.workers
    }

    /// Receives owned datagrams in an async program. To be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] outside of a tokio runtime with I/O; [`Error::Wait`] if the runtime cannot watch the
    /// sockets.
    #[cfg(feature = "tokio")]
    pub fn into_async(self) -> Result<crate::AsyncReceiver, Error> {
        crate::AsyncReceiver::new(self.workers, self.handle)
    }
}
