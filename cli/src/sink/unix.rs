//! `unix:PATH`: each payload as one datagram to a Unix socket. The reader may come later, go and come back: what does
//! not fit meanwhile is dropped and counted.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::traits::{Context, Sink};
use super::written::{Written, payload};
use crate::errors::UsageError;
use crate::outlet::{Batch, Device, DropReason, Gate, Outlet, Then, Trouble, has_room};

/// The most datagrams that are sent before they are counted.
const BATCH: usize = 64;

/// Opens the sink. Its reader need not be there.
///
/// # Errors
/// The path is that of something else than a socket, or the kernel gives no socket.
pub fn open(path: &str, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let is_other = std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket());
    if is_other {
        let text = format!("{name} is no socket; name the path of a Unix datagram socket, or write file:PATH");
        return Err(UsageError(text).into());
    }
    let socket = UnixDatagram::unbound().map_err(|error| anyhow!("cannot make a socket for {name}: {error}"))?;
    let device = UnixSocket { path: path.into(), socket, connected: false };
    Ok(Box::new(Written::new(Outlet::over(name, device, context.on_failure()), limit, payload)))
}

struct UnixSocket {
    path: PathBuf,
    socket: UnixDatagram,
    connected: bool,
}

impl UnixSocket {
    /// Connected, it can wait for room in its reader's queue.
    fn connect(&mut self) -> Result<(), Trouble> {
        if !self.connected {
            self.socket.connect(Path::new(&self.path)).map_err(trouble)?;
            self.connected = true;
        }
        Ok(())
    }
}

impl Device for UnixSocket {
    fn write(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> Result<usize, Trouble> {
        self.connect()?;
        for at in 0..batch.len().min(BATCH) {
            match send(&self.socket, batch.unit(at), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {}
                Err(Errno::INTR) => return Ok(at),
                Err(_) if at > 0 => return Ok(at),
                Err(Errno::AGAIN) => {
                    has_room(&self.socket, gate);
                    return Ok(0);
                }
                Err(errno) => {
                    let trouble = trouble(errno.into());
                    self.connected &= matches!(trouble.then, Then::Skip(_));
                    return Err(trouble);
                }
            }
        }
        Ok(batch.len().min(BATCH))
    }
}

fn trouble(error: io::Error) -> Trouble {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MSGSIZE) => Trouble::skip(error, DropReason::TooLong),
        Some(
            Errno::NOENT | Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE | Errno::DESTADDRREQ,
        ) => Trouble { error, then: Then::Retry(DropReason::NoReader) },
        _ => Trouble::retry(error),
    }
}
