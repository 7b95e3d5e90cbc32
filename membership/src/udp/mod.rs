//! The kernel path: datagrams from the kernel's UDP sockets, which hold the memberships.
//!
//! It has no thread and no runtime of its own. [`KernelPath::poll`] waits and delivers; [`AsFd`] gives the epoll
//! descriptor for a runtime to wait on. Nothing is allocated per datagram.
//!
//! Up to four sockets are read one after another, and are in the epoll only while somebody may sleep on it: a watched
//! socket costs the kernel a call for each datagram that it queues, on the CPU that receives. If there are more
//! sockets, all are always in the epoll.

mod batch;
mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

pub(crate) use socket::wildcard;
pub use socket::{OpenError, SocketId, SocketOptions, UdpDataSocket};

/// Batches taken from one socket before the others are looked at again: a full socket costs one `epoll_wait` in this
/// many `recvmmsg`, and delays the others by no more than this many batches.
const STAY: usize = 16;
/// Sockets that one `epoll_wait` reports.
const EVENTS: usize = 64;
/// Up to this many sockets are read one by one.
const FEW: usize = 4;
/// After this many polls without a sleep, a few sockets are taken out of the epoll. Before, a caller that sleeps now
/// and then is spared two system calls each time.
const AWAKE_POLLS: u32 = 64;

/// What measured a receive time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeOrigin {
    /// The kernel, when the packet came in (`SO_TIMESTAMPNS`).
    Kernel,
    /// This process, when it took the batch with the datagram.
    UserSpace,
}

/// When a datagram was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveTime {
    /// Nanoseconds since 1970 by `CLOCK_REALTIME`.
    pub nanoseconds: u64,
    /// What measured it.
    pub origin: TimeOrigin,
}

/// One datagram of the kernel path, lent to the callback.
#[derive(Clone, Copy, Debug)]
pub struct KernelDatagram<'a> {
    /// The socket that received it.
    pub socket: SocketId,
    /// The sender's address and port.
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

/// What the kernel path counted since it was made. `received` is always the sum of `delivered`, `truncated`,
/// `foreign_interface`, `not_multicast`, `unidentified` and `left_behind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelStats {
    /// Datagrams that the kernel handed over.
    pub received: u64,
    /// Datagrams that the callback received.
    pub delivered: u64,
    /// Bytes of payload in them.
    pub delivered_bytes: u64,
    /// Refused: longer than the largest possible UDP datagram, and therefore truncated by the kernel.
    pub truncated: u64,
    /// Refused: received by another interface.
    pub foreign_interface: u64,
    /// Refused: sent to a unicast address (wildcard sockets only).
    pub not_multicast: u64,
    /// Refused: without source or destination address.
    pub unidentified: u64,
    /// Still queued on a socket when it was removed.
    pub left_behind: u64,
    /// Dropped by the kernel before the socket's queue, because the buffer was full or a checksum was wrong; those of
    /// removed sockets included.
    pub drops: u64,
    /// Calls of `recvmmsg` that failed for another reason than an empty queue.
    pub receive_errors: u64,
    /// Calls of `recvmmsg` that returned datagrams.
    pub batches: u64,
}

/// Receives from any number of [`UdpDataSocket`]s.
///
/// The sockets come from a [`MembershipSet`](crate::MembershipSet) as events: the crate's first example shows it.
pub struct KernelPath {
    epoll: OwnedFd,
    /// By the number of their identity, which the epoll events carry too.
    sockets: BTreeMap<u64, Entry>,
    /// True if the sockets are in the epoll. Either all are or, if there are a few, none.
    watched: bool,
    batch: batch::Batch,
    /// Of many sockets, the one whose last batch was full: it is read first, without epoll.
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
            batch: batch::Batch::new(),
            busy: None,
            polls: 0,
            stats: KernelStats::default(),
        })
    }

    /// Adds a socket. Adding it twice changes nothing.
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

    /// To be called before somebody sleeps on the epoll descriptor: from now on it reports every socket.
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

    /// Takes a few sockets out of the epoll when nobody has slept on it for a while.
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

    /// Removes a socket, whose membership has ended. Its drops stay in the total; datagrams that are still queued on it
    /// are counted as [`KernelStats::left_behind`]. An unknown id changes nothing.
    pub fn remove(&mut self, id: SocketId) {
        let Some(mut entry) = self.sockets.remove(&id.number()) else { return };
        if self.watched {
            // A failure is without effect: epoll forgets a closed socket by itself.
            let _ = epoll::delete(&self.epoll, &*entry.socket);
        }
        while let Ok(count @ 1..) = self.batch.receive(entry.socket.as_fd()) {
            self.stats.received += count as u64;
            self.stats.left_behind += count as u64;
        }
        entry.read_drops(&mut self.stats);
    }

    /// The number of sockets.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Returns true if there is no socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Waits up to `timeout` (`None`: without limit; zero: not at all) for datagrams, and gives those that are there to
    /// `deliver`, at most some thousands from each socket. Returns how many it delivered. A signal ends the wait with
    /// 0.
    ///
    /// # Errors
    /// As `epoll_wait`. A failure of a single socket is counted: see [`KernelStats::receive_errors`].
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
        // A socket whose queue did not run dry is read on at once. The others have their turn after STAY batches.
        let ready = match self.busy.take() {
            Some(number) if self.receive(number, &mut deliver) > 0 => Some(Duration::ZERO),
            _ => timeout,
        };
        for number in self.wait(ready)? {
            if self.busy != Some(number) {
                self.receive(number, &mut deliver);
            }
        }
        Ok((self.stats.delivered - before) as usize)
    }

    /// The counters. `drops` is as of the last [`KernelPath::exact_stats`].
    pub fn stats(&self) -> KernelStats {
        self.stats
    }

    /// The counters, with the drops read from each socket (one system call each), so that those after the last datagram
    /// are included.
    pub fn exact_stats(&mut self) -> KernelStats {
        for entry in self.sockets.values_mut() {
            entry.read_drops(&mut self.stats);
        }
        self.stats
    }

    /// The numbers of the sockets that are ready. Empty after a signal.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (mut numbers, mut count) = ([0; EVENTS], 0);
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((ready, _)) => {
                for (number, event) in numbers.iter_mut().zip(ready) {
                    *number = event.data.u64();
                    count += 1;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(numbers.into_iter().take(count))
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

impl fmt::Debug for KernelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelPath")
            .field("sockets", &self.sockets.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Takes up to `STAY` batches, until one is not full. Returns how many datagrams came, and whether the queue ran
    /// dry.
    fn receive(
        &self,
        batch: &mut batch::Batch,
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
            if count < batch::BATCH {
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

/// Turns the kernel's drop counter, which is cumulative modulo 2³², into a total.
#[derive(Clone, Copy, Debug, Default)]
struct DropCounter {
    last: u32,
}

impl DropCounter {
    /// How many drops are new since the latest value.
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
                // A value from a queued datagram can be older than one that was read meanwhile.
                total += counter.advance((older.max(truth.saturating_sub(late))) as u32);
                prop_assert_eq!(total, truth);
            }
        }
    }
}
