//! The sinks of a run, which the receiving threads share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use receiver::{Datagram, Subscription, SubscriptionId};
use receiver_send::probe::{ProbeChecker, ProbeReport};

use super::failure::SinkFailure;
use super::publish::room::Room;
use super::request::SinkRequest;
use super::selection::{Routes, Selection};
use super::traits::{Context, FrameSink, Sink, SinkReport};
use crate::errors::UsageError;

/// Everything that a run does with a datagram beyond counting it.
#[derive(Default)]
pub struct Sinks {
    sinks: Vec<Named>,
    routes: Routes,
    /// The sinks that take datagrams as they were received: a bit for each.
    recordings: u64,
    probe: Option<ProbeChecker>,
}

struct Named {
    name: String,
    selection: Selection,
    sink: Box<dyn Sink>,
}

impl Sinks {
    /// Opens the sinks. `None` if datagrams are only counted.
    ///
    /// # Errors
    /// A sink cannot be opened, or takes a subscription that nobody has joined.
    pub fn open(requests: &[SinkRequest], probe: bool, context: &Context<'_>) -> anyhow::Result<Option<Self>> {
        for request in requests {
            if let Some(missing) = request.selection().missing(context.subscriptions) {
                let name = request.name();
                let text = format!("{name} takes {missing}, which is not subscribed; write a subscription of this run");
                return Err(UsageError(text).into());
            }
        }
        let mut this = Self { probe: probe.then(ProbeChecker::new), ..Self::default() };
        // Files come last: a start that fails for another sink creates none.
        let mut opened: Vec<Option<Box<dyn Sink>>> = requests.iter().map(|_| None).collect();
        for is_file in [false, true] {
            for (sink, request) in opened.iter_mut().zip(requests) {
                if request.file().is_some() == is_file {
                    *sink = Some(request.open(context)?);
                }
            }
        }
        for (request, sink) in requests.iter().zip(opened.into_iter().flatten()) {
            this.recordings |= u64::from(request.is_recording()) << this.sinks.len();
            this.add(request.name().to_owned(), request.selection().clone(), sink);
        }
        for (id, subscription) in context.subscriptions {
            this.joined(*id, subscription);
        }
        Ok(if this.sinks.is_empty() && this.probe.is_none() { None } else { Some(this) })
    }

    fn add(&mut self, name: String, selection: Selection, sink: Box<dyn Sink>) {
        if selection == Selection::All {
            self.routes.set_all(self.sinks.len());
        }
        self.sinks.push(Named { name, selection, sink });
    }

    /// Gives a datagram as it was received to the checker of test streams, and to the recordings that take its
    /// subscription.
    #[inline]
    pub fn observe(&mut self, datagram: &Datagram<'_>) {
        if let Some(probe) = &mut self.probe {
            let (group, port, time) = (datagram.group(), datagram.port(), datagram.time().nanoseconds);
            probe.observe(datagram.source(), group, port, datagram.payload(), time);
        }
        if self.recordings != 0 {
            self.give(datagram, self.recordings);
        }
    }

    /// Gives one datagram, in the order of its feed if it has one, to each other sink that takes its subscription.
    #[inline]
    pub fn pass(&mut self, datagram: &Datagram<'_>) {
        self.give(datagram, !self.recordings);
    }

    #[inline]
    fn give(&mut self, datagram: &Datagram<'_>, among: u64) {
        let mut takers = self.routes.of(datagram.subscription()) & among;
        while takers != 0 {
            let at = takers.trailing_zeros() as usize;
            takers &= takers - 1;
            self.sinks[at].sink.take(datagram);
        }
    }

    /// Ends a batch.
    ///
    /// # Errors
    /// That of the first sink that has ended; the other sinks end their batch as well.
    pub fn end_batch(&mut self) -> Result<(), SinkFailure> {
        let mut result = Ok(());
        for Named { sink, .. } in &mut self.sinks {
            result = result.and(sink.end_batch());
        }
        Ok(result?)
    }

    /// After the last datagram: waits for the readers, all at once.
    ///
    /// # Errors
    /// That of the first sink that has ended, or that dropped datagrams because writing failed.
    pub fn finish(&mut self) -> Result<(), SinkFailure> {
        let ended = std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.sinks.iter_mut().map(|Named { sink, .. }| scope.spawn(|| sink.finish())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(()))).fold(Ok(()), Result::and)
        });
        ended?;
        SinkFailure::of(&self.reports()).map_or(Ok(()), Err)
    }

    /// Has the sink of this name take these subscriptions and no others. Returns false if there is no such sink.
    pub fn route(&mut self, name: &str, ids: &[SubscriptionId]) -> bool {
        let Some(at) = self.sinks.iter().position(|sink| sink.name == name) else { return false };
        self.sinks[at].selection = Selection::Routed;
        self.routes.set(at, ids);
        true
    }

    /// A subscription was joined: the sinks that name it in their target take it.
    pub fn joined(&mut self, id: SubscriptionId, subscription: &Subscription) {
        for (at, sink) in self.sinks.iter_mut().enumerate() {
            sink.sink.joined(id, subscription);
            if sink.selection.names(subscription) {
                self.routes.add(at, id);
            }
        }
    }

    /// Has the sinks that write files end the present one and begin the next one, between two datagrams.
    pub fn reopen(&self) {
        self.sinks.iter().for_each(|named| named.sink.reopen());
    }

    /// Where receiving threads wait for sinks that are full.
    pub fn rooms(&self) -> Vec<Arc<Room>> {
        self.sinks.iter().filter_map(|named| named.sink.room()).collect()
    }

    /// What takes frames that were not delivered, of each recording, once.
    pub fn undelivered(&mut self) -> Vec<Box<dyn FrameSink>> {
        self.sinks.iter_mut().filter_map(|named| named.sink.undelivered()).collect()
    }

    /// The counts of each sink.
    pub fn reports(&self) -> Vec<SinkReport> {
        self.sinks.iter().map(|Named { name, sink, .. }| SinkReport { name: name.clone(), ..sink.report() }).collect()
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
    use crate::capture::Capture;
    use crate::event::Event;
    use crate::outlet::{Outlet, OutletError};
    use std::io;
    use std::sync::mpsc;

    /// Fails or not, and counts its batches.
    struct Fake {
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
            SinkReport { dropped: self.batches, ..SinkReport::default() }
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
        let mut sinks = Sinks::default();
        for (name, fails) in [("a", true), ("b", false)] {
            sinks.add(name.to_owned(), Selection::All, Box::new(Fake { fails, batches: 0 }));
        }
        assert!(sinks.end_batch().is_err_and(|error| error.to_string().starts_with("cannot write to nowhere: ")));
        let counts: Vec<_> = sinks.reports().into_iter().map(|report| (report.name, report.dropped)).collect();
        assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    }

    #[test]
    fn counting_alone_needs_no_sinks() {
        let (events, _) = mpsc::channel::<Event>();
        let capture = Capture::default();
        let context =
            Context { events: &events, interface: 1, handle: None, subscriptions: &[], origins: &[], capture };
        assert!(Sinks::open(&[], false, &context).expect("nothing fails").is_none());
        assert!(Sinks::open(&[], true, &context).expect("nothing fails").is_some_and(|sinks| sinks.probe().is_some()));
    }
}
