//! What a sink is, and the target from which it is opened.

use std::path::Path;
use std::sync::mpsc::Sender;

use receiver::Datagram;

use crate::event::Event;
use crate::outlet::OutletError;

/// Where received data goes beyond being counted.
///
/// The receiving threads share the sinks, and each thread locks them for a batch. So no method but
/// [`finish`](Sink::finish) waits: a sink that cannot take a datagram at once drops it, and counts it under its own
/// name.
pub trait Sink: Send {
    /// Takes one datagram, whole, or drops and counts it.
    fn take(&mut self, datagram: &Datagram<'_>);

    /// Ends a batch: passes on what was taken, so that a reader sees it now.
    ///
    /// # Errors
    /// The sink has failed, and the run ends for it.
    fn end_batch(&mut self) -> Result<(), OutletError>;

    /// After the last datagram: waits for as long as the reader still reads, and drops and counts what is left.
    ///
    /// # Errors
    /// The sink has failed.
    fn finish(&mut self) -> Result<(), OutletError>;

    /// The counts so far.
    fn report(&self) -> SinkReport;
}

/// The counts of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkReport {
    /// The target, as messages name it.
    pub name: String,
    /// Datagrams that the sink dropped, because its reader did not read or writing failed.
    pub dropped: u64,
}

/// A sink as it was asked for. Nothing is created or changed before it is opened, which is when the receiver runs.
pub trait Target {
    /// The file that the sink writes, so that a start can check that it has no other use.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Returns true if the sink writes to standard output, so that the view cannot.
    fn takes_stdout(&self) -> bool {
        false
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// The target cannot be opened.
    fn open(&self, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>>;
}

/// What a target may need to open its sink.
pub struct Context<'a> {
    /// Where the main thread waits.
    pub events: &'a Sender<Event>,
}

impl Context<'_> {
    /// For an outlet: ends the run once writing has failed.
    pub fn on_failure(&self) -> impl Fn() + Send + Sync + 'static {
        let events = self.events.clone();
        // A main thread that no longer listens is ending the run already.
        move || drop(events.send(Event::Done))
    }
}
