//! Frames put through an XDP program that another process or object has loaded, by BPF_PROG_TEST_RUN.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/bpf.h.
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// The member `test` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    action: u32,
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

/// What the kernel reports of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The XDP action: 1 drop, 2 pass, 4 redirect.
    pub action: u32,
    /// Bytes of the frame afterwards, with its metadata.
    pub length: usize,
    /// Mean time of one run in nanoseconds.
    pub nanoseconds: u32,
}

/// Runs a frame `repeat` times, as coming in on queue 0 of an interface of the calling thread's network namespace.
/// Writes the frame as it is afterwards, with its metadata before it, to `output`, unless that is empty. Needs
/// CAP_BPF and CAP_NET_ADMIN.
///
/// # Errors
/// Those of bpf(2).
pub fn run_frame(
    program: BorrowedFd<'_>,
    interface: u32,
    frame: &[u8],
    repeat: u32,
    output: &mut [u8],
) -> io::Result<TestRun> {
    test_run(program, interface, frame, repeat, 0, output)
}

/// Feeds this number of copies of a frame, in batches of 64 as a driver's NAPI does, softirqs off. The kernel carries
/// out each action: a dropped frame's page is recycled, a redirected frame reaches its socket, a passed frame the
/// stack (Linux 5.18). Otherwise as [`run_frame`].
///
/// # Errors
/// Those of bpf(2).
pub fn feed_live(program: BorrowedFd<'_>, interface: u32, frame: &[u8], copies: u32) -> io::Result<TestRun> {
    test_run(program, interface, frame, copies, BPF_F_TEST_XDP_LIVE_FRAMES, &mut [])
}

fn test_run(
    program: BorrowedFd<'_>,
    interface: u32,
    frame: &[u8],
    repeat: u32,
    flags: u32,
    output: &mut [u8],
) -> io::Result<TestRun> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, interface, 0, 0];
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: output.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: if output.is_empty() { 0 } else { output.as_mut_ptr() as u64 },
        repeat,
        context_size_in: size_of_val(&context) as u32,
        context_in: context.as_ptr() as u64,
        flags,
        ..Attributes::default()
    };
    // SAFETY: live attributes and their size; the addresses in them are those of live slices, with their lengths.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<Attributes>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let Attributes { action, data_size_out, duration, .. } = attributes;
    Ok(TestRun { action, length: data_size_out as usize, nanoseconds: duration })
}
