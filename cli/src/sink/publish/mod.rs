//! Publishes datagrams to a messaging engine: what does not depend on which one it is. Each datagram is one message with
//! an id, in order, at least once; the engine recognizes by the id what it has.
//!
//! [`queue`] is the buffer, [`window`] what waits for its acknowledgement, [`driver`] the thread, [`engine`] what an
//! engine has to do.

pub mod driver;
pub mod engine;
pub mod identity;
pub mod queue;
pub mod room;
pub mod template;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use receiver::{Datagram, Subscription, SubscriptionId};

use super::traits::{Context, Origin, Sink, SinkReport};
use crate::outlet::OutletError;
use driver::Driver;
use engine::Engine;
use identity::Identity;
use queue::{CHUNK, Chunk, Counted, Queue, Subject};
use room::Room;
use template::{Template, Values};
use window::Window;

/// The most bytes of payload in flight: a server's queue holds 128 MiB.
const MOST_BYTES_IN_FLIGHT: usize = 16 << 20;

/// How a sink publishes.
pub struct Options {
    /// The subject of each message.
    pub template: Template,
    /// What `{stream}` stands for.
    pub stream: String,
    /// How all messages are named. `None`: by the feed's sequence, or by a number of this run.
    pub identity: Option<Identity>,
    /// The most messages in flight.
    pub window: usize,
    /// The most bytes that wait.
    pub limit: usize,
    /// Receiving threads wait while the buffer is full.
    pub blocks: bool,
    /// The server refuses a message behind any other than the one before it.
    pub strict: bool,
    /// How long a message may wait for its acknowledgement.
    pub timeout: Duration,
    /// How long the end waits.
    pub flush: Duration,
}

/// A sink to an engine.
pub struct Publisher {
    options: Options,
    queue: Arc<Queue>,
    room: Option<Arc<Room>>,
    origins: Vec<Origin>,
    chunk: Chunk,
    /// The numbers of the subjects, by the number of the subscription.
    subjects: Vec<usize>,
    /// Datagrams of the present batch that had no room.
    unfit: u64,
}

impl Publisher {
    /// Starts the thread of an engine that is connected.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn start(
        engine: impl Engine + 'static,
        name: &str,
        options: Options,
        context: &Context<'_>,
    ) -> anyhow::Result<Self> {
        let room = options.blocks.then(Arc::<Room>::default);
        let queue = Arc::new(Queue::new(options.limit, engine.waker(), room.clone()));
        let window = Window::new(options.window, MOST_BYTES_IN_FLIGHT, options.strict);
        let (name, timeout) = (name.to_owned(), options.timeout);
        let driver = Driver { engine, queue: Arc::clone(&queue), window, name, timeout };
        std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || driver.run())
            .map_err(|error| anyhow!("cannot start the thread that publishes: {error}"))?;
        let origins = context.origins.to_vec();
        Ok(Self { options, queue, room, origins, chunk: Chunk::default(), subjects: Vec::new(), unfit: 0 })
    }

    /// The subject of a subscription.
    fn subject(&self, subscription: &Subscription) -> Subject {
        let origin = self.origins.iter().find(|origin| origin.subscription == *subscription);
        let feed = origin.and_then(|origin| origin.feed.as_ref());
        // All legs of a feed have one subject.
        let (group, port) =
            feed.map_or_else(|| (subscription.group(), subscription.port()), |feed| (feed.group, feed.port));
        let name = feed.map(|feed| feed.name.as_str()).or_else(|| origin.and_then(|origin| origin.name.as_deref()));
        let values = Values { stream: &self.options.stream, name, group, port };
        let sequenced = feed.map(|feed| Identity::Sequence(feed.protocol));
        let identity = self.options.identity.or(sequenced).unwrap_or(Identity::Own);
        Subject { text: self.options.template.subject(&values), identity }
    }

    fn put(&mut self) {
        if self.unfit > 0 {
            self.queue.drop_full(std::mem::take(&mut self.unfit));
        }
        if !self.chunk.ends.is_empty() {
            self.queue.put(&mut self.chunk);
        }
    }
}

impl Sink for Publisher {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        let payload = datagram.payload();
        let Some(&subject) = self.subjects.get(datagram.subscription().number() as usize) else { return };
        if self.queue.is_full(self.chunk.bytes.len() + payload.len()) {
            self.unfit += 1;
            return;
        }
        self.chunk.bytes.extend_from_slice(payload);
        self.chunk.ends.push((self.chunk.bytes.len(), subject));
        if self.chunk.bytes.len() >= CHUNK {
            self.put();
        }
    }

    fn end_batch(&mut self) -> Result<(), OutletError> {
        self.put();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        self.put();
        self.queue.finish(self.options.flush);
        Ok(())
    }

    fn joined(&mut self, id: SubscriptionId, subscription: &Subscription) {
        let number = id.number() as usize;
        let subject = self.queue.subject(self.subject(subscription));
        if self.subjects.len() <= number {
            self.subjects.resize(number + 1, subject);
        }
        self.subjects[number] = subject;
    }

    fn room(&self) -> Option<Arc<Room>> {
        self.room.clone()
    }

    fn report(&self) -> SinkReport {
        let Counted { report, bytes, dropped, failures, condition, last_error } = self.queue.counted();
        SinkReport {
            packets: report.acknowledged,
            bytes,
            dropped: dropped.values().sum(),
            dropped_by: dropped,
            state: condition.to_string(),
            failures,
            last_error,
            publisher: Some(report),
            ..SinkReport::default()
        }
    }
}
