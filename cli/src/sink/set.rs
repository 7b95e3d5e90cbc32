//! The sinks of a run, which the receiving threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use receiver::Datagram;
use receiver_send::probe::{ProbeChecker, ProbeReport};

use super::traits::{Context, Sink, SinkReport, Target};
use crate::outlet::OutletError;

/// Everything that a run does with a datagram beyond counting it.
pub struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    probe: Option<ProbeChecker>,
}

impl Sinks {
    /// Opens the sinks. `None` if datagrams are only counted.
    ///
    /// # Errors
    /// A target cannot be opened.
    pub fn open(targets: &[Box<dyn Target>], probe: bool, context: &Context<'_>) -> anyhow::Result<Option<Self>> {
        let sinks = targets.iter().map(|target| target.open(context)).collect::<Result<Vec<_>, _>>()?;
        let probe = probe.then(ProbeChecker::new);
        Ok(if sinks.is_empty() && probe.is_none() { None } else { Some(Self { sinks, probe }) })
    }

    /// Gives one datagram to each sink.
    #[inline]
    pub fn take(&mut self, datagram: &Datagram<'_>) {
        if let Some(probe) = &mut self.probe {
            let (group, port, time) = (datagram.group(), datagram.port(), datagram.time().nanoseconds);
            probe.observe(datagram.source(), group, port, datagram.payload(), time);
        }
        for sink in &mut self.sinks {
            sink.take(datagram);
        }
    }

    /// Ends a batch.
    ///
    /// # Errors
    /// That of the first sink that has failed; the other sinks end their batch as well.
    pub fn end_batch(&mut self) -> Result<(), OutletError> {
        self.each(|sink| sink.end_batch())
    }

    /// After the last datagram: waits for each sink's reader.
    ///
    /// # Errors
    /// As [`Sinks::end_batch`].
    pub fn finish(&mut self) -> Result<(), OutletError> {
        self.each(|sink| sink.finish())
    }

    fn each(&mut self, call: impl Fn(&mut dyn Sink) -> Result<(), OutletError>) -> Result<(), OutletError> {
        let mut result = Ok(());
        for sink in &mut self.sinks {
            result = result.and(call(sink.as_mut()));
        }
        result
    }

    /// The counts of each sink.
    pub fn reports(&self) -> Vec<SinkReport> {
        self.sinks.iter().map(|sink| sink.report()).collect()
    }

    /// What the checker of test streams has found so far.
    pub fn probe(&self) -> Option<ProbeReport> {
        self.probe.as_ref().map(ProbeChecker::report)
    }
}

/// Takes the lock of shared sinks. A panic in another thread leaves them usable.
pub fn lock(sinks: &Mutex<Sinks>) -> MutexGuard<'_, Sinks> {
    sinks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::outlet::Outlet;
    use std::io;
    use std::sync::mpsc;

    /// Fails or not, and counts its batches.
    struct Fake {
        name: &'static str,
        fails: bool,
        batches: u64,
    }

    impl Sink for Fake {
        fn take(&mut self, _: &Datagram<'_>) {}

        fn end_batch(&mut self) -> Result<(), OutletError> {
            self.batches += 1;
            if self.fails { Err(failure()) } else { Ok(()) }
        }

        fn finish(&mut self) -> Result<(), OutletError> {
            Ok(())
        }

        fn report(&self) -> SinkReport {
            SinkReport { name: self.name.to_owned(), dropped: self.batches }
        }
    }

    fn failure() -> OutletError {
        let outlet = Outlet::new("nowhere", || Err(io::ErrorKind::NotFound.into()), || ());
        outlet.start();
        while outlet.check().is_ok() {
            std::thread::yield_now();
        }
        outlet.check().expect_err("it failed")
    }

    #[test]
    fn a_sink_that_fails_takes_nothing_from_the_others() {
        let fake = |name, fails| Box::new(Fake { name, fails, batches: 0 }) as Box<dyn Sink>;
        let mut sinks = Sinks { sinks: vec![fake("a", true), fake("b", false)], probe: None };
        assert!(sinks.end_batch().is_err_and(|error| error.to_string().starts_with("cannot write to nowhere: ")));
        let counts: Vec<_> = sinks.reports().into_iter().map(|report| (report.name, report.dropped)).collect();
        assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    }

    #[test]
    fn counting_alone_needs_no_sinks() {
        let (events, _) = mpsc::channel::<Event>();
        let context = Context { events: &events };
        assert!(Sinks::open(&[], false, &context).expect("nothing fails").is_none());
        assert!(Sinks::open(&[], true, &context).expect("nothing fails").is_some_and(|sinks| sinks.probe().is_some()));
    }
}
