//! The XDP program's log of its verdicts: a thread reads the records from the program's ring buffer and logs them to
//! `tracing`, with the verdicts' names. The program drops a record if the buffer is full; the counters of verdicts show
//! how many.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use aya::Ebpf;
use aya_log::EbpfLogger;
use receiver_common::Verdict;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::engine::lock::lock;

/// The log, and the thread that reads it once it is followed. Dropping it ends the thread.
pub(super) struct Trace {
    logger: Arc<Mutex<EbpfLogger<Words>>>,
    logged: Arc<AtomicU64>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Trace {
    /// Opens the log of a program that is not loaded yet.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, Box<dyn std::error::Error>> {
        let logged = Arc::default();
        let logger = EbpfLogger::init_with_logger(ebpf, Words { logged: Arc::clone(&logged) })?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
        Ok(Self { logger: Arc::new(Mutex::new(logger)), logged, stop: Arc::new(stop), thread: None })
    }

    /// Starts the thread, which first logs what is there.
    pub fn follow(&mut self) -> io::Result<()> {
        let (logger, stop) = (Arc::clone(&self.logger), Arc::clone(&self.stop));
        let records = lock(&logger).as_fd().try_clone_to_owned()?;
        let follow = move || follow(&logger, &records, &stop);
        self.thread = Some(std::thread::Builder::new().name("receiver-trace".into()).spawn(follow)?);
        Ok(())
    }

    /// Logs all records that are there. Waits for the thread that does the same, and while records keep coming.
    pub fn flush(&self) {
        lock(&self.logger).flush();
    }

    /// Records that were logged so far.
    pub fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It can only fail if the counter is full; the descriptor is readable then as well.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread.
            let _ = thread.join();
        }
    }
}

/// Logs records as they come.
fn follow(logger: &Mutex<EbpfLogger<Words>>, records: &OwnedFd, stop: &OwnedFd) {
    lock(logger).flush();
    loop {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(records, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return tracing::warn!("the XDP program's verdicts are no longer logged: {errno}"),
        }
        if !fds[0].revents().is_empty() {
            return;
        }
        lock(logger).flush();
    }
}

/// Logs records to `tracing`, and counts them.
struct Words {
    logged: Arc<AtomicU64>,
}

impl log::Log for Words {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.logged.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "receiver::xdp", "{}", named(&record.args().to_string()));
    }

    fn flush(&self) {}
}

/// A record of the program, `queue 0 verdict 3`, with the verdict by its name.
fn named(record: &str) -> Cow<'_, str> {
    let verdict = |number: &str| Verdict::ALL.get(number.parse::<usize>().ok()?).copied();
    match record.split_once(" verdict ").and_then(|(queue, number)| Some((queue, verdict(number)?))) {
        Some((queue, verdict)) => Cow::Owned(format!("{queue}: {}", verdict.name())),
        None => Cow::Borrowed(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_logged_by_its_name() {
        for (number, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(named(&format!("queue 3 verdict {number}")), format!("queue 3: {}", verdict.name()));
        }
        for other in ["queue 3 verdict 4000", "queue 3 verdict", "", "hello"] {
            assert_eq!(named(other), other);
        }
    }
}
