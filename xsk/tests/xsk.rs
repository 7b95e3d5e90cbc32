//! AF_XDP sockets on the real kernel: veth pairs in namespaces of their own, a five-instruction XDP program, frames
//! from a packet socket. Needs root.
#![allow(unsafe_code)]

use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use receiver_xsk::{
    BindConfig, BindMode, BusyPoll, Call, Cause, Errno, HugePages, Lease, Statistics, UmemConfig, XskSocket,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, UnshareFlags};

const INTERFACE: &str = "rx0";
const PEER: &str = "tx0";
const SECOND: Option<Duration> = Some(Duration::from_secs(1));

fn with(mut config: BindConfig, change: impl FnOnce(&mut BindConfig)) -> BindConfig {
    change(&mut config);
    config
}

#[test]
fn bound_in_copy_mode_with_frames_for_the_whole_rx_ring() {
    in_namespace(|link| {
        let socket = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        assert!(!socket.zero_copy());
        assert_eq!(socket.frame_count(), 512);
        // An RX ring of 128, and a few.
        assert_eq!((socket.kernel_frames(), socket.free_frames(), socket.leased_frames()), (192, 320, 0));
        assert_eq!((socket.pending(), socket.producer_position(), socket.consumer_position()), (0, 0, 0));
        assert_eq!(socket.statistics().unwrap(), Statistics::default());
    });
}

#[test]
fn zero_copy_is_refused_by_veth_with_the_remedy() {
    in_namespace(|link| {
        let error = XskSocket::bind(&link.config(BindMode::ZeroCopy)).unwrap_err();
        assert_eq!(error.cause, Cause::System { call: Call::Bind, errno: Errno::OPNOTSUPP });
        assert!(error.is_mode_unsupported());
        let text = error.to_string();
        for part in [INTERFACE, "queue 0", "zero-copy", "bind", "use copy mode"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
    });
}

#[test]
fn a_queue_or_an_interface_that_is_not_there_is_named() {
    in_namespace(|link| {
        let error = XskSocket::bind(&with(link.config(BindMode::Copy), |config| config.queue = 7)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::INVAL));
        assert!(!error.is_mode_unsupported());
        assert!(error.to_string().contains("queue 7") && error.to_string().contains("ethtool -l"), "{error}");

        let error = XskSocket::bind(&with(link.config(BindMode::Copy), |config| config.if_index = 9999)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NODEV));
        assert!(!error.is_mode_unsupported());
    });
}

#[test]
fn a_taken_queue_is_waited_for_but_not_for_ever() {
    in_namespace(|link| {
        let first = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        let error = XskSocket::bind(&link.config(BindMode::Copy)).unwrap_err();
        assert_eq!(error.cause, Cause::System { call: Call::Bind, errno: Errno::BUSY });
        assert!(!error.is_mode_unsupported());

        let holder = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(first);
        });
        let second = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        holder.join().unwrap();
        assert_eq!(second.kernel_frames(), 192);
    });
}

#[test]
fn bound_again_right_after_a_close_each_time() {
    in_namespace(|link| {
        for _ in 0..20 {
            drop(XskSocket::bind(&link.config(BindMode::Copy)).unwrap());
        }
    });
}

#[test]
fn missing_privileges_are_named() {
    in_namespace(|link| {
        let mut capabilities = rustix::thread::capabilities(None).unwrap();
        capabilities.effective.remove(CapabilitySet::IPC_LOCK);
        rustix::thread::set_capabilities(None, capabilities).unwrap();
        // For the whole process; the other tests have CAP_IPC_LOCK.
        let limit = rustix::process::getrlimit(Resource::Memlock);
        rustix::process::setrlimit(Resource::Memlock, Rlimit { current: Some(1 << 16), ..limit }).unwrap();
        let mut config = link.config(BindMode::Copy);
        config.umem = UmemConfig { frame_count: 8192, huge_pages: HugePages::Never, ..config.umem };
        let error = XskSocket::bind(&config).unwrap_err();
        assert_eq!(error.cause, Cause::System { call: Call::UmemReg, errno: Errno::NOBUFS });
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");

        capabilities.effective.remove(CapabilitySet::NET_RAW);
        rustix::thread::set_capabilities(None, capabilities).unwrap();
        let error = XskSocket::bind(&config).unwrap_err();
        assert_eq!(error.cause, Cause::System { call: Call::Socket, errno: Errno::PERM });
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
        assert!(!error.is_mode_unsupported());
    });
}

#[test]
fn a_wrong_configuration_is_refused_before_the_kernel_is_asked() {
    let good = BindConfig::new(1, "lo", 0, BindMode::Copy);
    for (bad, word) in [
        (with(good.clone(), |config| config.rx_ring_size = 1000), "rx_ring_size 1000"),
        (with(good.clone(), |config| config.fill_ring_size = 0), "fill_ring_size 0"),
        (with(good.clone(), |config| config.umem.frame_count = 1000), "take 1024"),
        (with(good.clone(), |config| config.umem.frame_size = 1024), "2048 or 4096"),
        (with(good.clone(), |config| config.umem.headroom = 1792), "1791 at most"),
    ] {
        let error = XskSocket::bind(&bad).unwrap_err();
        assert!(matches!(error.cause, Cause::Config(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.is_mode_unsupported());
    }
}

#[test]
fn busy_polling_is_set_and_still_receives() {
    in_namespace(|link| {
        let busy_poll = Some(BusyPoll { budget: 64, microseconds: 20 });
        let mut socket =
            XskSocket::bind(&with(link.config(BindMode::Copy), |config| config.busy_poll = busy_poll)).unwrap();
        assert_eq!(socket_option(socket.as_raw_fd(), libc::SO_PREFER_BUSY_POLL), 1);
        assert_eq!(socket_option(socket.as_raw_fd(), libc::SO_BUSY_POLL), 20);
        let _redirect = Redirect::attach(link, &socket);
        link.send(0..10);
        let mut numbers = Vec::new();
        while numbers.len() < 10 {
            assert!(socket.wait(SECOND).unwrap());
            numbers.extend(receive_all(&mut socket));
            assert!(socket.wake_if_needed(), "a busy-polling socket polls each time");
        }
        assert_eq!(numbers, Vec::from_iter(0..10));
        assert!(socket.counters().wakeups > 0);
    });
}

#[test]
fn every_packet_comes_once_and_in_order_over_many_turns_of_the_rings() {
    in_namespace(|link| {
        let mut socket = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        let _redirect = Redirect::attach(link, &socket);
        let mut leases: Vec<(u64, Lease)> = Vec::new();
        for round in 0..200 {
            let expected = round * 100..round * 100 + 100;
            link.send(expected.clone());
            let mut numbers = Vec::new();
            while numbers.len() < 100 {
                assert!(socket.wait(SECOND).unwrap(), "round {round}: only {numbers:?} came");
                socket.receive(7, |received| {
                    if let Some(number) = number_of(&received) {
                        numbers.push(number);
                        if number % 5 == 0 {
                            leases.push((number, received.into_lease()));
                        }
                    }
                    ControlFlow::Continue(())
                });
            }
            assert_eq!(numbers, Vec::from_iter(expected));
            assert_eq!(socket.leased_frames() as usize, leases.len());
            assert!(leases.iter().all(|(number, lease)| number_of(lease) == Some(*number)));
            let kept = leases.split_off(leases.len().saturating_sub(40));
            let gone = std::mem::replace(&mut leases, kept);
            thread::spawn(|| drop(gone)).join().unwrap();
        }
        assert_eq!(socket.statistics().unwrap(), Statistics::default());
        assert_eq!(socket.counters().invalid_descriptors, 0);
        assert_eq!(socket.kernel_frames() + socket.free_frames() + socket.leased_frames(), 512);
    });
}

#[test]
fn a_break_leaves_the_rest_in_the_ring_and_a_full_ring_is_counted() {
    in_namespace(|link| {
        let mut socket = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        let _redirect = Redirect::attach(link, &socket);
        link.send(0..150);
        while socket.statistics().unwrap().rx_ring_full < 22 {
            assert!(socket.wait(SECOND).unwrap());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(socket.pending(), 128);
        // Not for want of frames: in copy mode the kernel has a few more than the ring has slots.
        assert_eq!((socket.kernel_frames(), socket.statistics().unwrap().rx_fill_ring_empty_descs), (128 + 64, 0));
        let mut seen = 0;
        let taken = socket.receive(100, |_| {
            seen += 1;
            if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((taken, seen, socket.pending(), socket.consumer_position()), (5, 5, 123, 5));
        assert_eq!(socket.producer_position(), 128);
        assert_eq!(receive_all(&mut socket), Vec::from_iter(5..128));
    });
}

#[test]
fn leases_outlive_the_socket() {
    in_namespace(|link| {
        let mut socket = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        let redirect = Redirect::attach(link, &socket);
        link.send(0..64);
        let mut leases = Vec::new();
        while leases.len() < 64 {
            assert!(socket.wait(SECOND).unwrap());
            socket.receive(64, |received| {
                let lease = received.into_lease();
                // A slow machine sends its first multicast reports only now.
                leases.extend(number_of(&lease).is_some().then_some(lease));
                ControlFlow::Continue(())
            });
        }
        drop(redirect);
        drop(socket);
        // The next socket has memory of its own.
        let mut next = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        let _redirect = Redirect::attach(link, &next);
        link.send(1000..1064);
        assert!(next.wait(SECOND).unwrap());
        for (number, lease) in (0..).zip(leases) {
            assert_eq!(number_of(&lease), Some(number));
        }
    });
}

#[test]
fn all_frames_leased_starves_the_kernel_until_they_are_dropped() {
    in_namespace(|link| {
        let mut config = link.config(BindMode::Copy);
        config.umem.frame_count = 32;
        let mut socket = XskSocket::bind(&config).unwrap();
        let _redirect = Redirect::attach(link, &socket);
        link.send(0..40);
        let mut leases = Vec::new();
        while leases.len() < 32 {
            assert!(socket.wait(SECOND).unwrap());
            socket.receive(64, |received| {
                leases.push(received.into_lease());
                ControlFlow::Continue(())
            });
        }
        assert_eq!((socket.kernel_frames(), socket.free_frames(), socket.leased_frames()), (0, 0, 32));
        while socket.statistics().unwrap().rx_fill_ring_empty_descs == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        drop(leases);
        assert_eq!((socket.kernel_frames(), socket.free_frames(), socket.leased_frames()), (0, 32, 0));
        socket.refill();
        assert_eq!((socket.kernel_frames(), socket.free_frames(), socket.leased_frames()), (32, 0, 0));
        link.send(50..60);
        assert!(socket.wait(SECOND).unwrap());
    });
}

#[test]
fn waiting_ends_by_timeout_and_when_the_interface_goes() {
    in_namespace(|link| {
        let mut socket = XskSocket::bind(&link.config(BindMode::Copy)).unwrap();
        assert!(!socket.wait(Some(Duration::from_millis(10))).unwrap());
        assert_eq!(socket.take_error(), None);
        ip(&["link", "del", INTERFACE]);
        let error = socket.wait(Some(Duration::from_millis(10))).unwrap_err();
        assert_eq!(error.cause, Cause::System { call: Call::Poll, errno: Errno::NETDOWN });
    });
}

#[test]
fn sockets_may_move_between_threads() {
    fn may_move<T: Send>() {}
    may_move::<XskSocket>();
}

/// A veth pair in the calling thread's own namespace.
struct Link {
    if_index: u32,
    packet_socket: OwnedFd,
}

fn in_namespace(test: impl FnOnce(&Link) + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let namespace = thread::spawn(move || {
        // SAFETY: the thread's file descriptors stay shared with the process; only its network namespace is new.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("root");
        ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", PEER]);
        for name in [INTERFACE, PEER] {
            ip(&["link", "set", name, "addrgenmode", "none", "up"]);
        }
        test(&Link { if_index: index_of(INTERFACE), packet_socket: packet_socket(index_of(PEER)) });
        sender.send(()).ok();
    });
    let ended = receiver.recv_timeout(Duration::from_secs(60));
    if ended != Err(mpsc::RecvTimeoutError::Timeout)
        && let Err(panic) = namespace.join()
    {
        std::panic::resume_unwind(panic);
    }
    ended.expect("the test did not end within a minute");
}

impl Link {
    /// 512 frames, an RX ring of 128.
    fn config(&self, mode: BindMode) -> BindConfig {
        let config = BindConfig::new(self.if_index, INTERFACE, 0, mode).with_rx_ring_size(128);
        with(config, |config| config.umem = UmemConfig { frame_count: 512, ..UmemConfig::default() })
    }

    /// Sends a frame for each number, from the peer.
    fn send(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let mut frame = [0_u8; 60];
            frame[..6].fill(0xff);
            frame[6] = 2;
            frame[12..14].copy_from_slice(&ETHERTYPE);
            frame[14..22].copy_from_slice(&number.to_be_bytes());
            rustix::net::send(&self.packet_socket, &frame, rustix::net::SendFlags::empty()).unwrap();
        }
    }
}

/// For local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The number that a frame of [`Link::send`] carries; `None` for any other frame.
fn number_of(frame: &[u8]) -> Option<u64> {
    (frame[12..14] == ETHERTYPE).then(|| u64::from_be_bytes(frame[14..22].try_into().unwrap()))
}

fn receive_all(socket: &mut XskSocket) -> Vec<u64> {
    let mut numbers = Vec::new();
    while socket.pending() > 0 {
        socket.receive(64, |received| {
            numbers.extend(number_of(&received));
            ControlFlow::Continue(())
        });
    }
    numbers
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn index_of(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a C string that lives for the time of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0);
    index
}

fn packet_socket(if_index: u32) -> OwnedFd {
    // SAFETY: plain socket(2); the descriptor is new and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)) };
    // SAFETY: all of its fields are numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = if_index as i32;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: a live sockaddr_ll and its size.
    assert_eq!(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }, 0);
    fd
}

fn socket_option(fd: RawFd, option: libc::c_int) -> libc::c_int {
    let (mut value, mut length) = (0, size_of::<libc::c_int>() as u32);
    // SAFETY: a live c_int and its size.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(result, 0);
    value
}

/// An XDP program that redirects each frame to the socket of its queue. Detached on drop.
struct Redirect {
    _link: OwnedFd,
    _map: OwnedFd,
}

impl Redirect {
    fn attach(link: &Link, socket: &XskSocket) -> Self {
        const MAP_CREATE: libc::c_long = 0;
        const MAP_UPDATE_ELEM: libc::c_long = 2;
        const PROG_LOAD: libc::c_long = 5;
        const LINK_CREATE: libc::c_long = 28;
        const MAP_TYPE_XSKMAP: u64 = 17;
        const PROG_TYPE_XDP: u64 = 6;
        const ATTACH_XDP: u64 = 37;
        const FLAGS_DRV_MODE: u64 = 4;

        let pair = |low: u64, high: u64| low | high << 32;
        let map = new_fd(bpf(MAP_CREATE, &[pair(MAP_TYPE_XSKMAP, 4), pair(4, 1)]));
        let (key, value) = (0_u32, socket.as_raw_fd());
        bpf(MAP_UPDATE_ELEM, &[map.as_raw_fd() as u64, &raw const key as u64, &raw const value as u64]);

        let instruction = |code: u64, registers: u64, offset: u64, immediate: u64| {
            code | registers << 8 | offset << 16 | immediate << 32
        };
        let program = [
            instruction(0x61, 0x12, 16, 0),                     // r2 = context->rx_queue_index
            instruction(0x18, 0x11, 0, map.as_raw_fd() as u64), // r1 = map
            0,
            instruction(0xb7, 0x03, 0, 2),  // r3 = XDP_PASS, where no socket is
            instruction(0x85, 0x00, 0, 51), // r0 = bpf_redirect_map(r1, r2, r3)
            instruction(0x95, 0x00, 0, 0),  // return r0
        ]
        .map(u64::to_le);
        let load = [pair(PROG_TYPE_XDP, program.len() as u64), program.as_ptr() as u64, c"GPL".as_ptr() as u64];
        let program = new_fd(bpf(PROG_LOAD, &load));
        let attach = [pair(program.as_raw_fd() as u64, u64::from(link.if_index)), pair(ATTACH_XDP, FLAGS_DRV_MODE)];
        Self { _link: new_fd(bpf(LINK_CREATE, &attach)), _map: map }
    }
}

/// bpf(2); the attribute's 32-bit fields are put in pairs into words (little-endian).
fn bpf(command: libc::c_long, attribute: &[u64]) -> libc::c_long {
    let mut words = [0_u64; 16];
    words[..attribute.len()].copy_from_slice(attribute);
    // SAFETY: a live attribute and its size; the addresses in it are those of the caller's live values.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(&words)) };
    assert!(result >= 0, "bpf command {command}: {}", std::io::Error::last_os_error());
    result
}

fn new_fd(fd: libc::c_long) -> OwnedFd {
    // SAFETY: bpf(2) just made it, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}
