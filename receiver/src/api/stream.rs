//! The async face: owned datagrams, one `await` each. No thread stands between the ring and the task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle as RuntimeHandle;

use crate::api::datagram::OwnedDatagram;
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::engine::filter::SubscriptionEntry;
use crate::engine::worker::{Wait, Worker};

/// Datagrams that are taken from one queue before the next has its turn.
const BATCH: usize = 64;

/// Registers a descriptor with the calling task's runtime. Tokio panics where that has no I/O, and cannot be asked before.
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

/// Receives owned datagrams from all queues of a receiver.
pub struct AsyncReceiver {
    workers: Vec<Worker>,
    handle: Handle,
    /// Duplicates of what the workers wait on, registered with the runtime.
    watched: Vec<AsyncFd<OwnedFd>>,
    /// How many sockets the workers had changed when these were registered.
    sockets_before: u64,
    /// With the worker that it came from, and its subscription's counters.
    ready: VecDeque<(usize, Arc<SubscriptionEntry>, OwnedDatagram)>,
    next: usize,
}

impl AsyncReceiver {
    pub(crate) fn new(workers: Vec<Worker>, handle: Handle) -> Result<Self, Error> {
        let mut this =
            Self { workers, handle, watched: Vec::new(), sockets_before: 0, ready: VecDeque::new(), next: 0 };
        this.watch()?;
        Ok(this)
    }

    /// Registers what the workers wait on.
    fn watch(&mut self) -> Result<(), Error> {
        self.watched.clear();
        self.sockets_before = self.workers.iter().map(Worker::sockets_before).sum();
        for fd in self.workers.iter().flat_map(Worker::fds) {
            self.watched.push(register(fd.try_clone_to_owned().map_err(cannot_register)?)?);
        }
        Ok(())
    }

    /// The handle that steers the receiver.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The next datagram; `None` once the receiver was shut down and everything that had come was handed over.
    ///
    /// Cancel-safe: a datagram is taken only when it is returned, or kept for the next call.
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub async fn recv(&mut self) -> Result<Option<OwnedDatagram>, Error> {
        loop {
            while let Some((worker, member, datagram)) = self.ready.pop_front() {
                // The filter may have changed since it was taken out of the ring.
                if self.workers[worker].still_wanted(&datagram, &member) {
                    return Ok(Some(datagram));
                }
            }
            match self.fill() {
                Ok(0) => self.readable().await?,
                Ok(_) => {}
                Err(Error::Stopped) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a batch from the next queue that has something.
    fn fill(&mut self) -> Result<usize, Error> {
        let mut stopped = 0;
        for _ in 0..self.workers.len() {
            let index = self.next % self.workers.len();
            self.next = index + 1;
            let ready = &mut self.ready;
            let mut count = 0;
            let taken = self.workers[index].poll_while(Wait::Never, |datagram| {
                let member = Arc::clone(datagram.member);
                ready.extend(datagram.into_owned().map(|owned| (index, member, owned)));
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

    /// Waits until one of the descriptors became readable since it was last found empty.
    async fn readable(&mut self) -> Result<(), Error> {
        if self.workers.iter().map(Worker::sockets_before).sum::<u64>() != self.sockets_before {
            // A socket took another's place: its descriptor is not among the watched ones.
            self.watch()?;
            return Ok(());
        }
        for worker in &mut self.workers {
            worker.prepare_to_wait()?;
        }
        let watched = &self.watched;
        poll_fn(|context| {
            let mut ready = false;
            for fd in watched {
                match fd.poll_read_ready(context) {
                    Poll::Ready(Ok(mut guard)) => {
                        // Cleared before the rings are looked at again: what comes after makes it ready again.
                        guard.clear_ready();
                        ready = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
        .map_err(|source| Error::Wait { doing: "wait for packets in the async runtime", source })
    }
}
