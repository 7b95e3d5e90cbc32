//! A client of a run: it connects to the control socket, and waits for each reply. `receiver ctl` and `receiver top`
//! use it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::Value;

use super::place;
use super::protocol::{Refusal, Request, parse_reply};
use crate::files::shown;
use crate::values::name;

/// How long a run may take for a reply. A reload of many subscriptions takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a run may take to accept a connection while many clients come.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection is tried meanwhile.
const CONNECT_EVERY: Duration = Duration::from_millis(20);
/// The longest reply in bytes.
const LONGEST_REPLY: u64 = 1 << 30;

/// The run that is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Name of the run (`receiver run --name`). Default: the only run with a name
    #[arg(short, long, global = true, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Control socket of the run (`receiver run --control`), in place of a name
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "name")]
    pub control: Option<PathBuf>,
}

/// A connection to a run.
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// A request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such run.
    #[error("{0}")]
    NoRun(String),
    /// The run refused the request. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection failed, or what came was no reply.
    #[error("the run at {} does not answer: {reason}; it may have ended", shown(.path))]
    Lost {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Client {
    /// Connects to the run.
    ///
    /// # Errors
    /// [`ClientError::NoRun`], with the names of the runs that there are; [`ClientError::Lost`].
    pub fn connect(selection: &Selection) -> Result<Self, ClientError> {
        let path = match selection {
            Selection { control: Some(path), .. } => path.clone(),
            Selection { name, .. } => by_name(name.as_deref())?,
        };
        let stream = patiently(&path).map_err(|error| refused_connection(&path, selection, &error))?;
        let lost = |error: io::Error| ClientError::Lost { path: path.clone(), reason: error.to_string() };
        stream.set_nonblocking(false).map_err(lost)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(lost)?;
        Ok(Self { path, stream: BufReader::new(stream) })
    }

    /// Sends a request and waits for the reply. Returns its result.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: the connection is still there, unless the kind says that it was closed.
    /// [`ClientError::Lost`]: it is gone.
    pub fn request(&mut self, request: &Request) -> Result<Value, ClientError> {
        let sent = self.stream.get_mut().write_all(&request.to_line());
        // A run that closes the connection may have left the reason.
        let line = match (self.line(), sent) {
            (Ok(line), _) => line,
            (_, Err(error)) | (Err(error), Ok(())) => return Err(self.lost(reason(&error))),
        };
        let reply = parse_reply(&line).map_err(|error| self.lost(format!("this is no reply: {error}")))?;
        Ok(reply?)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.by_ref().take(LONGEST_REPLY).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn lost(&self, reason: String) -> ClientError {
        ClientError::Lost { path: self.path.clone(), reason }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "it closed the connection".to_owned(),
        io::ErrorKind::WouldBlock => format!("no reply came in {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    }
}

/// The socket of the run with this name, or of the only run.
fn by_name(name: Option<&str>) -> Result<PathBuf, ClientError> {
    let directory = place::runtime_directory();
    place::check(&directory).map_err(|error| ClientError::NoRun(error.to_string()))?;
    if let Some(name) = name {
        return Ok(place::socket(&directory, name));
    }
    match living(&directory).as_slice() {
        [one] => Ok(place::socket(&directory, one)),
        [] => Err(ClientError::NoRun(format!(
            "no run with a name has its control socket in {}; start one with `receiver run --name NAME`, or give the \
             path of its socket with --control",
            shown(&directory)
        ))),
        several => {
            Err(ClientError::NoRun(format!("several runs are there: {}; choose one with -n", several.join(", "))))
        }
    }
}

/// The names of the runs that answer.
fn living(directory: &Path) -> Vec<String> {
    let mut names = place::names(directory);
    names.retain(|name| !matches!(dial(&place::socket(directory, name)), Err(Errno::CONNREFUSED | Errno::NOENT)));
    names
}

fn refused_connection(path: &Path, selection: &Selection, error: &Errno) -> ClientError {
    let directory = place::runtime_directory();
    let what = match &selection.name {
        Some(name) => format!("no run has the name {name}"),
        None => format!("no run has the control socket {}", shown(path)),
    };
    let text = match *error {
        Errno::NOENT | Errno::CONNREFUSED | Errno::NOTSOCK => match living(&directory).as_slice() {
            [] => format!("{what}: there is no run with a name in {}", shown(&directory)),
            some => format!("{what}; these names run: {}", some.join(", ")),
        },
        Errno::ACCESS | Errno::PERM => format!(
            "the control socket {} is that of another user; run this command as the user of the run, or as root",
            shown(path)
        ),
        Errno::NAMETOOLONG => format!("the path {} is too long for a socket; use a shorter one", shown(path)),
        error => format!("cannot connect to {}: {}", shown(path), io::Error::from(error)),
    };
    ClientError::NoRun(text)
}

/// Connects. While more clients wait than the socket has room for, tries again.
fn patiently(path: &Path) -> Result<UnixStream, Errno> {
    let begun = Instant::now();
    loop {
        match dial(path) {
            Err(Errno::AGAIN) if begun.elapsed() < CONNECT_PATIENCE => std::thread::sleep(CONNECT_EVERY),
            other => return other,
        }
    }
}

/// Connects without waiting. The stream does not wait either.
///
/// # Errors
/// `CONNREFUSED`: the run of this socket is gone. `AGAIN`: it lives, and has no room for another client that waits.
pub fn dial(path: &Path) -> Result<UnixStream, Errno> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
