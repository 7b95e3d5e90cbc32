//! The asymmetric barrier by membarrier(2): free for the workers, expensive for the control side. Where the kernel has
//! no membarrier (before Linux 4.14, or under a seccomp filter), both sides use a fence. `models/` has loom's fences in
//! place of this file.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, compiler_fence, fence};

use rustix::thread::{MembarrierCommand, membarrier};

pub use std::sync::atomic::{AtomicU64, Ordering};

/// True if [`heavy`] is a membarrier. Decided once, before any worker exists.
static EXPEDITED: AtomicBool = AtomicBool::new(false);

/// Registers the process with the kernel. To be called before a worker is made.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // membarrier(2): the same arguments give the same result until reboot, so one good call is enough to know.
        let registered = membarrier(MembarrierCommand::RegisterPrivateExpedited)
            .and_then(|()| membarrier(MembarrierCommand::PrivateExpedited));
        EXPEDITED.store(registered.is_ok(), Ordering::SeqCst);
    });
}

/// The worker's half, for each datagram.
#[inline]
pub fn light() {
    if EXPEDITED.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The control side's half: each thread of this process passes a full barrier before it returns.
pub fn heavy() {
    fence(Ordering::SeqCst);
    if EXPEDITED.load(Ordering::Relaxed)
        && let Err(errno) = membarrier(MembarrierCommand::PrivateExpedited)
    {
        tracing::error!("the kernel refused a memory barrier that it gave before: {errno}");
    }
}
