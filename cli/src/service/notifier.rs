//! The socket of the service manager: sd_notify(3). Nothing waits for a manager that does not read.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Sends states to the service manager.
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Notifier {
    /// The service manager that started this process, if it asks for states.
    pub fn from_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        match Self::open(&name) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!("cannot notify the service manager at {}: {error}", name.display());
                None
            }
        }
    }

    fn open(name: &OsStr) -> io::Result<Self> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager })
    }

    /// Sends states in one message. A message that the manager has no room for is lost: the next one is as good.
    pub fn send(&self, states: &[NotifyState<'_>]) {
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.manager) {
            tracing::debug!("the service manager did not get {:?}: {error}", message.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstract_names_and_a_full_socket() {
        let name = format!("receiver-notifier-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        let notifier = Notifier::open(OsStr::new(&format!("@{name}"))).expect("a notifier");
        // More than the kernel keeps for a reader that does not read; none of them waits.
        for _ in 0..2000 {
            notifier.send(&[NotifyState::Ready, NotifyState::Status("it runs")]);
        }
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).expect("a message");
        assert_eq!(std::str::from_utf8(&buffer[..length]), Ok("READY=1\nSTATUS=it runs\n"));
        assert!(Notifier::open(OsStr::new("vsock:2:1")).is_err());
    }
}
