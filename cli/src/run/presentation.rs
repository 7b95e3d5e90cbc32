//! The run as it is presented: the display, the exporters and the service manager, fed with the figures of each
//! interval and of the whole run.

use std::io;
use std::sync::mpsc::{Receiver as Events, RecvTimeoutError};
use std::time::{Duration, Instant};

use receiver::Evidence;

use super::failure::Failure;
use crate::event::Event;
use crate::figures::{Base, Figures, Snapshot};
use crate::instance::Instance;
use crate::service::Service;
use crate::view::{self, Display, Exporters};
use crate::{log, panics};

/// Presents a run.
pub struct Presentation {
    instance: Instance,
    display: Display,
    exporters: Exporters,
    service: Service,
    before: Option<Base>,
    last: Option<Figures>,
}

impl Presentation {
    /// Of a run.
    pub fn new(instance: Instance, display: Display, exporters: Exporters, service: Service) -> Self {
        Self { instance, display, exporters, service, before: None, last: None }
    }

    /// Presents each interval, until there is a reason to end.
    pub fn until_the_end(
        &mut self,
        events: &Events<Event>,
        duration: Option<Duration>,
        interval: Duration,
    ) -> Result<(), Failure> {
        self.display.view().start(self.instance.facts()).map_err(Failure::of_display)?;
        self.exporters.start(self.instance.facts());
        self.before = Some(self.instance.snapshot()?.into_base());
        self.service.ready(self.instance.facts());
        let result = self.intervals(events, duration, interval);
        self.service.stopping();
        self.display.view().closing();
        result
    }

    fn intervals(
        &mut self,
        events: &Events<Event>,
        duration: Option<Duration>,
        interval: Duration,
    ) -> Result<(), Failure> {
        // A time beyond what the clock can hold never comes.
        let end = duration.and_then(|duration| self.instance.start().checked_add(duration));
        let mut next = self.instance.start().checked_add(interval);
        loop {
            panics::point();
            self.service.heartbeat(Instant::now());
            let event = match end.into_iter().chain(next).chain(self.service.next()).min() {
                Some(until) => events.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Signal | Event::Done) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Hangup) => self.instance.hangup(),
                Ok(Event::Resized) => self
                    .display
                    .view()
                    .resized(self.instance.facts(), self.last.as_ref())
                    .map_err(Failure::of_display)?,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if end.is_some_and(|end| now >= end) {
                        return Ok(());
                    }
                    if next.is_none_or(|next| now < next) {
                        continue;
                    }
                    self.interval()?;
                    next = next.and_then(|next| following(next, interval, Instant::now()));
                }
            }
        }
    }

    fn interval(&mut self) -> Result<(), Failure> {
        log::report_suppressed();
        let now = self.instance.snapshot()?;
        let figures = self.figures(self.before.as_ref(), &now);
        self.before = Some(now.into_base());
        self.exporters.interval(self.instance.facts(), &figures);
        self.service.interval(self.instance.facts(), &figures);
        let figures = self.last.insert(figures);
        self.display.view().interval(self.instance.facts(), figures).map_err(Failure::of_display)
    }

    fn figures(&self, before: Option<&Base>, now: &Snapshot) -> Figures {
        let mut figures = self.instance.figures(before, now);
        figures.dropped.display = self.display.dropped();
        figures
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
                self.display.view().summary(self.instance.facts(), &figures).map_err(Failure::of_display)
            }
        };
        let finished = self.display.finish().map_err(|error| Failure::of_display(io::Error::from(error).into()));
        let shown = shown.and(finished);
        let written = self.exporters.summary(self.instance.facts(), &figures);
        match result.and(shown) {
            Ok(()) | Err(Failure::DisplayGone | Failure::OutputGone) => written,
            Err(Failure::Sink(error)) => Err(error.into()),
            Err(Failure::Other(error)) => Err(error),
        }
    }
}

/// When the interval ends that follows the one that was due at `due` and was presented `now`. After a delay, as after a
/// suspend, the missed ones are skipped, and none is shorter than half: its rates would mean nothing.
fn following(due: Instant, interval: Duration, now: Instant) -> Option<Instant> {
    let next = due.checked_add(interval)?;
    if next >= now + interval / 2 { Some(next) } else { now.checked_add(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_interval_is_followed_by_a_whole_one() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let after = |late: u64| {
            let now = start + Duration::from_millis(late);
            following(start, second, now).expect("a time") - start
        };
        assert_eq!([0, 3, 500].map(after), [second; 3]);
        assert_eq!([501, 999, 7_000].map(after), [1_501, 1_999, 8_000].map(Duration::from_millis));
        assert_eq!(following(start, Duration::MAX, start), None, "beyond what the clock can hold");
    }
}
