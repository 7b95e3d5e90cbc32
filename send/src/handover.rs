//! Packets to the kernel: every one of them exactly once, although its queue may be full.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendFlags, sendmmsg};

use crate::error::SendError;

/// A full queue is retried this many times after yielding to other threads; then the thread sleeps between retries.
const EAGER_RETRIES: u32 = 64;
const RETRY_SLEEP: Duration = Duration::from_micros(50);

/// Why a batch was not sent completely.
pub(crate) enum Stuck {
    Stopped,
    Failed(Errno),
}

/// Sends all, in several calls if the kernel takes only some. `taken` gets the number of the first one of each part and
/// the number after the last one.
pub(crate) fn hand_over(
    socket: BorrowedFd<'_>,
    messages: &mut [MMsgHdr<'_>],
    retries: &mut u64,
    stop: &dyn Fn() -> bool,
    mut taken: impl FnMut(usize, usize),
) -> Result<(), Stuck> {
    let (mut done, mut refused) = (0, 0);
    while done < messages.len() {
        match sendmmsg(socket, &mut messages[done..], SendFlags::empty()) {
            Ok(count) => {
                taken(done, done + count);
                done += count;
                refused = 0;
            }
            Err(Errno::INTR) if stop() => return Err(Stuck::Stopped),
            Err(Errno::INTR) => {}
            Err(Errno::NOBUFS | Errno::AGAIN) => {
                *retries += 1;
                refused += 1;
                if stop() {
                    return Err(Stuck::Stopped);
                }
                if refused < EAGER_RETRIES {
                    thread::yield_now();
                } else {
                    thread::sleep(RETRY_SLEEP);
                }
            }
            Err(errno) => return Err(Stuck::Failed(errno)),
        }
    }
    Ok(())
}

/// The error for a packet that the kernel refused after `sent` others.
pub(crate) fn failure(interface: &str, from: IpAddr, sent: u64, source: io::Error) -> SendError {
    let remedy = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; check that no firewall rule forbids it (`nft list ruleset`)",
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => "; check that the interface exists and is up",
        Some(libc::EMSGSIZE) => "; the packet is larger than the interface takes, so send a smaller payload",
        Some(libc::ENETUNREACH) => "; give the interface an address of the group's family",
        _ => "",
    };
    SendError::Send { from, interface: interface.to_owned(), sent, source, remedy }
}
