//! One network namespace, and threads inside it. For programs see [`crate::command`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::unshare::unshare_network;

/// A network namespace, held by a descriptor. Clones hold the same namespace, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Arc<str>,
    pub(crate) descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace with its loopback interface up. Only error messages use the name, which need not be unique.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] without `CAP_SYS_ADMIN`; those of [`Namespace::ip`].
    pub fn new(name: &str) -> Result<Self> {
        let failed = |source| Error::Namespace { name: name.to_owned(), source };
        // Only the thread moves, so that the caller stays where it is.
        let make = || {
            unshare_network()?;
            File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
        };
        let descriptor = on_thread(make).and_then(|made| made).map_err(failed)?;
        let namespace = Self { name: name.into(), descriptor: Arc::new(descriptor) };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Returns the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if it cannot be read from /proc.
    pub fn current(name: &str) -> Result<Self> {
        let descriptor = File::open("/proc/thread-self/ns/net")
            .map_err(|source| Error::Namespace { name: name.to_owned(), source })?;
        Ok(Self { name: name.into(), descriptor: Arc::new(descriptor.into()) })
    }

    /// Returns the name given to [`Namespace::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace for good. Threads and processes that it starts later are inside too.
    ///
    /// This is for threads that others start, such as those of a tokio runtime (`on_thread_start`). [`Namespace::run`]
    /// and [`Namespace::spawn`] do not move the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::Enter`] without `CAP_SYS_ADMIN`.
    pub fn enter(&self) -> Result<()> {
        self.move_in().map_err(|source| self.enter_error(source))
    }

    /// Runs a closure on a fresh thread inside the namespace, and waits for it. Sockets made there stay in the
    /// namespace wherever they are used. A panic of the closure goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Enter`] without `CAP_SYS_ADMIN`, or if no thread can be started.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| self.move_in().map(|()| work())).and_then(|done| done).map_err(|source| self.enter_error(source))
    }

    /// Starts a thread inside the namespace, and returns once it is there.
    ///
    /// # Errors
    ///
    /// As [`Namespace::run`].
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
        self.run(|| thread::Builder::new().name(format!("in {}", self.name)).spawn(work))?
            .map_err(|source| self.enter_error(source))
    }

    /// Sets a sysctl of this namespace, named by its path below `/proc/sys`: `net/ipv4/conf/all/rp_filter`.
    ///
    /// Writes nothing if it has the value already, since `/proc/sys` may be read-only (in containers).
    ///
    /// # Errors
    ///
    /// [`Error::Sysctl`].
    pub fn sysctl(&self, sysctl: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(sysctl);
        let set = || {
            if std::fs::read_to_string(&path)?.trim() == value { Ok(()) } else { std::fs::write(&path, value) }
        };
        self.run(set)?.map_err(|source| Error::Sysctl {
            name: self.name.to_string(),
            sysctl: sysctl.to_owned(),
            value: value.to_owned(),
            source,
        })
    }

    /// Returns the index of an interface in this namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Interface`] if there is no interface with that name.
    pub fn interface_index(&self, interface: &str) -> Result<u32> {
        let ask = || {
            let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
            rustix::net::netdevice::name_to_index(&socket, interface).map_err(io::Error::from)
        };
        self.run(ask)?.map_err(|source| Error::Interface {
            name: self.name.to_string(),
            interface: interface.to_owned(),
            source,
        })
    }

    pub(crate) fn move_in(&self) -> io::Result<()> {
        move_into_link_name_space(self.descriptor.as_fd(), Some(LinkNameSpaceType::Network)).map_err(io::Error::from)
    }

    fn enter_error(&self, source: io::Error) -> Error {
        Error::Enter { name: self.name.to_string(), source }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Runs a closure on a new thread, and waits for it.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
