//! The kernel path: datagrams that the kernel's UDP sockets give. It carries what XDP passes on (fragments, frames for
//! a queue without a socket), and it is the whole receiver in mode `socket`.
//!
//! No thread and no runtime of its own: [`KernelPath::poll`] waits and delivers, [`AsFd`] gives the epoll for a runtime
//! to wait on. Nothing is allocated per datagram.
//!
//! A few sockets are read one after another, and stand in the epoll only while somebody may sleep at it: a socket that
//! is watched costs the kernel a call for each datagram that it queues, on the CPU that receives. Many are always in it.

mod socket;
mod sys;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

pub(crate) use socket::wildcard;
pub use socket::{OpenError, SocketId, SocketOptions, UdpDataSocket};
pub(crate) use sys::{get_option, set_option};

/// Batches taken from one socket before the others are looked at again: a full socket costs one `epoll_wait` in this
/// many `recvmmsg`, and delays the others by no more than so many batches.
const STAY: usize = 16;
/// Sockets that one `epoll_wait` tells of.
const EVENTS: usize = 64;
/// Up to so many sockets are asked one by one.
const FEW: usize = 4;
/// After so many polls without a sleep, a few sockets are no longer watched: two system calls that sleepers are spared.
const AWAKE_POLLS: u32 = 64;

/// Who measured a receive time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeOrigin {
    /// The kernel, when the packet came in (`SO_TIMESTAMPNS`).
    Kernel,
    /// This process, when it took the batch that the datagram was in.
    UserSpace,
}

/// When a datagram was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveTime {
    /// Nanoseconds since 1970 by `CLOCK_REALTIME`.
    pub nanoseconds: u64,
    /// Who measured it.
    pub origin: TimeOrigin,
}

/// One datagram of the kernel path. Borrowed: it is gone when the callback returns.
#[derive(Clone, Copy, Debug)]
pub struct KernelDatagram<'a> {
    /// The socket it came by.
    pub socket: SocketId,
    /// Who sent it, address and port.
    pub source: SocketAddr,
    /// The group it was sent to.
    pub group: IpAddr,
    /// The UDP port it was sent to.
    pub port: u16,
    /// The interface it came in by.
    pub interface_index: u32,
    /// The UDP payload, whole.
    pub payload: &'a [u8],
    /// When it was received.
    pub received: ReceiveTime,
}

/// What the kernel path counted since it was made. `received` is what the kernel gave; it is always the sum of
/// `delivered`, the four kinds of refusal, and `left_behind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Datagrams that the kernel handed out.
    pub received: u64,
    /// Datagrams that the callback got.
    pub delivered: u64,
    /// Bytes of payload in them.
    pub delivered_bytes: u64,
    /// Refused: longer than the largest UDP datagram there can be, so cut by the kernel.
    pub truncated: u64,
    /// Refused: came in by another interface.
    pub foreign_interface: u64,
    /// Refused: sent to a unicast address (wildcard sockets only).
    pub not_multicast: u64,
    /// Refused: without source or destination address.
    pub unidentified: u64,
    /// Still queued on a socket when it was removed.
    pub left_behind: u64,
    /// Dropped by the kernel before the socket's queue, for want of buffer or for a wrong checksum; those of removed
    /// sockets included.
    pub drops: u64,
    /// Calls of `recvmmsg` that failed for another reason than "nothing there".
    pub receive_errors: u64,
    /// Calls of `recvmmsg` that gave something.
    pub batches: u64,
}

/// Receives from any number of [`UdpDataSocket`]s.
pub struct KernelPath {
    epoll: OwnedFd,
    /// By the number of their identity, which is what epoll tells too.
    sockets: BTreeMap<u64, Entry>,
    /// Are the sockets in the epoll? Only a few can be out of it, and then all are.
    watched: bool,
    batch: sys::Batch,
    events: sys::Events,
    /// Of many, the socket whose last batch was full: it is asked first, without epoll.
    busy: Option<u64>,
    /// Polls since somebody last got ready to sleep.
    polls: u32,
    stats: KernelStats,
}

struct Entry {
    socket: Arc<UdpDataSocket>,
    drops: DropCounter,
}

impl KernelPath {
    /// A kernel path without sockets.
    ///
    /// # Errors
    /// As `epoll_create1`: descriptors or memory ran out.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sockets: BTreeMap::new(),
            watched: false,
            batch: sys::Batch::new(),
            events: sys::Events(Vec::with_capacity(EVENTS)),
            busy: None,
            polls: 0,
            stats: KernelStats::default(),
        })
    }

    /// Receives from this socket too. Adding a socket twice changes nothing.
    ///
    /// # Errors
    /// As `epoll_ctl`: `ENOSPC` at `fs.epoll.max_user_watches`.
    pub fn add(&mut self, socket: Arc<UdpDataSocket>) -> io::Result<()> {
        let number = socket.id().number();
        if self.sockets.contains_key(&number) {
            return Ok(());
        }
        if self.sockets.len() >= FEW {
            self.watch()?;
        }
        if self.watched {
            watch(&self.epoll, number, &socket)?;
        }
        self.sockets.insert(number, Entry { socket, drops: DropCounter::default() });
        Ok(())
    }

    /// To be called before somebody sleeps at the epoll: from now on it tells of every socket.
    ///
    /// # Errors
    /// As `epoll_ctl`: `ENOSPC` at `fs.epoll.max_user_watches`.
    pub fn prepare_to_wait(&mut self) -> io::Result<()> {
        self.polls = 0;
        self.watch()
    }

    fn watch(&mut self) -> io::Result<()> {
        if !self.watched {
            for (&number, entry) in &self.sockets {
                watch(&self.epoll, number, &entry.socket)?;
            }
            self.watched = true;
        }
        Ok(())
    }

    /// Takes a few sockets out of the epoll when nobody has slept at it for a while.
    fn unwatch(&mut self) {
        self.polls = self.polls.saturating_add(1);
        if self.watched && self.polls >= AWAKE_POLLS {
            for entry in self.sockets.values() {
                // One that stays in is only slower.
                let _ = epoll::delete(&self.epoll, &*entry.socket);
            }
            self.watched = false;
        }
    }

    /// Lets a socket go. Its drops stay in the total; what is still queued on it is taken and counted as
    /// [`KernelStats::left_behind`], for its membership has ended. An unknown id changes nothing.
    pub fn remove(&mut self, id: SocketId) {
        let Some(mut entry) = self.sockets.remove(&id.number()) else { return };
        if self.watched {
            // Nobody can be told of a failure usefully: epoll forgets a closed socket by itself.
            let _ = epoll::delete(&self.epoll, &*entry.socket);
        }
        while let Ok(count @ 1..) = self.batch.receive(entry.socket.as_fd()) {
            self.stats.received += count as u64;
            self.stats.left_behind += count as u64;
        }
        entry.read_drops(&mut self.stats);
    }

    /// How many sockets it receives from.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Has it no socket at all?
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Waits up to `timeout` (`None`: as long as it takes; zero: not at all) for datagrams, and gives those that are
    /// there to `deliver`, at most some thousands from each socket. Returns how many it delivered. A signal ends the
    /// wait with 0.
    ///
    /// # Errors
    /// As `epoll_wait`. Trouble with a single socket is counted, see [`KernelStats::receive_errors`].
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        mut deliver: impl FnMut(KernelDatagram<'_>),
    ) -> io::Result<usize> {
        let before = self.stats.delivered;
        if self.sockets.len() <= FEW {
            let taken = self.stats.received;
            for entry in self.sockets.values() {
                entry.receive(&mut self.batch, &mut self.stats, &mut deliver);
            }
            if self.stats.received > taken || timeout == Some(Duration::ZERO) {
                self.unwatch();
                return Ok((self.stats.delivered - before) as usize);
            }
            self.prepare_to_wait()?;
        }
        // A socket whose queue did not run dry is read on at once. The others are asked for every time it ran its STAY.
        let ready = match self.busy.take() {
            Some(number) if self.receive(number, &mut deliver) > 0 => Some(Duration::ZERO),
            _ => timeout,
        };
        self.wait(ready)?;
        let mut events = std::mem::take(&mut self.events.0);
        for event in &events {
            let number = event.data.u64();
            if self.busy != Some(number) {
                self.receive(number, &mut deliver);
            }
        }
        events.clear();
        self.events.0 = events;
        Ok((self.stats.delivered - before) as usize)
    }

    /// Delivers all that is queued now, without waiting: at the end, after the last leave. Returns how many.
    ///
    /// # Errors
    /// As [`KernelPath::poll`].
    pub fn drain(&mut self, mut deliver: impl FnMut(KernelDatagram<'_>)) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let received = self.stats.received;
            total += self.poll(Some(Duration::ZERO), &mut deliver)?;
            if self.stats.received == received {
                return Ok(total);
            }
        }
    }

    /// What was counted so far. `drops` is as of the last [`KernelPath::exact_stats`], which asks for it.
    pub fn stats(&self) -> KernelStats {
        self.stats
    }

    /// What was counted so far, with the drops asked of each socket (one system call each), so that those after the
    /// last datagram are in it.
    pub fn exact_stats(&mut self) -> KernelStats {
        for entry in self.sockets.values_mut() {
            entry.read_drops(&mut self.stats);
        }
        self.stats
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        self.events.0.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self, number: u64, deliver: &mut impl FnMut(KernelDatagram<'_>)) -> usize {
        let Some(entry) = self.sockets.get(&number) else { return 0 };
        let (count, dry) = entry.receive(&mut self.batch, &mut self.stats, deliver);
        if !dry {
            self.busy = Some(number);
        }
        count
    }
}

impl Entry {
    /// Takes up to `STAY` batches, until one is not full. Returns how many datagrams came, and whether the queue ran dry.
    fn receive(
        &self,
        batch: &mut sys::Batch,
        stats: &mut KernelStats,
        deliver: &mut impl FnMut(KernelDatagram<'_>),
    ) -> (usize, bool) {
        let socket = &self.socket;
        let mut total = 0;
        for _ in 0..STAY {
            let count = match batch.receive(socket.as_fd()) {
                Ok(0) => return (total, true),
                Ok(count) => count,
                Err(_) => {
                    stats.receive_errors += 1;
                    return (total, true);
                }
            };
            let taken = ReceiveTime { nanoseconds: real_time(), origin: TimeOrigin::UserSpace };
            stats.batches += 1;
            stats.received += count as u64;
            total += count;
            for i in 0..count {
                let message = batch.message(i);
                if message.truncated {
                    stats.truncated += 1;
                    continue;
                }
                let destination = message.destination.or(socket.only_destination());
                let (Some(source), Some((group, interface_index))) = (message.source, destination) else {
                    stats.unidentified += 1;
                    continue;
                };
                if interface_index != socket.interface_index() {
                    stats.foreign_interface += 1;
                    continue;
                }
                if !group.is_multicast() {
                    stats.not_multicast += 1;
                    continue;
                }
                stats.delivered += 1;
                stats.delivered_bytes += message.payload.len() as u64;
                let received = match message.nanoseconds {
                    Some(nanoseconds) => ReceiveTime { nanoseconds, origin: TimeOrigin::Kernel },
                    None => taken,
                };
                deliver(KernelDatagram {
                    socket: socket.id(),
                    source,
                    group,
                    port: socket.port(),
                    interface_index,
                    payload: message.payload,
                    received,
                });
            }
            if count < sys::BATCH {
                return (total, true);
            }
        }
        (total, false)
    }

    fn read_drops(&mut self, stats: &mut KernelStats) {
        match self.socket.drops() {
            Ok(now) => stats.drops += self.drops.advance(now),
            Err(_) => stats.receive_errors += 1,
        }
    }
}

/// Puts a socket into the epoll. One that is in it stays.
fn watch(epoll: &OwnedFd, number: u64, socket: &UdpDataSocket) -> io::Result<()> {
    match epoll::add(epoll, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for KernelPath {
    /// The epoll: readable when a datagram can be had. Level-triggered.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Turns the kernel's drop counter, cumulative modulo 2³², into a total.
#[derive(Clone, Copy, Debug, Default)]
struct DropCounter {
    last: u32,
}

impl DropCounter {
    /// How many are new since the latest value seen.
    fn advance(&mut self, now: u32) -> u64 {
        let ahead = now.wrapping_sub(self.last);
        if ahead > u32::MAX / 2 {
            return 0;
        }
        self.last = now;
        ahead.into()
    }
}

/// Nanoseconds since 1970.
fn real_time() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn drops_wrap_and_do_not_go_back() {
        let mut counter = DropCounter { last: u32::MAX - 1 };
        assert_eq!(counter.advance(2), 4);
        assert_eq!(counter.advance(1), 0, "an older value");
        assert_eq!(counter.advance(2), 0);
        assert_eq!(counter.advance(5), 3);
    }

    proptest! {
        #[test]
        fn drops_are_the_true_total(steps in prop::collection::vec((0_u64..1 << 30, 0_u64..5), 0..60)) {
            let (mut counter, mut truth, mut total) = (DropCounter::default(), 0_u64, 0_u64);
            for (more, late) in steps {
                let older = truth;
                truth += more;
                total += counter.advance(truth as u32);
                // What a queued datagram says may be older than what was asked meanwhile.
                total += counter.advance((older.max(truth.saturating_sub(late))) as u32);
                prop_assert_eq!(total, truth);
            }
        }
    }
}
