//! A second handle of the attached program: it runs frames while [`receiver::internals::Program`] changes the maps, and
//! shows what the program wrote before the frame. aya has no way to make one for XDP.
#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::os::fd::{AsFd, AsRawFd};

use aya::programs::{ProgramFd, loaded_programs};
use receiver::Interface;

/// The program that is attached to an interface.
pub struct Handle {
    program: ProgramFd,
    if_index: u32,
}

/// The member `test` of `union bpf_attr` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

impl Handle {
    /// For frames on queue 0 of an interface, which is looked up in the calling thread's namespace.
    pub fn of(name: &str) -> Self {
        let interface = Interface::lookup(name).expect("the interface");
        let id = interface.xdp_program.expect("an attached program");
        let info = loaded_programs().flatten().find(|info| info.id() == id).expect("the attached program");
        Self { program: info.fd().expect("a descriptor"), if_index: interface.index }
    }

    /// Runs a frame, in the calling thread's namespace.
    pub fn run(&self, frame: &[u8], repeat: u32) {
        self.test(frame, repeat, 0, &mut []);
    }

    /// Runs this number of copies of a frame as the driver does: in batches, softirqs off (Linux 5.18).
    pub fn run_live(&self, frame: &[u8], copies: u32) {
        const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
        self.test(frame, copies, BPF_F_TEST_XDP_LIVE_FRAMES, &mut []);
    }

    /// Runs a frame once; the action, and the frame afterwards with its metadata before it.
    pub fn output(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut output = vec![0; frame.len() + 256];
        let (action, length) = self.test(frame, 1, 0, &mut output);
        output.truncate(length);
        (action, output)
    }

    fn test(&self, frame: &[u8], repeat: u32, flags: u32, output: &mut [u8]) -> (u32, usize) {
        const BPF_PROG_TEST_RUN: libc::c_long = 10;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, self.if_index, 0, 0];
        let mut attribute = TestRun {
            prog_fd: self.program.as_fd().as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_size_out: output.len() as u32,
            data_in: frame.as_ptr() as u64,
            data_out: if output.is_empty() { 0 } else { output.as_mut_ptr() as u64 },
            repeat,
            ctx_size_in: size_of_val(&context) as u32,
            ctx_in: context.as_ptr() as u64,
            flags,
            ..TestRun::default()
        };
        // SAFETY: a live attribute and its size; the addresses in it are those of live slices, with their lengths.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attribute, size_of::<TestRun>()) };
        assert_eq!(result, 0, "a test run: {}", std::io::Error::last_os_error());
        (attribute.retval, attribute.data_size_out as usize)
    }
}
