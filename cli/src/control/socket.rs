//! The control socket as a file: only its user can open it from the first moment, a socket that a dead run has left is
//! replaced, and that of a living run is not.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, fchmod, flock, openat};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::client::dial;
use crate::files::shown;

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long another program may hold the lock of the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How often the lock is tried meanwhile.
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// The control socket of this run. Dropped, it is removed if it is still this one.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    identity: Identity,
}

/// What distinguishes a file from another one of the same name.
#[derive(Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl ControlSocket {
    /// Makes the socket. `owner` is what a message calls the run that has it, as in `a run with the name a`.
    ///
    /// # Errors
    /// A living run has the path, or something that is no socket; or the socket cannot be made.
    pub fn open(path: &Path, owner: &str) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("the path {} is not valid", shown(path)))?;
        let cannot = |error: Errno| {
            let reason = match error {
                Errno::NAMETOOLONG => "the path is too long for a socket".to_owned(),
                error => io::Error::from(error).to_string(),
            };
            anyhow!("cannot make the control socket {}: {reason}; set another path with --control", shown(&path))
        };
        let address = SocketAddrUnix::new(&path).map_err(cannot)?;
        // Between the look at the path and the bind no other run may do the same.
        let _lock = lock(&path)?;
        if let Some(found) = look(&path).map_err(|error| anyhow!("cannot look at {}: {error}", shown(&path)))? {
            refuse_unless_stale(&path, &found, owner)?;
            fs::remove_file(&path)
                .map_err(|error| anyhow!("cannot remove {}, which a dead run has left: {error}", shown(&path)))?;
        }
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
                .map_err(cannot)?;
        // The file of the socket gets the mode that the socket has when it is bound: unix(7) leaves it to the umask.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(cannot)?;
        bind(&socket, &address).map_err(cannot)?;
        let found = look(&path).ok().flatten();
        let this =
            Self { identity: found.map_or(Identity(0, 0), |found| identity(&found)), listener: socket.into(), path };
        listen(&this.listener, BACKLOG).map_err(|error| {
            anyhow!("cannot listen on the control socket {}: {}", shown(&this.path), io::Error::from(error))
        })?;
        Ok(this)
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _lock = lock(&self.path);
        if look(&self.path).is_ok_and(|found| found.is_some_and(|found| identity(&found) == self.identity)) {
            // A failure here leaves a socket that the next run replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(found: &Metadata) -> Identity {
    Identity(found.dev(), found.ino())
}

/// What is at the path, if anything is.
fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks the folder for as long as the result lives.
fn lock(path: &Path) -> anyhow::Result<OwnedFd> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let cannot = |reason: String| {
        anyhow!(
            "cannot use the folder {} for the control socket: {reason}; set another path with --control",
            shown(folder)
        )
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        openat(CWD, folder, flags, Mode::empty()).map_err(|error| cannot(io::Error::from(error).to_string()))?;
    let begun = Instant::now();
    loop {
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(opened),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_EVERY),
            Err(Errno::WOULDBLOCK) => return Err(cannot("another program holds its lock (flock)".to_owned())),
            Err(error) => return Err(cannot(io::Error::from(error).to_string())),
        }
    }
}

fn refuse_unless_stale(path: &Path, found: &Metadata, owner: &str) -> anyhow::Result<()> {
    if !found.file_type().is_socket() {
        return Err(anyhow!(
            "{} is no socket, and it is left alone; remove it, or set another path with --control",
            shown(path)
        ));
    }
    let process = match dial(path) {
        Err(Errno::CONNREFUSED) => return Ok(()),
        Ok(stream) => socket_peercred(&stream).ok().map(|credentials| credentials.pid.as_raw_nonzero().get()),
        // It has more clients than it accepts, so it lives.
        Err(Errno::AGAIN) => None,
        Err(error) => {
            let error = io::Error::from(error);
            return Err(anyhow!("cannot tell if the control socket {} is in use: {error}", shown(path)));
        }
    };
    let process = process.map(|pid| format!(", process {pid}")).unwrap_or_default();
    Err(anyhow!(
        "{owner} is running already{process}: it has the control socket {0}; stop it \
         (`receiver ctl --control {0} stop`), or give this run another name or path",
        shown(path)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("receiver-socket-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a folder");
            Self(path)
        }

        fn path(&self) -> PathBuf {
            self.0.join("a.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> Result<ControlSocket, String> {
        ControlSocket::open(path, "a run with the name a").map_err(|error| error.to_string())
    }

    #[test]
    fn only_its_user_can_open_it_and_it_goes_with_the_run() {
        let folder = Folder::new();
        let socket = open(&folder.path()).expect("a socket");
        assert_eq!(fs::metadata(folder.path()).expect("it is there").mode() & 0o7777, 0o600);
        drop(socket);
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_living_run_keeps_its_socket_and_that_of_a_dead_run_is_replaced() {
        let folder = Folder::new();
        let living = open(&folder.path()).expect("a socket");
        let error = open(&folder.path()).expect_err("it lives");
        let process = format!("a run with the name a is running already, process {}: ", std::process::id());
        assert!(error.starts_with(&process), "{error}");
        dial(&folder.path()).expect("it is still there");
        drop(living);
        drop(UnixListener::bind(folder.path()).expect("a socket"));
        assert_eq!(dial(&folder.path()).err(), Some(Errno::CONNREFUSED), "its run is dead");
        open(&folder.path()).expect("it is replaced");
    }

    #[test]
    fn of_many_runs_at_once_one_gets_the_path() {
        let folder = Folder::new();
        drop(UnixListener::bind(folder.path()).expect("a socket that nobody listens on"));
        let runs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&folder.path()))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
        });
        assert_eq!(runs.iter().filter(|run| run.is_ok()).count(), 1, "{runs:?}");
        dial(&folder.path()).expect("that one listens");
    }

    #[test]
    fn the_socket_of_another_run_is_not_removed() {
        let folder = Folder::new();
        let first = open(&folder.path()).expect("a socket");
        fs::remove_file(folder.path()).expect("somebody removes it");
        let second = open(&folder.path()).expect("another run");
        drop(first);
        dial(&folder.path()).expect("the second has it");
        drop(second);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = Folder::new();
        fs::write(folder.path(), "precious").expect("a file");
        assert!(open(&folder.path()).expect_err("a file").contains("is no socket, and it is left alone"));
        assert_eq!(fs::read(folder.path()).expect("still there"), b"precious");
        let long = folder.0.join("x".repeat(200));
        assert!(open(&long).expect_err("too long").contains("the path is too long for a socket"));
        let nowhere = folder.0.join("none/a.sock");
        assert!(open(&nowhere).expect_err("no folder").contains("No such file or directory"));
    }
}
