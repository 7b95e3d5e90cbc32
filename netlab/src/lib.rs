//! Network namespaces joined by veth, for the project's tests and its demonstration.
//!
//! [`Lab::new`] makes two namespaces, `rx` and `tx`, joined by a veth pair with known addresses on both ends. Code,
//! threads and commands then run inside them:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lab = netlab::Lab::new()?;
//! let socket = lab.tx().run(|| std::net::UdpSocket::bind("10.0.0.1:0"))??;
//! let listing = lab.rx().ip(&["-brief", "address"])?;
//! let child = lab.rx().command("sleep").arg("1").spawn()?;
//! # drop((socket, listing, child)); Ok(()) }
//! ```
//!
//! A namespace has no name in the file system. A file descriptor holds it, and the kernel removes it with its links
//! after the last descriptor, thread, socket and child process in it is gone. Nothing stays behind, even after `kill
//! -9` (except while a child that was started inside still runs).
//!
//! The crate needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, which root has, and which any user has inside a user namespace
//! ([`enter_user_namespace`]).
//!
//! `/sys` is not remounted: `/sys/class/net` keeps showing the interfaces of the namespace in which it was mounted, not
//! those of the thread that reads it. Ask netlink (or `ip`) instead. `/proc/sys/net` and `/proc/thread-self/net` do
//! follow the thread; `/proc/net` and `/proc/self/net` follow the main thread of the process.
//!
//! [`run_frame`] and [`feed_live`] put frames through an XDP program that is attached.
//!
//! The crate needs the command `ip` (Debian's package iproute2).

mod command;
mod error;
mod ethtool;
mod lab;
mod link;
mod namespace;
mod test_run;
mod unshare;

pub use command::Command;
pub use error::{Error, Result};
pub use ethtool::Channels;
pub use lab::{Lab, LabBuilder};
pub use link::{End, LinkOptions, connect, move_interface, prepare};
pub use namespace::Namespace;
pub use test_run::{TestRun, feed_live, run_frame};
pub use unshare::enter_user_namespace;
