//! The run as it is presented: the display and the exporters, fed with the figures of each interval and of the whole
//! run.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Events, RecvTimeoutError};
use std::time::{Duration, Instant};

use receiver::{Evidence, Handle};

use super::consume::Plan;
use super::failure::Failure;
use crate::event::Event;
use crate::figures::{Dropped, Facts, Figures, Snapshot};
use crate::view::{self, Display, Exporters};
use crate::{log, panics, sink};

/// Presents a run.
pub struct Presentation {
    facts: Facts,
    start: Instant,
    handle: Handle,
    display: Display,
    exporters: Exporters,
    plan: Arc<Plan>,
    before: Option<Snapshot>,
    last: Option<Figures>,
}

impl Presentation {
    /// For a run that began at `start`.
    pub fn new(
        facts: Facts,
        start: Instant,
        handle: Handle,
        plan: Arc<Plan>,
        display: Display,
        exporters: Exporters,
    ) -> Self {
        Self { facts, start, handle, display, exporters, plan, before: None, last: None }
    }

    /// Presents each interval, until there is a reason to end.
    pub fn until_the_end(
        &mut self,
        events: &Events<Event>,
        duration: Option<Duration>,
        interval: Duration,
    ) -> Result<(), Failure> {
        self.display.view().start(&self.facts).map_err(Failure::of_display)?;
        self.exporters.start(&self.facts);
        self.before = Some(Snapshot::take(&self.handle)?);
        // A time beyond what the clock can hold never comes.
        let end = duration.and_then(|duration| self.start.checked_add(duration));
        let mut next = self.start.checked_add(interval);
        loop {
            panics::point();
            let event = match end.into_iter().chain(next).min() {
                Some(until) => events.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Signal | Event::Done) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Resized) => {
                    self.display.view().resized(&self.facts, self.last.as_ref()).map_err(Failure::of_display)?
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if end.is_some_and(|end| now >= end) {
                        return Ok(());
                    }
                    self.interval()?;
                    // After a delay of more than an interval, as after a suspend, the missed ones are skipped.
                    next = next
                        .and_then(|next| next.checked_add(interval))
                        .filter(|&next| next > now)
                        .or_else(|| now.checked_add(interval));
                }
            }
        }
    }

    fn interval(&mut self) -> Result<(), Failure> {
        let now = Snapshot::take(&self.handle)?;
        let figures = self.figures(self.before.as_ref(), &now);
        self.before = Some(now);
        self.exporters.interval(&self.facts, &figures);
        let figures = self.last.insert(figures);
        self.display.view().interval(&self.facts, figures).map_err(Failure::of_display)
    }

    fn figures(&self, before: Option<&Snapshot>, now: &Snapshot) -> Figures {
        let sinks = self.plan.sinks.as_ref().map(sink::lock);
        let probe = sinks.as_ref().and_then(|sinks| sinks.probe());
        let sinks = sinks.map(|sinks| sinks.reports()).unwrap_or_default();
        let dropped = Dropped { sinks, display: self.display.dropped(), log: log::dropped() };
        Figures { dropped, ..Figures::between(self.start, before, now, probe) }
    }

    /// Presents the summary, and returns what the command returns for the result of the run.
    ///
    /// # Errors
    /// That of the run; of the display or an exporter if the run had none.
    pub fn summary(
        mut self,
        last: &Snapshot,
        evidence: Evidence,
        result: Result<(), Failure>,
        json: bool,
    ) -> anyhow::Result<()> {
        let mut figures = self.figures(None, last);
        figures.evidence = view::at_the_end(evidence, &figures.streams);
        let shown = match &result {
            Err(Failure::DisplayGone) => Ok(()),
            other => {
                if matches!(other, Err(Failure::Sink(_))) && !json {
                    self.display.turn_to_stderr();
                }
                self.display.view().summary(&self.facts, &figures).map_err(Failure::of_display)
            }
        };
        let finished = self.display.finish().map_err(|error| Failure::of_display(io::Error::from(error).into()));
        let shown = shown.and(finished);
        let written = self.exporters.summary(&self.facts, &figures);
        match result.and(shown) {
            Ok(()) | Err(Failure::DisplayGone | Failure::OutputGone) => written,
            Err(Failure::Sink(error)) => Err(error.into()),
            Err(Failure::Other(error)) => Err(error),
        }
    }
}
