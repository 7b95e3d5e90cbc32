//! Network namespaces joined by veth, for the project's tests and its demonstration.
//!
//! [`Lab::new`] makes two namespaces, `rx` and `tx`, joined by a veth pair with known addresses on both ends. Code, threads and
//! commands are then run inside of them:
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
//! A namespace has no name in the file system: it is held by a file descriptor, and the kernel takes it down, with the links in
//! it, once the last descriptor, thread, socket and child process of it is gone. Nothing is left behind, not even by `kill -9`
//! (except while a child that was started inside still runs).
//!
//! Privilege: `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, as root has them, or as any user has them inside a user namespace
//! ([`enter_user_namespace`]).
//!
//! `/sys` is not mounted anew: `/sys/class/net` keeps showing the interfaces of the namespace in which it was mounted, not those
//! of the thread that reads it. Ask netlink (or `ip`) instead. `/proc/sys/net` and `/proc/thread-self/net` do follow the thread;
//! `/proc/net` and `/proc/self/net` follow the main thread of the process.
//!
//! Needs the `ip` command (Debian's package iproute2).

mod command;
mod error;
mod ethtool;
mod lab;
mod link;
mod namespace;
mod unshare;

pub use command::Command;
pub use error::{Error, Result};
pub use ethtool::Channels;
pub use lab::{Lab, LabBuilder};
pub use link::{End, LinkOptions, connect, move_interface};
pub use namespace::Namespace;
pub use unshare::enter_user_namespace;
