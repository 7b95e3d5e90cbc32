//! The terminal while the dashboard has it: raw mode and the alternate screen. Both end with the dashboard, with an
//! error, a panic, a signal, and while the process is stopped; after SIGKILL, `reset` helps.

mod input;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::outlet::{Counts, DISPLAY_LIMIT, Outlet, Units};

pub use input::{ESCAPE, Input};

/// To the alternate screen, hide the cursor, clear.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H";
/// No attributes, show the cursor, back to the normal screen.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
/// What the terminal shows between these appears at once.
const TOGETHER: (&str, &str) = ("\x1b[?2026h", "\x1b[?2026l");
/// How long the end waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_millis(200);

/// The terminal that is to be restored, while there is one.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// Set when the terminal is needed for a last message: it is not taken again.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

struct Open {
    terminal: OwnedFd,
    before: Termios,
    outlet: Outlet,
    out: Units,
}

/// The terminal as the dashboard draws on it.
pub struct Terminal {
    outlet: Outlet,
    /// Pictures that were dropped because the terminal did not take them.
    dropped: Arc<Counts>,
    /// `dropped` when the last picture was drawn.
    seen: u64,
    shown: Option<Buffer>,
}

impl Terminal {
    /// Takes the terminal of standard input and of this outlet.
    ///
    /// # Errors
    /// It has no settings that can be changed.
    pub fn open(outlet: &Outlet) -> io::Result<Self> {
        let terminal = Self { outlet: outlet.clone(), dropped: Arc::default(), seen: 0, shown: None };
        terminal.enter()?;
        Ok(terminal)
    }

    fn enter(&self) -> io::Result<()> {
        let terminal = controlling()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        let mut out = Units::new(&self.outlet, DISPLAY_LIMIT, &self.dropped);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() && !GIVEN_UP.load(Ordering::Relaxed) {
            tcsetattr(&terminal, OptionalActions::Now, &raw)?;
            out.write_all(ENTER.as_bytes())?;
            out.flush()?;
            *open = Some(Open { terminal, before, outlet: self.outlet.clone(), out });
        }
        Ok(())
    }

    /// Takes it again, after it was given back, or after another program may have changed it.
    ///
    /// # Errors
    /// As those of [`Terminal::open`].
    pub fn take_again(&mut self) -> io::Result<()> {
        leave();
        self.shown = None;
        self.enter()
    }

    /// The next picture is drawn from scratch.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// Draws what differs from the last picture. Nothing once the terminal was given back.
    ///
    /// # Errors
    /// Writing has failed.
    pub fn draw(&mut self, picture: Buffer) -> io::Result<()> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_mut() else { return Ok(()) };
        // A picture that was dropped, or another size, leaves it unknown what the terminal shows.
        let dropped = self.dropped.dropped();
        let known = self.shown.take().filter(|shown| shown.area == picture.area && dropped == self.seen);
        self.seen = dropped;
        let mut bytes = TOGETHER.0.as_bytes().to_vec();
        let mut backend = CrosstermBackend::new(&mut bytes);
        match &known {
            Some(shown) => backend.draw(shown.diff(&picture).into_iter())?,
            None => {
                backend.clear()?;
                backend.draw(Buffer::empty(picture.area).diff(&picture).into_iter())?;
            }
        }
        bytes.extend_from_slice(TOGETHER.1.as_bytes());
        open.out.write_all(&bytes)?;
        open.out.flush()?;
        self.shown = Some(picture);
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back for good, also if the dashboard is yet to open. Any thread may call it: a panic hook does.
pub fn give_up() {
    // Before the lock: whoever takes the terminal later finds the flag set.
    GIVEN_UP.store(true, Ordering::Relaxed);
    leave();
}

/// Gives the terminal back as it was, if it was taken. Any thread may call it.
pub fn leave() {
    let deadline = Instant::now() + PATIENCE;
    let open = loop {
        match OPEN.try_lock() {
            Ok(mut open) => break open.take(),
            Err(TryLockError::Poisoned(open)) => break open.into_inner().take(),
            // The thread that draws may be the one that panics.
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let Some(mut open) = open else { return };
    // A failure here has no remedy: the terminal may be gone.
    let _ = tcsetattr(&open.terminal, OptionalActions::Now, &open.before);
    let _ = open.out.write_all(LEAVE.as_bytes()).and_then(|()| open.out.flush());
    open.outlet.settle(PATIENCE);
}

/// Returns true if a terminal is there for keys.
pub fn has_keys() -> bool {
    controlling().is_ok()
}

/// The terminal that the keys come from.
fn controlling() -> io::Result<OwnedFd> {
    if io::stdin().is_terminal() {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    Ok(File::options().read(true).write(true).open("/dev/tty")?.into())
}
