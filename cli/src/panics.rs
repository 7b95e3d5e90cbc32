//! A panic in any thread ends the process with exit code 101. The end is orderly (leave, detach, summary) if that takes
//! less than a second.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::event::Event;
use super::outlet::{self, Outlet, Units};
use super::signals;
use super::top;

/// The exit code after a panic, as Rust's runtime has it.
pub const EXIT_CODE: u8 = 101;

/// The time for an orderly end. After that the kernel cleans up: it detaches the program and leaves the groups of a
/// process that is gone.
const GRACE: Duration = Duration::from_millis(850);
/// The time for the last message.
const MESSAGE: Duration = Duration::from_millis(50);

static SEEN: AtomicBool = AtomicBool::new(false);
static EVENTS: OnceLock<Sender<Event>> = OnceLock::new();

/// Returns true if a thread has panicked.
pub fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

/// Makes each panic from now on end the process.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        if !SEEN.swap(true, Ordering::Relaxed) {
            // Without this thread the process ends when the other threads have ended.
            let _ = thread::Builder::new().name("panic".to_owned()).spawn(|| {
                thread::sleep(GRACE);
                outlet::print(
                    "receiver: an orderly end takes too long; the kernel detaches the program and leaves the groups",
                );
                thread::sleep(MESSAGE);
                signal_hook::low_level::exit(EXIT_CODE.into());
            });
        }
        // The report must not vanish with the dashboard's screen.
        top::give_up();
        signals::hurry();
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        // `eprintln!` would wait for a terminal that is stuck.
        let mut out = Units::display(Outlet::stderr());
        let trace = std::backtrace::Backtrace::capture();
        let _ = report(&mut out, name, &info.to_string(), &trace.to_string());
        if let Some(events) = EVENTS.get() {
            // A main thread that no longer listens is ending the run already.
            let _ = events.send(Event::Done);
        }
    }));
}

fn report(out: &mut impl std::io::Write, thread: &str, what: &str, trace: &str) -> std::io::Result<()> {
    writeln!(out, "receiver: this is a fault in the program: thread {thread} {what}\n{trace}")?;
    out.flush()
}

/// Reports panics to the main thread, which waits for these events.
pub fn report_to(events: Sender<Event>) {
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
