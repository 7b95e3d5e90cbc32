//! SIGINT, SIGTERM and SIGHUP end a run in order; the same signal again kills the process. SIGHUP ends no run that has
//! something to reload or to reopen: it asks for that. SIGWINCH reports a new window size.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::event::Event;

/// Set by the first signal that ends the run, in the handler itself.
static ENDING: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn ending() -> &'static Arc<AtomicBool> {
    ENDING.get_or_init(Arc::default)
}

/// Returns true if the run must end soon: a signal came, or a thread panicked.
pub fn is_hurried() -> bool {
    ending().load(Ordering::Relaxed)
}

/// Ends waits for readers early, as a signal does.
pub fn hurry() {
    ending().store(true, Ordering::Relaxed);
}

/// What SIGHUP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// It ends the run.
    Ends,
    /// It has the run reload its configuration and reopen its files.
    Reloads,
}

/// The signal sets the flag from now on; the same signal again kills the process.
pub fn end_by(signal: i32, flag: &Arc<AtomicBool>) -> io::Result<()> {
    // Each signal has its own flag: a parent that passes on a Ctrl-C as SIGTERM does not mean to kill.
    let seen = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(signal, Arc::clone(&seen))?;
    signal_hook::flag::register(signal, seen)?;
    signal_hook::flag::register(signal, Arc::clone(flag))?;
    Ok(())
}

/// Sends the signals as events from now on. Returns the flag that the first one that ends the run sets.
pub fn watch(events: Sender<Event>, hangup: Hangup) -> io::Result<Arc<AtomicBool>> {
    let ends = |signal: &i32| *signal != SIGHUP || hangup == Hangup::Ends;
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(ends) {
        end_by(signal, ending())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGWINCH => Event::Resized,
                SIGHUP if hangup == Hangup::Reloads => Event::Hangup,
                _ => Event::Signal,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(Arc::clone(ending()))
}
