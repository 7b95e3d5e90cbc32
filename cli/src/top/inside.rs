//! The dashboard of a run in its own process: `receiver run --view dashboard`. Two threads: one for keys and pictures,
//! one that reads the counters and changes subscriptions.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use receiver::{SubscriptionReport, printable};

use super::app::{self, App, Ended, Event, Waker};
use super::draw::Theme;
use super::feed::{self, Source};
use super::keys::{Action, ActionKind};
use super::stats::{RefusedMode, Stats};
use super::terminal;
use crate::event;
use crate::figures::{Facts, Figures, Snapshot};
use crate::instance::Instance;
use crate::outlet::{Outlet, Units};
use crate::view::{JsonView, View, explained, write_summary};

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
        let (mut source, interval) = (Own { instance: self.instance.clone(), before: None }, self.interval);
        let feed = waker.clone();
        thread::Builder::new()
            .name("dashboard-feed".to_owned())
            .spawn(move || feed::run(&mut source, interval, &asked, &feed))?;
        let instance = self.instance.clone();
        let thread = thread::Builder::new().name("dashboard".to_owned()).spawn(move || match app.run() {
            Ok(Ended::Told) => {}
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
    before: Option<Snapshot>,
}

impl Own {
    fn report(&self, action: &Action) -> Result<SubscriptionReport, String> {
        let all = self.instance.handle().subscriptions().map_err(|error| error.to_string())?;
        let found = all.into_iter().find(|report| report.subscription.to_string() == action.subscription);
        found.ok_or_else(|| format!("{} is not joined any more", action.subscription))
    }
}

impl Source for Own {
    fn stats(&mut self) -> Result<Stats, String> {
        let text = |error: receiver::Error| error.to_string();
        let now = self.instance.snapshot().map_err(text)?;
        let figures = self.instance.figures(self.before.as_ref(), &now);
        self.before = Some(now);
        let facts = self.instance.facts();
        let mut object = Vec::new();
        JsonView(&mut object).interval(facts, &figures).map_err(|error| error.to_string())?;
        let stats: Stats = serde_json::from_slice(&object).map_err(|error| error.to_string())?;
        Ok(Stats {
            name: self.instance.name().map(str::to_owned),
            interface: printable(&facts.interface, 64),
            mode: facts.mode.to_string(),
            share: facts.share,
            refused_modes: facts
                .refused
                .iter()
                .map(|refused| RefusedMode { mode: refused.mode.to_string(), reason: refused.reason.clone() })
                .collect(),
            queues: facts.queues.iter().map(|&queue| queue.into()).collect(),
            ..stats
        })
    }

    fn change(&mut self, action: &Action) -> Result<String, String> {
        let report = self.report(action)?;
        let (handle, id, any_source) = (self.instance.handle(), report.id, report.subscription.filter().is_exclude());
        let (source, done, what) = match action.kind {
            // A subscription with named sources has no blocked ones: what is not wanted is not named.
            ActionKind::Block(source) if any_source => (source, handle.block(id, source), "blocked"),
            ActionKind::Block(source) => (source, handle.leave_source(id, source), "blocked"),
            ActionKind::Unblock(source) if any_source => (source, handle.unblock(id, source), "unblocked"),
            ActionKind::Unblock(source) => (source, handle.join_source(id, source), "unblocked"),
            ActionKind::Explain => return Err("nothing is to be changed".to_owned()),
        };
        done.map(|()| format!("{source} is {what} on {}", action.subscription)).map_err(|error| error.to_string())
    }

    fn explain(&mut self, action: &Action) -> Result<Vec<String>, String> {
        let report = self.report(action)?;
        let evidence = self.instance.handle().evidence().map_err(|error| anyhow!(error).to_string())?;
        let Some(silence) = evidence.silent.iter().find(|silence| silence.id == report.id) else {
            return Ok(vec![
                "it has received packets: the sender, the link (panel 3) or the membership may have changed; `receiver \
                 membership` shows what is joined"
                    .to_owned(),
            ]);
        };
        let own = silence.findings.iter().map(|finding| explained(finding, Some(&silence.subscription)));
        Ok(own.chain(evidence.findings.iter().map(|finding| explained(finding, None))).collect())
    }
}
