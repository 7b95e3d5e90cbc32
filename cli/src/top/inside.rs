//! The dashboard of a run in its own process: `receiver run --view dashboard`. Two threads: one for keys and pictures,
//! one that reads the counters and changes subscriptions.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::app::{self, App, Ended, Event, Waker};
use super::draw::Theme;
use super::feed::{self, Run, Unanswered};
use super::terminal;
use crate::control::{Request, Session, parse_reply, reply};
use crate::event;
use crate::figures::{Facts, Figures};
use crate::instance::Instance;
use crate::outlet::{Outlet, Units};
use crate::view::{View, write_summary};

/// Shows a run on the whole terminal until the run or the dashboard ends, and then the summary in words.
pub struct DashboardView {
    instance: Instance,
    interval: Duration,
    outlet: Outlet,
    out: Units,
    running: Option<(Waker, JoinHandle<()>)>,
}

impl DashboardView {
    /// Of a run, on this outlet. `out` is for the summary.
    pub fn new(instance: &Instance, interval: Duration, outlet: &Outlet, out: Units) -> Self {
        Self { instance: instance.clone(), interval, outlet: outlet.clone(), out, running: None }
    }

    fn close(&mut self) {
        let Some((waker, thread)) = self.running.take() else { return };
        waker.send(Event::End);
        // A panic was reported by the panic hook.
        let _ = thread.join();
        terminal::leave();
    }
}

impl View for DashboardView {
    fn start(&mut self, _: &Facts) -> anyhow::Result<()> {
        let (waker, waiting) = app::channel().context("cannot wait for keys")?;
        let (actions, asked) = mpsc::channel();
        let theme = Theme::of_terminal();
        let app = App::open(&self.outlet, waiting, actions, self.interval, true, theme)
            .context("cannot use the terminal for the dashboard")?;
        let (mut own, interval) = (Own { instance: self.instance.clone(), session: Session::default() }, self.interval);
        let feed = waker.clone();
        thread::Builder::new()
            .name("dashboard-feed".to_owned())
            .spawn(move || feed::run(&mut own, interval, &asked, &feed))?;
        let instance = self.instance.clone();
        let thread = thread::Builder::new().name("dashboard".to_owned()).spawn(move || match app.run() {
            Ok(Ended::ByEvent) => {}
            Ok(Ended::Asked | Ended::TerminalGone) => instance.send(event::Event::Signal),
            Err(error) => {
                tracing::error!("the dashboard has ended: {error}");
                instance.send(event::Event::Done);
            }
        })?;
        self.running = Some((waker, thread));
        Ok(())
    }

    /// The feed has figures of its own.
    fn interval(&mut self, _: &Facts, _: &Figures) -> anyhow::Result<()> {
        Ok(())
    }

    fn closing(&mut self) {
        self.close();
    }

    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        self.close();
        Ok(write_summary(&mut self.out, facts, figures)?)
    }
}

impl Drop for DashboardView {
    fn drop(&mut self) {
        self.close();
    }
}

/// The run of this process.
struct Own {
    instance: Instance,
    session: Session,
}

impl Run for Own {
    fn ask(&mut self, request: &Request) -> Result<Value, Unanswered> {
        let reply = reply(&self.instance, request, &mut self.session);
        match parse_reply(&reply) {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(refusal)) => Err(Unanswered::Refused(refusal.error)),
            Err(error) => Err(Unanswered::Lost(error.to_string())),
        }
    }
}
