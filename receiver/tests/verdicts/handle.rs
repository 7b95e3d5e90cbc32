//! A second handle of the attached program: it runs frames while [`receiver::internals::Program`] changes the maps, and
//! shows what the program wrote before the frame. aya has no way to make one for XDP.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::os::fd::AsFd;

use aya::programs::{ProgramFd, loaded_programs};
use netlab::{feed_live, run_frame};
use receiver::Interface;

/// The program that is attached to an interface.
pub struct Handle {
    program: ProgramFd,
    if_index: u32,
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
        run_frame(self.program.as_fd(), self.if_index, frame, repeat, &mut []).expect("a test run");
    }

    /// Runs a frame once, in the calling thread's namespace, and returns the action.
    pub fn action(&self, frame: &[u8]) -> u32 {
        run_frame(self.program.as_fd(), self.if_index, frame, 1, &mut []).expect("a test run").action
    }

    /// Runs this number of copies of a frame as the driver does: in batches, softirqs off (Linux 5.18).
    pub fn run_live(&self, frame: &[u8], copies: u32) {
        feed_live(self.program.as_fd(), self.if_index, frame, copies).expect("a test run");
    }

    /// Runs a frame once; the action, and the frame afterwards with its metadata before it.
    pub fn output(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut output = vec![0; frame.len() + 256];
        let ran = run_frame(self.program.as_fd(), self.if_index, frame, 1, &mut output).expect("a test run");
        output.truncate(ran.length);
        (ran.action, output)
    }
}
