//! The receiver in async programs: one owned datagram for each `await`. No thread stands between the ring and the task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle as RuntimeHandle;

use crate::api::datagram::{DeferredDatagram, OwnedDatagram};
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::engine::worker::Worker;

/// Datagrams that are taken from one queue before the next queue is served.
const BATCH: usize = 64;

/// Registers a descriptor with the calling task's runtime. Tokio panics where that has no I/O, and cannot be asked
/// before.
fn register(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, Error> {
    RuntimeHandle::try_current().map_err(|_| Error::NoRuntime { found: "no tokio runtime" })?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that lie about their descriptor; OwnedFd does not"
    )]
    std::panic::catch_unwind(|| AsyncFd::with_interest(fd, Interest::READABLE))
        .map_err(|_| Error::NoRuntime { found: "a tokio runtime without I/O" })?
        .map_err(cannot_register)
}

fn cannot_register(source: std::io::Error) -> Error {
    Error::Wait { doing: "register the sockets with the async runtime", source }
}

/// Receives owned datagrams from all queues of a receiver, in a program on the tokio runtime.
///
/// It is a [`Stream`] as well, for the combinators of `futures` and `tokio-stream`.
///
/// ```no_run
/// # async fn run() -> Result<(), receiver::Error> {
/// use receiver::Receiver;
///
/// let builder = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?);
/// let mut receiver = builder.build()?.into_async()?;
/// while let Some(datagram) = receiver.recv().await? {
///     println!("{}: {} bytes", datagram.source, datagram.payload.len());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a receiver that is dropped stops"]
pub struct AsyncReceiver {
    workers: Vec<Worker>,
    handle: Handle,
    /// Duplicates of what the workers wait on, registered with the runtime.
    watched: Vec<AsyncFd<OwnedFd>>,
    /// How many sockets the workers had replaced when these were registered.
    replacements: u64,
    /// Each with the number of the worker that it came from.
    ready: VecDeque<(usize, DeferredDatagram)>,
    next: usize,
}

impl AsyncReceiver {
    pub(crate) fn new(workers: Vec<Worker>, handle: Handle) -> Result<Self, Error> {
        let mut this = Self { workers, handle, watched: Vec::new(), replacements: 0, ready: VecDeque::new(), next: 0 };
        this.watch()?;
        Ok(this)
    }

    /// Registers what the workers wait on.
    fn watch(&mut self) -> Result<(), Error> {
        self.watched.clear();
        self.replacements = self.workers.iter().map(Worker::replacements).sum();
        for fd in self.workers.iter().flat_map(Worker::fds) {
            self.watched.push(register(fd.try_clone_to_owned().map_err(cannot_register)?)?);
        }
        Ok(())
    }

    /// The handle that steers the receiver.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns the next datagram; `None` once the receiver was shut down and everything that had arrived was returned.
    ///
    /// Cancel-safe: a datagram that was taken and not returned is kept for the next call.
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub async fn recv(&mut self) -> Result<Option<OwnedDatagram>, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<OwnedDatagram>, Error>> {
        loop {
            while let Some((worker, deferred)) = self.ready.pop_front() {
                // The filter may have changed since it was taken out of the ring.
                if let Some(datagram) = self.workers[worker].settle(deferred) {
                    return Poll::Ready(Ok(Some(datagram)));
                }
            }
            // A descriptor becomes readable for new packets only: those that came before are taken before the wait.
            let filled = self.fill(false).and_then(|count| if count > 0 { Ok(count) } else { self.fill(true) });
            match filled {
                Ok(0) => ready!(self.poll_readable(context))?,
                Ok(_) => {}
                Err(Error::Stopped) => return Poll::Ready(Ok(None)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes a batch from the next worker that has datagrams. Returns how many it took. `thorough`: looks at the
    /// kernel's sockets too, whatever it costs.
    fn fill(&mut self, thorough: bool) -> Result<usize, Error> {
        let mut stopped = 0;
        for _ in 0..self.workers.len() {
            let index = self.next % self.workers.len();
            self.next = index + 1;
            let ready = &mut self.ready;
            let mut count = 0;
            let taken = self.workers[index].poll_now(thorough, |datagram| {
                ready.extend(datagram.defer().map(|deferred| (index, deferred)));
                count += 1;
                if count < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            match taken {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(Error::Stopped) => stopped += 1,
                Err(error) => return Err(error),
            }
        }
        if stopped == self.workers.len() { Err(Error::Stopped) } else { Ok(0) }
    }

    /// Ready if one of the descriptors became readable since it was last found empty.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.workers.iter().map(Worker::replacements).sum::<u64>() != self.replacements {
            // A socket was replaced: the descriptor of the new one is not among the watched ones.
            self.watch()?;
            return Poll::Ready(Ok(()));
        }
        for worker in &mut self.workers {
            worker.prepare_to_wait()?;
        }
        let mut is_ready = false;
        for fd in &self.watched {
            match fd.poll_read_ready(context) {
                Poll::Ready(Ok(mut guard)) => {
                    // Cleared before the rings are read again: what arrives later makes it ready again.
                    guard.clear_ready();
                    is_ready = true;
                }
                Poll::Ready(Err(source)) => {
                    return Poll::Ready(Err(Error::Wait { doing: "wait for packets in the async runtime", source }));
                }
                Poll::Pending => {}
            }
        }
        if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Stream for AsyncReceiver {
    type Item = Result<OwnedDatagram, Error>;

    /// As [`AsyncReceiver::recv`]; the stream ends once the receiver was shut down.
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(context).map(Result::transpose)
    }
}

impl Drop for AsyncReceiver {
    fn drop(&mut self) {
        for (worker, deferred) in self.ready.drain(..) {
            self.workers[worker].abandon(deferred);
        }
    }
}
