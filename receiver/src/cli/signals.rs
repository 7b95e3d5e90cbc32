//! SIGINT, SIGTERM and SIGHUP end a run in order; the same signal again kills at once. SIGWINCH tells of a new window size.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::run::Event;

/// From here on the signals come as events.
pub fn watch(events: Sender<Event>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A flag each: whoever passes on a Ctrl-C as SIGTERM does not mean to kill.
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&seen))?;
        signal_hook::flag::register(signal, seen)?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGWINCH { Event::Resized } else { Event::Signal };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
