//! Live frames by bpf(2): feeds frames to any loaded XDP program as if they came in on an interface's queue
//! (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). The kernel carries out each action: a dropped
//! frame's page is recycled, a redirected frame reaches its socket, a passed frame the stack.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// linux/bpf.h.
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const LIVE_FRAMES: u32 = 1 << 1;

/// Frames of one batch: NAPI's budget, so the kernel flushes redirected frames as often as a driver's poll does.
const BATCH: u32 = 64;

/// The part of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The part of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress: u32,
    rx_queue: u32,
    egress: u32,
}

/// Opens a loaded program by its id.
pub fn program(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = ById { id, ..ById::default() };
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Feeds `count` copies of a frame to the program, as coming in on queue 0 of an interface of the calling thread's
/// network namespace, on the calling thread's CPU. Returns the mean time of a frame in nanoseconds.
pub fn feed(program: BorrowedFd<'_>, frame: &[u8], interface: u32, count: u32) -> io::Result<u32> {
    let length = frame.len() as u32;
    let context = Context { data_end: length, ingress: interface, ..Context::default() };
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        data_size_in: length,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        context_size_in: size_of::<Context>() as u32,
        context_in: (&raw const context) as u64,
        flags: LIVE_FRAMES,
        batch_size: BATCH,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(attributes.duration)
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes, and the frame and the context that they point to, live during the call; the size is the
    // attributes'.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
