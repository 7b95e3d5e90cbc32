//! The capabilities that a command keeps. All others are given up before the first thread starts, so that a fault in
//! what reads packets, files or requests gives nobody more than receiving takes.

use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder as ThreadBuilder, JoinHandle};

use receiver::{Builder, Capability, Error, ModeRequest, ReceiveMode, Receiver};
use receiver_host::restrict;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::outlet::Outlet;

/// What mode `socket` needs: large socket buffers, and ports below 1024.
const SOCKETS: [Capability; 2] = [Capability::NetAdmin, Capability::NetBindService];
/// What the modes with XDP need beside: after an outage of the link everything is opened anew.
const WITH_XDP: [Capability; 4] = [Capability::NetRaw, Capability::Bpf, Capability::IpcLock, Capability::Perfmon];
/// What files against whose permissions root reads and writes need.
const FILES: [Capability; 2] = [Capability::DacOverride, Capability::DacReadSearch];

/// What a run keeps.
#[derive(Clone, Debug)]
pub struct Kept(Vec<Capability>);

/// A file that a run opens later, or once more.
pub struct LaterFile {
    pub path: PathBuf,
    pub is_written: bool,
}

impl Kept {
    /// What a run in this mode with these files needs to go on.
    pub fn of_run(mode: ModeRequest, is_real_time: bool, files: &[LaterFile]) -> Self {
        let mut kept = SOCKETS.to_vec();
        if mode != ModeRequest::Exactly(ReceiveMode::Socket) {
            kept.extend(WITH_XDP);
        }
        if is_real_time {
            kept.push(Capability::SysNice);
        }
        if FILES.iter().any(|one| one.is_held()) && !are_open_to_this_user(files) {
            kept.extend(FILES);
        }
        Self(kept)
    }

    /// Gives up all others, on the calling thread.
    fn apply(&self) -> io::Result<()> {
        restrict::keep_only(&self.0)
    }
}

/// Keeps only what the reading of files needs: for commands that read what strangers have made.
pub fn keep_file_access() {
    if let Err(error) = restrict::keep_only(&FILES) {
        tracing::debug!("capabilities are kept: {error}");
    }
}

/// Returns true if the permissions of all files suffice: no capability has to override them.
fn are_open_to_this_user(files: &[LaterFile]) -> bool {
    let look = || files.iter().all(is_open_to_this_user);
    let look = || restrict::without(Capability::DacReadSearch, look).unwrap_or(false);
    restrict::without(Capability::DacOverride, look).unwrap_or(false)
}

fn is_open_to_this_user(LaterFile { path, is_written }: &LaterFile) -> bool {
    let allows = |path: &Path, access| {
        // What is missing or broken is so with the capabilities as well.
        accessat(CWD, path, access, AtFlags::EACCESS) != Err(rustix::io::Errno::ACCESS)
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match is_written {
        true => allows(path, Access::WRITE_OK) && allows(folder, Access::WRITE_OK | Access::EXEC_OK),
        false => allows(path, Access::READ_OK),
    }
}

/// Opens a receiver on a thread that keeps all capabilities until that is done. An error about an interface that is
/// taken names the process that holds it, which takes more than receiving does.
pub struct Opener {
    builder: SyncSender<Builder>,
    opened: JoinHandle<Option<Result<Receiver, Error>>>,
    kept: Option<Kept>,
}

impl Opener {
    /// Starts the thread. Then the calling thread gives up what is not kept, and the threads that it starts afterwards
    /// have no more. With `None` all is kept.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(kept: Option<Kept>) -> io::Result<Self> {
        let (builder, waiting) = sync_channel::<Builder>(1);
        let open = move || waiting.recv().ok().map(Builder::build);
        let opened = ThreadBuilder::new().name("start".to_owned()).spawn(open)?;
        if let Some(kept) = &kept {
            give_up(kept);
            // Its thread would have the capabilities of whoever logs first.
            Outlet::stderr().start();
        }
        Ok(Self { builder, opened, kept })
    }

    /// Opens the receiver.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn open(self, builder: Builder) -> Result<Receiver, Error> {
        let Self { builder: give, opened, kept } = self;
        let builder = match kept {
            Some(kept) => builder.on_thread_start(move || give_up(&kept)),
            None => builder,
        };
        // A thread that is gone has panicked.
        let _ = give.send(builder);
        match opened.join() {
            Ok(opened) => opened.expect("the thread got a builder"),
            Err(payload) => panic::resume_unwind(payload),
        }
    }
}

fn give_up(kept: &Kept) {
    if let Err(error) = kept.apply() {
        tracing::warn!("the run keeps capabilities that it does not need: they cannot be given up: {error}");
    }
}
