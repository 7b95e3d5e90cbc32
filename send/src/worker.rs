//! One thread of the sender: waits until packets are due, writes their headers, and sends each exactly once.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer};
use socket2::Socket;

use crate::error::SendError;
use crate::flow::{Exit, Flow};
use crate::handover::{Stuck, failure, hand_over};
use crate::probe::{PROBE_LEN, now_ns};
use crate::report::FlowSent;
use crate::schedule::{LONGEST_SLEEP, MAX_BEHIND, Schedule};

/// After a delay, packets are sent in bursts of this size until the schedule is met again.
const CATCH_UP_BURST: usize = 256;

/// One thread's flows, and its part of the whole.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) interface: String,
    pub(super) group: IpAddr,
    pub(super) port: u16,
    pub(super) flows: Vec<Flow>,
    /// If one of the flows is raw.
    pub(super) packet_socket: Option<Socket>,
    /// `None`: as fast as possible.
    pub(super) schedule: Option<Schedule>,
    /// Packets to send.
    pub(super) count: Option<u64>,
    /// At a rate: packets that are due within the duration, sent or given up.
    pub(super) due_count: Option<u64>,
    pub(super) duration: Option<Duration>,
    /// UDP payload, bytes.
    pub(super) size: usize,
    /// Bytes of a frame up to the end of its probe header.
    pub(super) frame_len: usize,
    /// True if one of the flows is not raw.
    pub(super) has_sockets: bool,
    pub(super) burst: usize,
    /// The flow whose turn it is.
    pub(super) turn: usize,
    pub(super) retries: u64,
}

/// What one thread did.
#[derive(Debug)]
pub(super) struct WorkerReport {
    pub(super) flows: Vec<FlowSent>,
    /// From the start to the last packet.
    pub(super) elapsed: Duration,
    pub(super) slipped: u64,
    pub(super) retries: u64,
    pub(super) stopped: bool,
}

/// Why a batch was not sent completely.
enum Halt {
    Stopped,
    Failed(IpAddr, io::Error),
}

impl Worker {
    pub(super) fn run(mut self, start: Instant, stop: &dyn Fn(u64) -> bool) -> Result<WorkerReport, SendError> {
        let mut batch = Batch::new(self.size);
        let (mut sent, mut elapsed, mut stopped) = (0, Duration::ZERO, false);
        loop {
            let now = start.elapsed();
            let may = self.may_send(now);
            let left = self.left(sent);
            if left == 0 || self.is_over(now) {
                break;
            }
            if stop(sent) {
                stopped = true;
                break;
            }
            if may == 0 {
                self.sleep(now, left);
                continue;
            }
            let packets = may.min(usize::try_from(left).unwrap_or(usize::MAX));
            let before = sent;
            let result = self.send(packets, &mut batch, &|| stop(before), &mut sent);
            if let Some(schedule) = &mut self.schedule {
                schedule.sent(sent - before);
            }
            if sent > before {
                elapsed = start.elapsed();
            }
            match result {
                Ok(()) => {}
                Err(Halt::Stopped) => {
                    stopped = true;
                    break;
                }
                Err(Halt::Failed(from, source)) => return Err(failure(&self.interface, from, sent, source)),
            }
        }
        Ok(WorkerReport {
            flows: self.flows.iter().map(|flow| flow.report(self.group, self.port)).collect(),
            elapsed,
            slipped: self.schedule.map_or(0, |schedule| schedule.slipped()),
            retries: self.retries,
            stopped,
        })
    }

    /// The number of packets that may still be sent in all.
    fn left(&self, sent: u64) -> u64 {
        let slipped = self.schedule.as_ref().map_or(0, Schedule::slipped);
        let left = self.count.map_or(u64::MAX, |count| count - sent);
        left.min(self.due_count.map_or(u64::MAX, |due| due.saturating_sub(sent + slipped)))
    }

    /// Returns true if the time is over. At a rate, packets that were due in time can still be sent.
    fn is_over(&self, now: Duration) -> bool {
        let grace = if self.schedule.is_some() { MAX_BEHIND } else { Duration::ZERO };
        self.duration.is_some_and(|duration| now >= duration.saturating_add(grace))
    }

    /// The number of packets that may be sent now.
    fn may_send(&mut self, now: Duration) -> usize {
        let Some(schedule) = &mut self.schedule else { return self.burst };
        let due = schedule.due(now);
        usize::try_from(due).unwrap_or(usize::MAX).min(self.burst.max(CATCH_UP_BURST))
    }

    /// Sleeps until a burst is due, or the rest if that is less.
    fn sleep(&self, now: Duration, left: u64) {
        let Some(schedule) = &self.schedule else { return };
        let burst = self.burst.min(usize::try_from(left).unwrap_or(usize::MAX));
        thread::sleep(schedule.next(burst).saturating_sub(now).min(LONGEST_SLEEP));
    }

    /// Sends `packets` packets, the flows taking turns. Those of one socket are sent in one call.
    fn send(&mut self, packets: usize, batch: &mut Batch, stop: &dyn Fn() -> bool, sent: &mut u64) -> Result<(), Halt> {
        let all = self.flows.len();
        let sent_ns = now_ns();
        let (turn, retries) = (self.turn, &mut self.retries);
        self.turn = (turn + packets) % all;
        if self.has_sockets {
            for nth in 0..packets.min(all) {
                let flow = &mut self.flows[(turn + nth) % all];
                let Exit::Socket(socket) = &flow.exit else { continue };
                let of_flow = packets / all + usize::from(nth < packets % all);
                batch.begin(PROBE_LEN);
                for ahead in 0..of_flow {
                    // The header fits, and the time is before the year 2262.
                    let _ = flow.probe(ahead as u64, sent_ns).write_into(batch.head(nth));
                }
                let next = &mut flow.next;
                batch
                    .hand_over(socket.as_fd(), retries, stop, |taken| {
                        *next += taken.len() as u64;
                        *sent += taken.len() as u64;
                    })
                    .map_err(|stuck| halt(stuck, flow.source.ip()))?;
            }
        }
        let Some(socket) = &self.packet_socket else { return Ok(()) };
        batch.begin(self.frame_len);
        for nth in 0..packets {
            let at = (turn + nth) % all;
            let flow = &self.flows[at];
            if let Exit::Raw(template) = &flow.exit {
                template.write(batch.head(at), flow.probe((nth / all) as u64, sent_ns));
            }
        }
        let flows = &mut self.flows;
        let first = batch.owners.first().map_or(IpAddr::from([0; 4]), |&at| flows[at].source.ip());
        batch
            .hand_over(socket.as_fd(), retries, stop, |taken| {
                for &at in taken {
                    flows[at].next += 1;
                }
                *sent += taken.len() as u64;
            })
            .map_err(|stuck| halt(stuck, first))
    }
}

/// The same, now that the source is known.
fn halt(stuck: Stuck, from: IpAddr) -> Halt {
    match stuck {
        Stuck::Stopped => Halt::Stopped,
        Stuck::Failed(errno) => Halt::Failed(from, errno.into()),
    }
}

/// Packets for one socket: their heads one after the other, and the zeros at the end of each.
struct Batch {
    head_len: usize,
    heads: Vec<u8>,
    /// The flow of each, by its index.
    owners: Vec<usize>,
    tail: Box<[u8]>,
}

impl Batch {
    fn new(size: usize) -> Self {
        let tail = vec![0; size.saturating_sub(PROBE_LEN)].into();
        Self { head_len: PROBE_LEN, heads: Vec::new(), owners: Vec::new(), tail }
    }

    fn begin(&mut self, head_len: usize) {
        self.head_len = head_len;
        self.heads.clear();
        self.owners.clear();
    }

    /// Room for the head of one more packet.
    #[inline]
    fn head(&mut self, owner: usize) -> &mut [u8] {
        let at = self.heads.len();
        self.heads.resize(at + self.head_len, 0);
        self.owners.push(owner);
        &mut self.heads[at..]
    }

    /// Sends all, in several calls if the kernel takes only some. `taken` gets the owners of each part.
    fn hand_over(
        &self,
        socket: BorrowedFd<'_>,
        retries: &mut u64,
        stop: &dyn Fn() -> bool,
        mut taken: impl FnMut(&[usize]),
    ) -> Result<(), Stuck> {
        if self.heads.is_empty() {
            return Ok(());
        }
        let parts: Vec<[IoSlice<'_>; 2]> =
            self.heads.chunks_exact(self.head_len).map(|head| [IoSlice::new(head), IoSlice::new(&self.tail)]).collect();
        let used = if self.tail.is_empty() { 1 } else { 2 };
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = parts.iter().map(|_| Default::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> =
            parts.iter().zip(&mut controls).map(|(parts, control)| MMsgHdr::new(&parts[..used], control)).collect();
        hand_over(socket, &mut messages, retries, stop, |from, to| taken(&self.owners[from..to]))
    }
}
