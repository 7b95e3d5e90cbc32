//! The grace period of `block` and `leave`: after the wait has returned, nothing is delivered by the old filter.

#![expect(clippy::duplicate_mod, reason = "the protocol with its barrier, and the same without it")]

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// The protocol as it is. membarrier(2) on one side and a compiler barrier on the other order like a fence on both
/// sides.
#[path = "."]
mod with_barriers {
    pub mod memory {
        pub use loom::sync::atomic::{AtomicU64, Ordering};

        pub fn light() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }

        pub fn heavy() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
    #[path = "../../receiver/src/engine/grace_period/protocol.rs"]
    pub mod protocol;
}

/// The protocol without the worker's barrier, as it once was: loom must find the fault.
#[path = "."]
mod without_the_workers_barrier {
    pub mod memory {
        pub use loom::sync::atomic::{AtomicU64, Ordering};

        pub fn light() {}

        pub fn heavy() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
    #[path = "../../receiver/src/engine/grace_period/protocol.rs"]
    pub mod protocol;
}

/// One worker with a batch of two datagrams, and one change of the filter.
macro_rules! model {
    ($protocol:path) => {{
        use $protocol as protocol;
        loom::model(|| {
            let progress = Arc::new(protocol::Progress::default());
            let wanted = Arc::new(AtomicBool::new(true));
            let returned = Arc::new(AtomicBool::new(false));
            let worker = {
                let (progress, wanted, returned) = (progress.clone(), wanted.clone(), returned.clone());
                thread::spawn(move || {
                    progress.begin();
                    for _ in 0..2 {
                        progress.next();
                        if wanted.load(Ordering::Acquire) {
                            assert!(!returned.load(Ordering::SeqCst), "handed over after the wait had returned");
                        }
                    }
                    progress.end();
                })
            };
            wanted.store(false, Ordering::Release);
            protocol::synchronize();
            assert!(progress.wait(|| {
                thread::yield_now();
                true
            }));
            returned.store(true, Ordering::SeqCst);
            worker.join().expect("the worker ends");
        });
    }};
}

#[test]
fn nothing_is_handed_over_by_the_old_filter_after_the_wait() {
    model!(with_barriers::protocol);
}

#[test]
#[should_panic(expected = "handed over after the wait had returned")]
fn without_the_workers_barrier_it_is() {
    model!(without_the_workers_barrier::protocol);
}
