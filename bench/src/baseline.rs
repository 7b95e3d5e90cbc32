//! The baseline programs: loads, attaches and runs them by BPF_PROG_TEST_RUN.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::XskMap;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};

/// The compiled programs, checked in; `cargo xtask build-ebpf --check` proves that they match their source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../receiver-ebpf/object/baseline.bpf.o");

/// Drops every frame.
pub const DROP_ALL: &str = "drop_all";
/// Hands every frame to the kernel stack.
pub const PASS_ALL: &str = "pass_all";
/// Redirects every frame.
pub const REDIRECT_ONLY: &str = "redirect_only";
const SOCKETS: &str = "SOCKETS";

/// A loaded baseline. Dropping it detaches it from the interface.
pub struct Baseline {
    ebpf: Ebpf,
    program: &'static str,
}

impl Baseline {
    pub fn load(program: &'static str) -> Result<Self> {
        let ebpf = Ebpf::load(OBJECT).context("loading the baseline programs (this needs root)")?;
        let mut baseline = Self { ebpf, program };
        baseline.xdp()?.load().context("loading a baseline program")?;
        Ok(baseline)
    }

    pub fn attach(&mut self, interface: u32) -> Result<()> {
        let attached = self.xdp()?.attach_to_if_index(interface, XdpMode::Driver);
        attached.map(|_| ()).context("attaching a baseline program")
    }

    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<()> {
        let map = self.ebpf.map_mut(SOCKETS).context("the baseline has no XSKMAP")?;
        XskMap::try_from(map)?.set(queue, socket.as_raw_fd(), 0).context("putting a socket into the XSKMAP")
    }

    /// Returns a descriptor of the program.
    pub fn descriptor(&mut self) -> Result<OwnedFd> {
        let fd = self.xdp()?.fd().context("a baseline program that is not loaded")?;
        fd.as_fd().try_clone_to_owned().context("duplicating a program's descriptor")
    }

    /// Returns the action, and the mean time of a run in nanoseconds.
    pub fn test(&mut self, frame: &[u8], interface: u32, repeat: u32) -> Result<(u32, u64)> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0u8; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&interface.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
        let result = self.xdp()?.test_run(options).context("test-running a baseline program")?;
        Ok((result.return_value, u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(self.program).with_context(|| format!("there is no {}", self.program))?;
        Ok(program.try_into()?)
    }
}
