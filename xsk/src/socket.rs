//! The AF_XDP socket: its setup in the order that drivers need, and its operation.
#![allow(unsafe_code)]

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{self, Errno};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpUmemReg,
    XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt};

use super::config::{BindConfig, BindMode, BusyPoll};
use super::context::Context;
use super::descriptor::Descriptor;
use super::errno::Errno as OwnErrno;
use super::error::{Call, Cause, Error};
use super::mapping::{Mapping, PageSize};
use super::monitor::Monitor;
use super::queue::{Counters, Queue, Received};
use super::ring::{Consumer, Producer, mapping_length};
use super::statistics::{Statistics, statistics};
use super::umem::Umem;

/// The smallest completion ring that the kernel accepts. It stays empty, since the socket never sends.
const COMPLETION_RING_SIZE: u32 = 2;

/// How long a bind is retried while the queue is in use. The kernel closes sockets asynchronously: the socket of a
/// process that has just ended may keep its queue for some more milliseconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
const BUSY_PAUSE_FIRST: Duration = Duration::from_millis(2);
const BUSY_PAUSE_MOST: Duration = Duration::from_millis(100);

/// A socket that receives from one queue. It receives nothing until it is in the XSKMAP of an XDP program.
///
/// Dropping it closes the socket and unmaps the rings. The packet memory stays mapped until the last
/// [`Lease`](super::Lease) is dropped.
#[derive(Debug)]
pub struct XskSocket {
    // First, so that it is closed before the rings are unmapped.
    fd: OwnedFd,
    queue: Queue,
    zero_copy: bool,
    several_buffers: bool,
    busy_polling: bool,
    context: Context,
}

impl XskSocket {
    /// Opens, sets up and binds a socket. It fills the fill ring before the bind, as some drivers require; in copy mode
    /// up to [a limit](Queue::limit_fill). While the queue is in use, it retries the bind for up to 2 s, so the call
    /// can block that long. It needs CAP_NET_RAW, and CAP_IPC_LOCK or a large enough RLIMIT_MEMLOCK.
    ///
    /// # Errors
    ///
    /// The failed call, its reason and the remedy. [`Error::is_mode_unsupported`] returns true if another mode may
    /// work.
    pub fn bind(config: &BindConfig) -> Result<Self, Error> {
        let context = Context {
            interface: config.interface_name.clone(),
            queue: config.queue,
            mode: config.mode,
            multi_buffer: config.multi_buffer,
        };
        if let Some(fault) = config.fault() {
            return Err(context.error(Cause::Config(fault)));
        }
        let fd = context.check(
            Call::Socket,
            socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None),
        )?;
        let umem = context.check_own(Call::MapUmem, Umem::new(&config.umem))?;
        context.check(Call::UmemReg, register(&fd, &umem, config.umem.headroom))?;
        let mut queue = make_rings(&fd, umem, config, &context)?;
        queue.refill();

        let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP
            | match config.mode {
                BindMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
                BindMode::Copy => SocketAddrXdpFlags::XDP_COPY,
            };
        let bind_with = |flags| bind_patiently(&fd, &SocketAddrXdp::new(flags, config.if_index, config.queue));
        let mut several_buffers = config.gathers();
        let mut bound = match several_buffers {
            true => bind_with(flags | SocketAddrXdpFlags::XDP_USE_SG),
            false => bind_with(flags),
        };
        if bound == Err(Errno::INVAL) && several_buffers && config.multi_buffer.is_none() {
            // Kernels before 6.6 reject the flag like this, before they check anything else.
            several_buffers = false;
            bound = bind_with(flags);
        }
        context.check(Call::Bind, bound)?;
        let zero_copy =
            context.check(Call::Options, sockopt::xdp_options(&fd))?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        if zero_copy != (config.mode == BindMode::ZeroCopy) {
            return Err(context.error(Cause::OtherMode));
        }
        if let Some(busy_poll) = config.busy_poll {
            set_busy_poll(&fd, busy_poll, &context)?;
        }
        Ok(Self { fd, queue, zero_copy, several_buffers, busy_polling: config.busy_poll.is_some(), context })
    }

    /// Takes up to `limit` descriptors from the RX ring (more only to complete a packet in several buffers) and calls
    /// `each` with each packet. If `each` returns `ControlFlow::Break`, the current packet counts as taken, and the
    /// remaining packets stay in the ring. After the batch the method gives free frames to the fill ring, and wakes the
    /// kernel if necessary. Returns the number of descriptors taken, which is 0 if the ring was empty or `limit` is 0.
    ///
    /// If `each` panics, no frame is lost: the current packet counts as taken, and the remaining packets stay in the
    /// ring.
    #[inline]
    pub fn receive(&mut self, limit: usize, each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> usize {
        let taken = self.queue.receive(u32::try_from(limit).unwrap_or(u32::MAX), each);
        self.refill();
        taken as usize
    }

    /// Gives the frames of dropped leases to the kernel, and wakes it if necessary. [`XskSocket::receive`] does this
    /// too; call this method if leases were dropped while nothing was received.
    #[inline]
    pub fn refill(&mut self) {
        self.queue.refill();
        if self.queue.needs_wakeup() {
            self.wake();
        }
    }

    /// Wakes the kernel if necessary, or polls the device once if the socket busy-polls. Call it before a sleep, and in
    /// a busy-polling loop whenever the ring was empty. Returns true if it made a system call; a failed call is counted
    /// ([`Counters::wakeup_failures`]).
    #[inline]
    pub fn wake_if_needed(&mut self) -> bool {
        let needed = self.busy_polling || self.queue.needs_wakeup();
        if needed {
            self.wake();
        }
        needed
    }

    /// Sleeps until there is something to receive, or until `timeout` expires; `None` means no timeout. Returns false
    /// if there is nothing to receive, because the timeout expired or a signal arrived. Refills, and wakes the kernel
    /// if necessary, before it sleeps.
    ///
    /// A socket whose interface is gone sleeps like an idle one, so only a timeout reveals that.
    ///
    /// # Errors
    ///
    /// poll(2) failed, or the socket has a pending error when the timeout expires: `ENETDOWN`, once, if the interface
    /// is gone.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.refill();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(true),
            // The kernel's poll does not report a lost device. The pending error has to be read.
            Ok(_) => self.take_error().map_or(Ok(false), |errno| Err(self.context.system(Call::Poll, errno))),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(self.context.system(Call::Poll, OwnErrno::of(errno))),
        }
    }

    /// Reads and clears the pending error of the socket (`SO_ERROR`): `ENETDOWN` if the interface is gone.
    pub fn take_error(&self) -> Option<OwnErrno> {
        sockopt::socket_error(&self.fd).and_then(|waiting| waiting).err().map(OwnErrno::of)
    }

    /// Returns true if the socket is bound in zero-copy mode, as the kernel reported after the bind.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Returns true if the socket accepts packets in several buffers. Otherwise the kernel drops them.
    pub fn takes_several_buffers(&self) -> bool {
        self.several_buffers
    }

    /// Returns the size of the pages that back the packet memory.
    pub fn page_size(&self) -> PageSize {
        self.queue.umem().page_size()
    }

    /// Returns the number of descriptors in the RX ring that were not taken yet. An acquire load.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.queue.rx().pending()
    }

    /// Returns the kernel's index of the RX ring: the number of descriptors that it has written, modulo 2^32. A packet
    /// has one descriptor for each of its buffers. An acquire load.
    #[inline]
    pub fn producer_position(&self) -> u32 {
        self.queue.rx().peer_position()
    }

    /// Returns this side's index of the RX ring: the number of descriptors taken, modulo 2^32.
    #[inline]
    pub fn consumer_position(&self) -> u32 {
        self.queue.rx().position()
    }

    /// Returns the number of free frames.
    #[inline]
    pub fn free_frames(&self) -> u32 {
        self.queue.umem().free_frames()
    }

    /// Returns the number of frames that the kernel has, in the fill ring, the driver or the RX ring. Reads no shared
    /// memory.
    #[inline]
    pub fn kernel_frames(&self) -> u32 {
        self.queue.umem().kernel_frames()
    }

    /// Returns the number of frames that leases hold.
    #[inline]
    pub fn leased_frames(&self) -> u32 {
        self.queue.umem().leased_frames()
    }

    /// Returns the number of all frames.
    pub fn frame_count(&self) -> u32 {
        self.queue.umem().frame_count()
    }

    /// Reads the kernel's counters of this socket.
    ///
    /// # Errors
    ///
    /// getsockopt(2) failed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        statistics(&self.fd, &self.context)
    }

    /// Makes a monitor, by which another thread reads this socket's counters. The socket stays open until the monitor
    /// is dropped too.
    ///
    /// # Errors
    ///
    /// dup(2) failed, because the process has too many descriptors.
    pub fn monitor(&self) -> Result<Monitor, Error> {
        let fd = self.context.check(Call::Socket, rustix::io::fcntl_dupfd_cloexec(&self.fd, 0))?;
        Ok(Monitor { fd, rx: self.queue.rx().view(), context: self.context.clone() })
    }

    /// Returns the counters of this side of the rings.
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }

    #[cold]
    fn wake(&mut self) {
        // Receiving nothing makes the kernel look at the fill ring, and poll the device of a busy-polling socket.
        let woken = recv(&self.fd, &mut [0_u8; 0][..], RecvFlags::DONTWAIT);
        self.queue.count_wakeup(woken.is_err_and(|errno| errno != Errno::AGAIN));
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for XskSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn register(fd: &OwnedFd, umem: &Umem, headroom: u32) -> io::Result<()> {
    let registration = XdpUmemReg {
        addr: umem.address().as_ptr().expose_provenance() as u64,
        len: u64::from(umem.frame_count()) * u64::from(umem.frame_size()),
        chunk_size: umem.frame_size(),
        headroom,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    // From now on the kernel holds the pages, whether or not they stay mapped. It writes only to frames that the fill
    // ring named.
    sockopt::set_xdp_umem_reg(fd, registration)
}

fn make_rings(fd: &OwnedFd, umem: Umem, config: &BindConfig, context: &Context) -> Result<Queue, Error> {
    let (fill_size, rx_size) = (config.fill_ring_size, config.rx_ring_size);
    context.check(Call::FillRing, sockopt::set_xdp_umem_fill_ring_size(fd, fill_size))?;
    context.check(Call::CompletionRing, sockopt::set_xdp_umem_completion_ring_size(fd, COMPLETION_RING_SIZE))?;
    context.check(Call::RxRing, sockopt::set_xdp_rx_ring_size(fd, rx_size))?;
    let layout = context.check(Call::MmapOffsets, sockopt::xdp_mmap_offsets(fd))?;
    let fill = mapping_length::<u64>(&layout.fr, fill_size)
        .and_then(|length| Mapping::of_fd(fd.as_fd(), length, XDP_UMEM_PGOFF_FILL_RING))
        .and_then(|memory| Producer::of_kernel_ring(memory, &layout.fr, fill_size));
    let rx = mapping_length::<Descriptor>(&layout.rx, rx_size)
        .and_then(|length| Mapping::of_fd(fd.as_fd(), length, XDP_PGOFF_RX_RING))
        .and_then(|memory| Consumer::of_kernel_ring(memory, &layout.rx, rx_size));
    let queue = Queue::new(umem, context.check_own(Call::MapRing, fill)?, context.check_own(Call::MapRing, rx)?);
    let queue = if config.gathers() { queue.gathering() } else { queue };
    Ok(match config.mode {
        BindMode::Copy => queue.limit_fill(),
        BindMode::ZeroCopy => queue,
    })
}

fn bind_patiently(fd: &OwnedFd, address: &SocketAddrXdp) -> io::Result<()> {
    let start = Instant::now();
    let mut pause = BUSY_PAUSE_FIRST;
    loop {
        match bind(fd, address) {
            Err(Errno::BUSY) if start.elapsed() < BUSY_PATIENCE => {
                thread::sleep(pause);
                pause = (pause * 2).min(BUSY_PAUSE_MOST);
            }
            result => return result,
        }
    }
}

fn set_busy_poll(fd: &OwnedFd, wanted: BusyPoll, context: &Context) -> Result<(), Error> {
    let microseconds = libc::c_int::try_from(wanted.microseconds).unwrap_or(libc::c_int::MAX);
    for (call, option, value) in [
        (Call::PreferBusyPoll, libc::SO_PREFER_BUSY_POLL, 1),
        (Call::BusyPoll, libc::SO_BUSY_POLL, microseconds),
        (Call::BusyPollBudget, libc::SO_BUSY_POLL_BUDGET, libc::c_int::from(wanted.budget)),
    ] {
        context.check(call, set_socket_option(fd, option, value))?;
    }
    Ok(())
}

/// setsockopt(2) at level `SOL_SOCKET`, for options that rustix does not have.
fn set_socket_option(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is a c_int that lives during the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    Err(Errno::from_raw_os_error(errno))
}
