//! A panic in any thread ends the process: in order (leave, detach, summary) if that takes less than a second, and with
//! exit code 101 either way.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::event::Event;
use super::outlet::{self, Outlet, Units};
use super::signals;

/// The exit code after a panic, as Rust's own.
pub const EXIT_CODE: u8 = 101;

/// How long the end may take. After that the kernel cleans up: it detaches the program and leaves the groups of a process
/// that is gone.
const GRACE: Duration = Duration::from_millis(850);
/// How long the last message may take.
const MESSAGE: Duration = Duration::from_millis(50);

static SEEN: AtomicBool = AtomicBool::new(false);
static EVENTS: OnceLock<Sender<Event>> = OnceLock::new();

/// Returns true if a thread has panicked.
pub fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

/// From here on a panic ends the process.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        if !SEEN.swap(true, Ordering::Relaxed) {
            // Without this thread the process ends as soon as the others let it.
            let _ = thread::Builder::new().name("panic".to_owned()).spawn(|| {
                thread::sleep(GRACE);
                outlet::print(
                    "receiver: an end in order takes too long; the kernel detaches the program and leaves the groups",
                );
                thread::sleep(MESSAGE);
                signal_hook::low_level::exit(EXIT_CODE.into());
            });
        }
        signals::hurry();
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        // Not by `eprintln!`, which waits for a terminal that is stuck.
        let mut out = Units::display(Outlet::stderr());
        let trace = std::backtrace::Backtrace::capture();
        let _ = report(&mut out, name, &info.to_string(), &trace.to_string());
        if let Some(events) = EVENTS.get() {
            // The main thread ends already if it does not listen.
            let _ = events.send(Event::Done);
        }
    }));
}

fn report(out: &mut impl std::io::Write, thread: &str, what: &str, trace: &str) -> std::io::Result<()> {
    writeln!(out, "receiver: this is a fault in the program: thread {thread} {what}\n{trace}")?;
    out.flush()
}

/// Where the main thread hears of panics in other threads.
pub fn tell(events: Sender<Event>) {
    // Set once: a process has one run.
    let _ = EVENTS.set(events);
}

/// Panics if the environment variable RECEIVER_PANIC names the calling thread, so that tests can have a panic in each
/// thread. Does nothing in release builds.
#[inline]
pub fn point() {
    #[cfg(debug_assertions)]
    if let Some(name) = std::env::var_os("RECEIVER_PANIC")
        && thread::current().name().is_some_and(|this| name == this)
        && !seen()
    {
        panic!("as RECEIVER_PANIC asks");
    }
}
