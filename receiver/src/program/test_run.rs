//! Single frames put through the program, by BPF_PROG_TEST_RUN: for the tests of its verdicts and the benchmark.

use aya::programs::{TestRun, TestRunOptions};

use super::entry::xdp;
use super::loaded::Program;
use super::operation;
use super::refused::refused;
use crate::api::error::Error;
use receiver_host::Interface;

/// What BPF_PROG_TEST_RUN says of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestVerdict {
    /// The XDP action: 1 drop, 2 pass, 4 redirect.
    pub action: u32,
    /// Mean duration of one run in nanoseconds, the run's own cost included.
    pub nanoseconds: u64,
}

impl Program {
    /// Runs the program over a frame by BPF_PROG_TEST_RUN, as if it came in on `queue` of the attached interface.
    ///
    /// # Errors
    /// [`Error::Program`]: the frame is shorter than 14 bytes, or the queue does not exist.
    pub fn test(&mut self, frame: &[u8], interface: &Interface, queue: u32, repeat: u32) -> Result<TestVerdict, Error> {
        self.test_split(frame, frame.len(), interface, queue, repeat)
    }

    /// As [`Program::test`], with only the first N bytes of the frame in its first buffer (Linux 6.18; at least 14).
    ///
    /// # Errors
    /// As there; also, the entry is for single buffers.
    pub fn test_split(
        &mut self,
        frame: &[u8],
        first: usize,
        interface: &Interface,
        queue: u32,
        repeat: u32,
    ) -> Result<TestVerdict, Error> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0u8; 24];
        context[4..8].copy_from_slice(&u32::try_from(first).unwrap_or(u32::MAX).to_ne_bytes());
        context[12..16].copy_from_slice(&interface.index.to_ne_bytes());
        context[16..20].copy_from_slice(&queue.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
        let result = xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .test_run(options)
            .map_err(|error| refused(&self.interface, operation::TEST, &error))?;
        let nanoseconds = u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(TestVerdict { action: result.return_value, nanoseconds })
    }
}
