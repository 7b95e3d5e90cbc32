//! The load generator in the kernel: its loader and its runs (BPF_PROG_TEST_RUN with live frames, Linux 5.18). The only
//! file of this crate that uses aya.

use std::io;

use aya::maps::{Array, DevMap, MapData, MapError};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
pub(super) use receiver_common::generator::Run;
use receiver_common::generator::{Flow, names};

use receiver_host::{GENERATOR, Lack};
use receiver_host::{is_permission_error, os_error, reasons};

use crate::error::SendError;

/// The compiled program (a link to `receiver-ebpf/object`, so that a package has it). `cargo xtask build-ebpf --check`
/// proves that it matches its source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../object/generator.bpf.o");

/// Frames that the kernel makes and sends in one go: one budget of NAPI (`NAPI_POLL_WEIGHT`), and a quarter of a veth
/// queue.
const BATCH: u32 = 64;
/// The same at a rate, where redirected frames wait until the rest of the batch is dropped.
const TIMED_BATCH: u32 = 8;

/// A loaded generator. Each thread has its own.
pub(super) struct Generator {
    interface: String,
    flows: Array<MapData, Flow>,
    run: Array<MapData, Run>,
    /// The initial content of the frames: zeros, as long as the longest flow's frame.
    frame: Vec<u8>,
    batch: u32,
    count: u32,
    // Holds the program and the other maps.
    ebpf: Ebpf,
}

impl Generator {
    /// Loads the program, to send `flows` on an interface of this thread's network namespace. `turns` is the cycle in
    /// which they take turns. Needs CAP_BPF and CAP_NET_ADMIN.
    pub(super) fn load(
        interface: &str,
        index: u32,
        flows: &[Flow],
        turns: &[u32],
        plan: Run,
    ) -> Result<(Self, Stopper), SendError> {
        let refused = |doing, error: &(dyn std::error::Error + 'static)| refused(interface, doing, error);
        let count = flows.len() as u32;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::FLOWS, count)
            .map_max_entries(names::TURNS, turns.len() as u32)
            .load(OBJECT)
            .map_err(|error| refused("load", &error))?;
        xdp(&mut ebpf, interface)?.load().map_err(|error| refused("load", &error))?;
        let mut link: DevMap<MapData> = map(&mut ebpf, names::LINK, interface)?;
        link.set(0, index, None, 0).map_err(|error| refused("direct", &error))?;
        let mut order: Array<MapData, u32> = map(&mut ebpf, names::TURNS, interface)?;
        for (at, turn) in (0..).zip(turns) {
            order.set(at, turn, 0).map_err(|error| refused("fill", &error))?;
        }
        let mut own: Array<MapData, Flow> = map(&mut ebpf, names::FLOWS, interface)?;
        let longest = flows.iter().map(|flow| flow.length).max().unwrap_or(0);
        for (at, flow) in (0..).zip(flows) {
            own.set(at, Flow { trim: longest - flow.length, ..*flow }, 0).map_err(|error| refused("fill", &error))?;
        }
        let mut run: Array<MapData, Run> = map(&mut ebpf, names::RUN, interface)?;
        run.set(0, Run { turns: turns.len() as u32, ..plan }, 0).map_err(|error| refused("fill", &error))?;
        let stop = map(&mut ebpf, names::STOP, interface)?;
        let batch = if plan.step == 0 { BATCH } else { TIMED_BATCH };
        let frame = vec![0; longest as usize];
        Ok((Self { interface: interface.to_owned(), flows: own, run, frame, batch, count, ebpf }, Stopper(stop)))
    }

    /// Runs the program over `frames` frames, which are sent or, if none is due, dropped. A signal ends it early.
    pub(super) fn run(&mut self, frames: u32) -> Result<Run, SendError> {
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(self.batch.min(frames)),
            ..TestRunOptions::default()
        };
        match xdp(&mut self.ebpf, &self.interface)?.test_run(options) {
            Err(error) if os_error(&error) != Some(libc::EINTR) => return Err(refused(&self.interface, "run", &error)),
            _ => {}
        }
        let run = self.run.get(&0, 0).map_err(|error| refused(&self.interface, "read", &error))?;
        if run.refused > 0 {
            return Err(SendError::Os {
                what: format!("redirecting frames to interface {}", self.interface),
                source: io::Error::from_raw_os_error(libc::ENODEV),
                remedy: "; check that the interface still exists",
            });
        }
        Ok(run)
    }

    /// The number of frames that each flow sent.
    pub(super) fn sent(&self) -> Result<Vec<u64>, SendError> {
        let read = |at| self.flows.get(&at, 0).map(|flow| flow.next);
        (0..self.count).map(read).collect::<Result<_, _>>().map_err(|error| refused(&self.interface, "read", &error))
    }
}

/// Ends a generator's run from another thread.
pub(super) struct Stopper(Array<MapData, u32>);

impl Stopper {
    /// From now on the generator sends nothing.
    pub(super) fn stop(&mut self) {
        // The only entry of an array of this process: it is not refused.
        let _ = self.0.set(0, 1, 0);
    }
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopper")
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("interface", &self.interface)
            .field("flows", &self.count)
            .finish_non_exhaustive()
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, interface: &str) -> Result<&'a mut Xdp, SendError> {
    let program = ebpf.program_mut(names::PROGRAM).ok_or_else(|| foreign(interface))?;
    program.try_into().map_err(|error: ProgramError| refused(interface, "use", &error))
}

fn map<M>(ebpf: &mut Ebpf, name: &str, interface: &str) -> Result<M, SendError>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| foreign(interface))?;
    M::try_from(map).map_err(|error| refused(interface, "open a map of", &error))
}

fn foreign(interface: &str) -> SendError {
    SendError::Generator {
        interface: interface.to_owned(),
        doing: "use",
        reason: "the compiled object does not fit this library; rebuild it with `cargo xtask build-ebpf`".into(),
    }
}

/// The loader's error as an error of this crate, with the chain of its reasons in one line.
fn refused(interface: &str, doing: &'static str, error: &(dyn std::error::Error + 'static)) -> SendError {
    // The verifier returns EACCES, too, with a log; no privilege would help then.
    let has_log = matches!(
        error.downcast_ref(),
        Some(ProgramError::LoadError { verifier_log, .. }) if !verifier_log.to_string().trim().is_empty()
    );
    if !has_log && is_permission_error(error) {
        return SendError::NoBpfPrivilege { interface: interface.to_owned(), lack: Lack::of(&GENERATOR) };
    }
    SendError::Generator { interface: interface.to_owned(), doing, reason: reasons(error) }
}
