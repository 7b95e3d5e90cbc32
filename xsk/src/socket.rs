//! The AF_XDP socket: set up in the order that drivers need, bound to one queue, and kept running.
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

/// The least completion ring the kernel takes. Nothing is ever sent, so nothing ever completes.
const COMPLETION_RING_SIZE: u32 = 2;

/// How long a bind is tried again while the queue is still taken. Closing is asynchronous: the socket of a process
/// that has just ended may hold its queue for some milliseconds more.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
const BUSY_PAUSE_FIRST: Duration = Duration::from_millis(2);
const BUSY_PAUSE_MOST: Duration = Duration::from_millis(100);

/// A socket that receives from one queue. Receives nothing until it stands in the XSKMAP of an XDP program.
///
/// Dropping it closes the socket and unmaps the rings; the packet memory stays mapped until the last
/// [`Lease`](super::Lease) is gone.
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
    /// Opens, sets up and binds a socket. All free frames for which it has room (in copy mode: for which the RX ring
    /// has room, and a few) are in the fill ring before the bind, as some drivers need. While the queue is taken the
    /// bind is tried again, for up to 2 s: the call can block that long. Needs CAP_NET_RAW, and CAP_IPC_LOCK or an
    /// RLIMIT_MEMLOCK that is large enough.
    ///
    /// # Errors
    /// [`Error`] tells the call that failed, why, and what to do about it; [`Error::is_mode_unsupported`] tells whether
    /// another mode is worth a try.
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
            // What kernels before 6.6 say of the flag, before they look at anything else.
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

    /// Takes at most `limit` descriptors from the RX ring (more only to end a packet over several buffers) and shows
    /// each packet to `each`, until that says `ControlFlow::Break`: the packet in hand is done with then, the rest
    /// stays in the ring. After the batch all free frames go to the fill ring, and the kernel is woken if it asks to
    /// be. Returns how many descriptors were taken; 0 means that the ring was empty (or `limit` 0).
    ///
    /// When `each` panics, no frame is lost: the packet in hand is done with, the rest stays in the ring.
    #[inline]
    pub fn receive(&mut self, limit: usize, each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> usize {
        let taken = self.queue.receive(u32::try_from(limit).unwrap_or(u32::MAX), each);
        self.refill();
        taken as usize
    }

    /// Hands the frames of dropped leases to the kernel, and wakes it if it asks to be. [`XskSocket::receive`] does
    /// this too; call it when leases were dropped while nothing was received.
    #[inline]
    pub fn refill(&mut self) {
        self.queue.refill();
        if self.queue.needs_wakeup() {
            self.wake();
        }
    }

    /// Wakes the kernel if it asks to be, or polls the device once if the socket is a busy-polling one. To be called
    /// before sleeping, and in a busy-polling loop whenever the ring was empty. Tells whether a system call was made;
    /// one that fails is counted ([`Counters::wakeup_failures`]).
    #[inline]
    pub fn wake_if_needed(&mut self) -> bool {
        let needed = self.busy_polling || self.queue.needs_wakeup();
        if needed {
            self.wake();
        }
        needed
    }

    /// Sleeps until there is something to receive, or for `timeout` (`None`: without end). `false`: there is nothing
    /// yet; the timeout is over, or a signal came. Refills, and wakes the kernel if it asks to be, before it sleeps.
    ///
    /// A socket whose interface is gone sleeps like one where nothing comes, so a timeout is needed to hear of it.
    ///
    /// # Errors
    /// poll(2) failed, or an error waits at the socket when the timeout is over: `ENETDOWN`, once, when the interface
    /// is gone.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.refill();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(true),
            // The kernel's poll says nothing of a device that went away; the error is only there to be asked for.
            Ok(_) => self.take_error().map_or(Ok(false), |errno| Err(self.context.system(Call::Poll, errno))),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(self.context.system(Call::Poll, OwnErrno::of(errno))),
        }
    }

    /// The error that waits at the socket (`SO_ERROR`), which this clears: `ENETDOWN` when the interface is gone.
    pub fn take_error(&self) -> Option<OwnErrno> {
        sockopt::socket_error(&self.fd).and_then(|waiting| waiting).err().map(OwnErrno::of)
    }

    /// Is the socket bound in zero-copy mode? As the kernel told after the bind.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Returns true if packets over several buffers are taken, and not dropped by the kernel.
    pub fn takes_several_buffers(&self) -> bool {
        self.several_buffers
    }

    /// The pages that the packet memory got.
    pub fn page_size(&self) -> PageSize {
        self.queue.umem().page_size()
    }

    /// Descriptors in the RX ring that were not taken yet. An acquire load.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.queue.rx().pending()
    }

    /// The kernel's index of the RX ring: the number of descriptors it has put there (one a packet, but for packets
    /// over several buffers), modulo 2^32. An acquire load.
    #[inline]
    pub fn producer_position(&self) -> u32 {
        self.queue.rx().peer_position()
    }

    /// Our index of the RX ring: the number of descriptors taken, modulo 2^32.
    #[inline]
    pub fn consumer_position(&self) -> u32 {
        self.queue.rx().position()
    }

    /// Frames that nobody uses.
    #[inline]
    pub fn free_frames(&self) -> u32 {
        self.queue.umem().free_frames()
    }

    /// Frames that the kernel has, in the fill ring, the driver or the RX ring: what it can still receive into, and
    /// what it has received. No look at shared memory.
    #[inline]
    pub fn kernel_frames(&self) -> u32 {
        self.queue.umem().kernel_frames()
    }

    /// Frames that leases hold.
    #[inline]
    pub fn leased_frames(&self) -> u32 {
        self.queue.umem().leased_frames()
    }

    /// All frames.
    pub fn frame_count(&self) -> u32 {
        self.queue.umem().frame_count()
    }

    /// The kernel's counters of this socket.
    ///
    /// # Errors
    /// getsockopt(2) failed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        statistics(&self.fd, &self.context)
    }

    /// A look at this socket's books for another thread. The socket stays open until it is dropped too.
    ///
    /// # Errors
    /// dup(2) failed: descriptors ran out.
    pub fn monitor(&self) -> Result<Monitor, Error> {
        let fd = self.context.check(Call::Socket, rustix::io::fcntl_dupfd_cloexec(&self.fd, 0))?;
        Ok(Monitor { fd, rx: self.queue.rx().view(), context: self.context.clone() })
    }

    /// What went wrong on this side of the rings.
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }

    #[cold]
    fn wake(&mut self) {
        // A receive of nothing: the kernel looks at the fill ring, and polls the device of a busy-polling socket.
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
    // From here on the kernel holds the pages, whether or not they stay mapped, and writes only into frames that the
    // fill ring named.
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

/// setsockopt(2) at level `SOL_SOCKET` for the options that rustix does not have.
fn set_socket_option(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is a live c_int for the time of the call, and its size is told.
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
