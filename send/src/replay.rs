//! Sends frames of a recording, each at its time: an absolute schedule, so that no delay adds up. Frames that are due
//! at once, as after a pause of the machine, go to the kernel in one call.

use std::fmt;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use rustix::thread::set_current_timer_slack;
use serde::Serialize;
use socket2::Socket;

use crate::error::SendError;
use crate::link::Link;
use crate::schedule::LONGEST_SLEEP;
use crate::sender::open_packet_socket;

/// The last part of a wait, in which the thread does not sleep: the kernel wakes a sleeper later than asked.
const SPIN: Duration = Duration::from_micros(80);
/// The pause before a frame is tried again when the device's queue is full.
const FULL_QUEUE: Duration = Duration::from_micros(20);
/// The most frames of one call.
const TOGETHER: usize = 64;
/// A frame that leaves later than this after its time counts as late.
const LATE: Duration = Duration::from_micros(20);

/// Sends complete Ethernet frames on one interface. Needs CAP_NET_RAW.
#[derive(Debug)]
pub struct ReplaySender {
    socket: Socket,
    mac: [u8; 6],
    /// When the schedule began: with the first frame.
    start: Option<Instant>,
    report: ReplayReport,
}

/// What was replayed. Field names are part of the JSON output: they stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The interface.
    pub interface: String,
    /// Frames that the kernel accepted.
    pub packets: u64,
    /// Bytes of these frames, from the Ethernet header on.
    pub bytes: u64,
    /// From the first frame to the last.
    pub elapsed_seconds: f64,
    /// Frames that left more than 20 µs after their time.
    pub late: u64,
    /// How long after its time the latest frame left, in nanoseconds.
    pub latest_nanoseconds: u64,
    /// Frames that are longer than the interface takes.
    pub too_long: u64,
    /// How often the device's queue was full.
    pub retries: u64,
}

impl ReplaySender {
    /// Opens the socket, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The interface cannot send Ethernet frames, or the privilege is missing.
    pub fn new(interface: &str) -> Result<Self, SendError> {
        let link = Link::find(interface)?;
        link.require_carrier()?;
        let why = "replaying frames".to_owned();
        let Some(mac) = link.mac else { return Err(SendError::NotEthernet { interface: link.name, why }) };
        let socket = open_packet_socket(&link, false, &why)?;
        // By default the kernel lets a thread sleep 50 microseconds longer. Where it refuses, frames are late.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        let report = ReplayReport { interface: link.name, ..ReplayReport::default() };
        Ok(Self { socket, mac, start: None, report })
    }

    /// The MAC address of the interface.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends frames, each once it is due, counted from the first frame; at once without a time. The times do not fall.
    /// Returns false if `stop` became true before.
    ///
    /// # Errors
    /// [`SendError::Os`] if the kernel refuses for another reason than a full queue or the frame's length.
    pub fn send_all(&mut self, frames: &[(Option<Duration>, &[u8])], stop: &AtomicBool) -> Result<bool, SendError> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let mut slices = Vec::with_capacity(TOGETHER);
        let mut rest = frames;
        while let Some(&(due, _)) = rest.first() {
            let now = match due {
                Some(due) => match wait(start, due, stop) {
                    Some(now) => now,
                    None => return Ok(false),
                },
                None => Duration::ZERO,
            };
            let is_due = |(due, _): &&(Option<Duration>, &[u8])| due.is_none_or(|due| due <= now);
            let count = rest.iter().take(TOGETHER).take_while(is_due).count();
            let (batch, later) = rest.split_at(count);
            for behind in batch.iter().filter_map(|(due, _)| due.map(|due| now.saturating_sub(due))) {
                self.report.late += u64::from(behind > LATE);
                self.report.latest_nanoseconds = self.report.latest_nanoseconds.max(behind.as_nanos() as u64);
            }
            slices.clear();
            slices.extend(batch.iter().map(|(_, frame)| [IoSlice::new(frame)]));
            if !self.hand_over(&slices, start, stop)? {
                return Ok(false);
            }
            rest = later;
        }
        Ok(true)
    }

    /// Gives frames to the kernel, in several calls if it takes only some. Returns false if `stop` became true before.
    fn hand_over(&mut self, frames: &[[IoSlice<'_>; 1]], start: Instant, stop: &AtomicBool) -> Result<bool, SendError> {
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = frames.iter().map(|_| Default::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> =
            frames.iter().zip(&mut controls).map(|(frame, control)| MMsgHdr::new(frame, control)).collect();
        let mut done = 0;
        while done < frames.len() {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match sendmmsg(self.socket.as_fd(), &mut messages[done..], SendFlags::empty()) {
                Ok(count) => {
                    let bytes = frames[done..done + count].iter().map(|[frame]| frame.len() as u64).sum::<u64>();
                    done += count;
                    self.report.packets += count as u64;
                    self.report.bytes += bytes;
                    self.report.elapsed_seconds = start.elapsed().as_secs_f64();
                }
                Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => {
                    self.report.retries += 1;
                    thread::sleep(FULL_QUEUE);
                }
                Err(Errno::MSGSIZE) => {
                    self.report.too_long += 1;
                    done += 1;
                }
                Err(errno) => {
                    let doing = format!("sending a frame on {}", self.report.interface);
                    return Err(SendError::os(doing)(errno.into()));
                }
            }
        }
        Ok(true)
    }

    /// What was sent so far.
    pub fn report(&self) -> &ReplayReport {
        &self.report
    }
}

/// Waits until a frame is due, and returns the time then, counted from the start. `None` if `stop` became true before.
fn wait(start: Instant, due: Duration, stop: &AtomicBool) -> Option<Duration> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let now = start.elapsed();
        let left = due.saturating_sub(now);
        if left.is_zero() {
            return Some(now);
        }
        match left.checked_sub(SPIN) {
            Some(sleep) => thread::sleep(sleep.min(LONGEST_SLEEP)),
            None => std::hint::spin_loop(),
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, packets, bytes, elapsed_seconds, late, latest_nanoseconds, too_long, .. } = self;
        write!(f, "sent {packets} packets, {bytes} bytes, on {interface} in {elapsed_seconds:.3} s; {late} late")?;
        if *late > 0 {
            write!(f, " by more than 20 µs, the latest by {:.3} ms", *latest_nanoseconds as f64 / 1e6)?;
        }
        if *too_long > 0 {
            write!(f, "; {too_long} not sent: longer than the interface takes")?;
        }
        Ok(())
    }
}
