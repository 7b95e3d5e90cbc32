//! The reader of a tap: frames that the XDP program copied because of their verdict.

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use receiver_common::tap::TapMark;
use receiver_common::{STAMP_SIZE, Verdict};
use receiver_xsk::MappedQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::api::error::Error;
use crate::api::origin::{ReceiveTime, TimeOrigin};
use crate::engine::shared::Shared;
use crate::engine::worker::Wait;
use crate::program::TapRings;

/// Frames that are taken from a ring at a time.
const BATCH: u32 = 256;
/// How long a reader that has found frames lets the next ones gather: it is woken at most that often.
const GATHER: Duration = Duration::from_micros(500);
/// The wait for a frame that the program is copying.
const COPYING: Duration = Duration::from_micros(20);

/// Reads the frames of a tap ([`Builder::tap`](crate::Builder::tap)), on any thread. Dropping it ends the tap: its
/// frames are then counted as lost ([`TapLedger`](crate::TapLedger)).
///
/// A tap that is read slowly loses frames, which are counted. It never delays the receiver, and it changes no verdict.
///
/// ```no_run
/// # fn main() -> Result<(), receiver::Error> {
/// use receiver::{Error, Receiver, TapConfig, Wait};
///
/// let mut receiver = Receiver::builder("eth1")
///     .subscribe("10.0.0.1@232.1.1.1:5000".parse()?)
///     .tap(TapConfig::default())
///     .build()?;
/// let mut tap = receiver.take_tap().expect("a receiver with a tap");
/// std::thread::spawn(move || -> Result<(), Error> {
///     loop {
///         tap.poll(Wait::Forever, |frame| println!("{} {} bytes", frame.verdict().name(), frame.length()))?;
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[must_use = "a tap that is dropped loses its frames"]
pub struct Tap {
    shared: Arc<Shared>,
    rings: TapRings,
    /// Frames were found since the reader last slept.
    is_busy: bool,
}

/// A frame of a tap.
#[derive(Clone, Copy)]
pub struct TappedFrame<'a> {
    bytes: &'a [u8],
    mark: TapMark,
    verdict: Verdict,
}

impl<'a> TappedFrame<'a> {
    /// The frame from its Ethernet header on, cut to 2,016 bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the frame before it was cut.
    pub fn length(&self) -> usize {
        self.mark.length as usize
    }

    /// What the XDP program decided.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the XDP program ran.
    pub fn time(&self) -> ReceiveTime {
        ReceiveTime { nanoseconds: self.mark.tai_ns, origin: TimeOrigin::Xdp }
    }

    /// The receive queue on which it came.
    pub fn queue(&self) -> u32 {
        self.mark.queue.into()
    }
}

impl fmt::Debug for TappedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TappedFrame").field("mark", &self.mark).field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

impl TapRings {
    /// Calls `each` with the frames that are there, up to 256 of each ring. Returns their number.
    pub fn take(&mut self, mut each: impl FnMut(TappedFrame<'_>)) -> usize {
        let Self { queues, counters, unknown, .. } = self;
        let mut taken = 0;
        for queue in queues.iter_mut() {
            queue.receive(BATCH, |mut received| {
                let mark = received.metadata::<STAMP_SIZE>().map(|bytes| TapMark::from_bytes(bytes));
                let known = mark.and_then(|mark| Some((mark, *Verdict::ALL.get(usize::from(mark.verdict))?)));
                match known {
                    Some((mark, verdict)) => {
                        taken += 1;
                        each(TappedFrame { bytes: received.bytes(), mark, verdict });
                    }
                    None => *unknown += 1,
                }
                ControlFlow::Continue(())
            });
        }
        let without_content: u64 = queues.iter().map(|queue| queue.refused() + queue.not_copied()).sum();
        counters.taken.fetch_add(taken as u64, Relaxed);
        counters.not_copied.store(without_content + *unknown, Relaxed);
        taken
    }
}

impl Tap {
    pub(crate) fn new(shared: Arc<Shared>, rings: TapRings) -> Self {
        Self { shared, rings, is_busy: false }
    }

    /// Calls `each` with the frames that are there, up to some thousands, and waits for the first one if it may.
    /// Returns the number of frames; 0 when the wait was over or a signal came. Frames of one queue come in order.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the receiver is shut down and everything that came before was taken; [`Error::Wait`] if
    /// the kernel refuses to wait.
    pub fn poll(&mut self, wait: Wait, mut each: impl FnMut(TappedFrame<'_>)) -> Result<usize, Error> {
        // Asked first: everything that came before the stop is taken.
        let stopped = self.shared.is_stopped();
        let count = self.take(&mut each);
        if count > 0 {
            return Ok(count);
        }
        match wait {
            _ if stopped => return Err(Error::Stopped),
            Wait::Never => return Ok(0),
            Wait::For(timeout) => self.sleep(Some(timeout))?,
            Wait::Forever => self.sleep(None)?,
        }
        Ok(self.take(&mut each))
    }

    fn take(&mut self, each: &mut impl FnMut(TappedFrame<'_>)) -> usize {
        let taken = self.rings.take(each);
        self.is_busy |= taken > 0;
        taken
    }

    /// Sleeps until a frame comes, or the receiver is shut down.
    fn sleep(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        if std::mem::take(&mut self.is_busy) {
            std::thread::sleep(timeout.map_or(GATHER, |timeout| timeout.min(GATHER)));
            return Ok(());
        }
        let TapRings { queues, waker, .. } = &mut self.rings;
        waker.drain();
        let result = if queues.iter_mut().all(MappedQueue::sleep) {
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let fds = [waker.as_fd(), self.shared.stop_fd()];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => Ok(()),
                Err(errno) => Err(Error::Wait { doing: "wait for frames of the tap", source: errno.into() }),
            }
        } else {
            std::thread::sleep(COPYING);
            Ok(())
        };
        for queue in queues {
            queue.wake();
        }
        result
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("rings", &self.rings.queues.len()).finish_non_exhaustive()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let TapRings { queues, counters, .. } = &mut self.rings;
        queues.iter().for_each(|queue| queue.monitor().close());
        let mut left = 0;
        for queue in queues.iter_mut() {
            queue.receive(u32::MAX, |_| {
                left += 1;
                ControlFlow::Continue(())
            });
        }
        counters.abandoned.fetch_add(left, Relaxed);
    }
}
