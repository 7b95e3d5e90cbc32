//! The dashboard at work: it waits for keys, answers and signals, and draws.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

use super::draw::{self, Layout, Theme};
use super::keys::{Action, Request, State};
use super::model::Model;
use super::stats::Stats;
use super::terminal::{self, Input, Terminal};
use crate::outlet::{Outlet, Units};
use crate::view::terminal_size;
use crate::{log, panics, signals};

/// What the dashboard waits for, beside keys.
pub enum Event {
    Stats(Box<Stats>),
    /// There is no answer.
    Lost(String),
    /// The answer to an action.
    Answer(Result<String, String>),
    /// Why a subscription receives nothing, by its key.
    Findings(String, Vec<String>),
    /// The dashboard must end.
    End,
}

/// Sends events to a dashboard.
#[derive(Clone)]
pub struct Waker {
    events: Sender<Event>,
    pipe: Arc<UnixStream>,
}

impl Waker {
    /// Sends an event. A dashboard that has ended ignores it.
    pub fn send(&self, event: Event) {
        if self.events.send(event).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        // A pipe that is full wakes as well.
        let _ = io::Write::write(&mut &*self.pipe, &[0]);
    }
}

/// What a dashboard waits for.
pub struct Waiting {
    events: Receiver<Event>,
    pipe: UnixStream,
    stopped: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
}

impl Waiting {
    /// SIGINT, SIGTERM and SIGHUP end the dashboard from now on; the same signal again kills the process.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn end_on_signals(&self, waker: &Waker) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signals::end_by(signal, &self.ending)?;
            signal_hook::low_level::pipe::register(signal, waker.pipe.try_clone()?)?;
        }
        Ok(())
    }
}

/// The two ends: one that sends events, one for the dashboard. SIGTSTP, SIGCONT and SIGWINCH wake it from now on.
///
/// # Errors
/// Too many files are open.
pub fn channel() -> io::Result<(Waker, Waiting)> {
    let (writer, reader) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    reader.set_nonblocking(true)?;
    let (stopped, continued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    signal_hook::flag::register(SIGTSTP, Arc::clone(&stopped))?;
    signal_hook::flag::register(SIGCONT, Arc::clone(&continued))?;
    for signal in [SIGWINCH, SIGTSTP, SIGCONT] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    let (sender, events) = mpsc::channel();
    let waiting = Waiting { events, pipe: reader, stopped, continued, ending: Arc::default() };
    Ok((Waker { events: sender, pipe: Arc::new(writer) }, waiting))
}

/// The dashboard.
pub struct App {
    model: Model,
    /// What is shown while the picture stands still.
    frozen: Option<Model>,
    state: State,
    theme: Theme,
    terminal: Terminal,
    input: Input,
    waiting: Waiting,
    actions: Sender<Action>,
    /// The log that was held back, which is written after the dashboard.
    log: Vec<u8>,
}

impl App {
    /// Takes the terminal. `actions` go to the feed of the run.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn open(
        outlet: &Outlet,
        waiting: Waiting,
        actions: Sender<Action>,
        interval: Duration,
        ends_run: bool,
        theme: Theme,
    ) -> io::Result<Self> {
        let input = Input::open()?;
        let terminal = Terminal::open(outlet)?;
        log::hold();
        let (model, state) = (Model::new(interval), State::new(ends_run));
        Ok(Self { model, frozen: None, state, theme, terminal, input, waiting, actions, log: Vec::new() })
    }

    /// Shows the run until a key or an event ends it. Then the terminal is as it was, and the log that was held back is
    /// written.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub fn run(mut self) -> io::Result<Ended> {
        let ended = self.until_the_end();
        terminal::leave();
        self.take_log();
        let mut out = Units::display(Outlet::stderr());
        // A failure here has no place left to be reported.
        let _ = io::Write::write_all(&mut out, &self.log).and_then(|()| io::Write::flush(&mut out));
        log::release();
        ended
    }

    fn until_the_end(&mut self) -> io::Result<Ended> {
        loop {
            panics::point();
            self.draw()?;
            let keys = match self.wait()? {
                Some(keys) => keys,
                None => return Ok(Ended::TerminalGone),
            };
            for key in keys {
                let model = self.frozen.as_ref().unwrap_or(&self.model);
                match self.state.key(key, model) {
                    None => {}
                    Some(Request::Quit) => return Ok(Ended::Asked),
                    Some(Request::Suspend) => self.suspend()?,
                    Some(Request::Redraw) => self.terminal.forget(),
                    Some(Request::Run(action)) => {
                        // A feed that has ended is about to be reported.
                        let _ = self.actions.send(action);
                    }
                }
                self.freeze();
            }
            if self.waiting.ending.load(Ordering::Relaxed) {
                return Ok(Ended::ByEvent);
            }
            if self.waiting.stopped.swap(false, Ordering::Relaxed) {
                self.suspend()?;
            }
            if self.waiting.continued.swap(false, Ordering::Relaxed) {
                // A shell may have changed the terminal meanwhile.
                self.terminal.take_again()?;
            }
            while let Ok(event) = self.waiting.events.try_recv() {
                match event {
                    Event::End => return Ok(Ended::ByEvent),
                    Event::Stats(stats) => self.model.update(*stats),
                    Event::Lost(why) => self.model.lose(why),
                    Event::Findings(key, findings) => {
                        self.model.take_findings(key.clone(), findings.clone());
                        if let Some(frozen) = &mut self.frozen {
                            frozen.take_findings(key, findings);
                        }
                    }
                    Event::Answer(answer) => {
                        let (text, failed) = match answer {
                            Ok(text) => (text, false),
                            Err(text) => (text, true),
                        };
                        self.model.note_action(text.clone(), !failed);
                        self.state.answer(text, failed);
                    }
                }
            }
        }
    }

    /// Waits for keys or events. `None` if the terminal is gone.
    fn wait(&mut self) -> io::Result<Option<Vec<super::keys::Key>>> {
        let patience = Timespec { tv_sec: 0, tv_nsec: terminal::ESCAPE.subsec_nanos().into() };
        let limit = self.input.is_waiting().then_some(&patience);
        let mut descriptors = [
            PollFd::from_borrowed_fd(self.input.descriptor(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.waiting.pipe.as_fd(), PollFlags::IN),
        ];
        let ready = match poll(&mut descriptors, limit) {
            Ok(0) => return Ok(Some(self.input.give_up())),
            Err(rustix::io::Errno::INTR) => return Ok(Some(Vec::new())),
            other => other.map(|_| descriptors.map(|descriptor| !descriptor.revents().is_empty()))?,
        };
        if ready[1] {
            let mut bytes = [0; 256];
            while matches!(io::Read::read(&mut &self.waiting.pipe, &mut bytes), Ok(1..)) {}
        }
        if ready[0] { Ok(self.input.read()) } else { Ok(Some(Vec::new())) }
    }

    fn freeze(&mut self) {
        if !self.state.paused {
            self.frozen = None;
        } else if self.frozen.is_none() {
            self.frozen = Some(self.model.clone());
        }
    }

    fn take_log(&mut self) {
        let lines = log::take();
        self.model.take_log(&lines);
        self.log.extend_from_slice(&lines);
        // What the dashboard shows no more need not follow it either.
        const MOST: usize = 64 << 10;
        if self.log.len() > 2 * MOST {
            self.log.drain(..self.log.len() - MOST);
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        self.take_log();
        let (width, height) = terminal_size();
        let area = Rect::new(0, 0, width, height);
        let model = self.frozen.as_ref().unwrap_or(&self.model);
        let mut picture = Buffer::empty(area);
        self.state.refresh(model);
        let layout = Layout::new(area, self.state.panel, self.state.len());
        self.state.fit(layout.rows());
        draw::draw(&mut picture, &layout, model, &self.state, &self.theme);
        self.terminal.draw(picture)
    }

    /// Gives the terminal back, stops the process as SIGTSTP does, and takes the terminal again afterwards.
    fn suspend(&mut self) -> io::Result<()> {
        terminal::leave();
        self.waiting.continued.store(false, Ordering::Relaxed);
        kill_process(getpid(), Signal::STOP)?;
        // Another thread may take the signal, so that this one runs on for a moment. The first process of a PID
        // namespace does not stop at all.
        for _ in 0..100 {
            if self.waiting.continued.swap(false, Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.terminal.take_again()
    }
}

/// Why a dashboard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A key asked for it.
    Asked,
    /// An event or a signal asked for it.
    ByEvent,
    /// The terminal was closed.
    TerminalGone,
}
