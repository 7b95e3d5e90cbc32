//! The thread of an engine: it alone talks to the engine. It fills the window, sends, takes answers, and connects again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use receiver_feed::Bytes;

use super::engine::{Answer, Engine, EngineError, Outcome, Outgoing};
use super::identity::Identifier;
use super::queue::{Queue, Subject};
use super::window::{Message, Window};
use crate::outlet::Pause;

/// The most messages of one call of the engine.
const BATCH: usize = 128;
/// The longest wait for an answer or for something to send.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What the thread needs.
pub struct Driver<E> {
    /// Connected.
    pub engine: E,
    pub queue: Arc<Queue>,
    pub window: Window,
    /// The name of the sink.
    pub name: String,
    /// How long the oldest message may wait for its answer.
    pub timeout: Duration,
}

/// The chunk whose datagrams become messages.
struct Source {
    identifier: Identifier,
    subjects: Vec<Subject>,
    bytes: Bytes,
    ends: std::vec::IntoIter<(usize, usize)>,
    start: usize,
}

impl<E: Engine> Driver<E> {
    /// Runs until the queue is closed.
    pub fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        self.drive();
        queue.ended();
    }

    fn drive(&mut self) {
        let mut source = Source::new();
        let mut pause = Pause::default();
        let mut result = Ok(());
        loop {
            if let Err(error) = result
                && !self.connect_again(error, &mut pause)
            {
                return;
            }
            result = self.step(&mut source, &mut pause);
            if !self.queue.acknowledged(self.window.release(), &self.window) {
                return;
            }
        }
    }

    /// Sends what may be sent, and takes the answers that come.
    fn step(&mut self, source: &mut Source, pause: &mut Pause) -> Result<(), EngineError> {
        let mut batch: Vec<Outgoing> = Vec::with_capacity(BATCH);
        loop {
            self.fill(source);
            let now = Instant::now();
            batch.extend(std::iter::from_fn(|| self.window.next(now)).take(BATCH));
            if batch.is_empty() {
                break;
            }
            self.engine.send(&mut batch)?;
            batch.clear();
        }
        let mut limit = LONGEST_WAIT;
        if let Some(oldest) = self.window.oldest() {
            let left = self.timeout.saturating_sub(oldest.elapsed());
            if left.is_zero() {
                let seconds = self.timeout.as_secs_f64();
                return Err(EngineError(format!(
                    "no acknowledgement came within {seconds} s; check the server, or raise `timeout`"
                )));
            }
            limit = limit.min(left);
        }
        let mut answers = Vec::new();
        let result = self.engine.answers(limit, &mut answers);
        let mut refused = None;
        for answer in &answers {
            self.window.answer(answer);
            if let Answer { outcome: Outcome::Refused(reason), .. } = answer {
                refused = Some(reason);
            }
        }
        if let Some(reason) = refused {
            self.queue.failed(&self.name, reason);
        } else if !answers.is_empty() {
            self.queue.recovered(&self.name);
            *pause = Pause::default();
        }
        if self.window.retry() {
            self.queue.pause(pause.take());
        }
        result
    }

    /// Moves datagrams from the queue into the window.
    fn fill(&mut self, source: &mut Source) {
        while self.window.has_room() {
            let Some((end, number)) = source.ends.next() else {
                let Some(chunk) = self.queue.take() else { return };
                (source.bytes, source.ends, source.start) = (chunk.bytes.into(), chunk.ends.into_iter(), 0);
                continue;
            };
            if number >= source.subjects.len() {
                for subject in self.queue.subjects_from(source.subjects.len()) {
                    self.engine.add_subject(&subject.text);
                    source.subjects.push(subject);
                }
            }
            let payload = source.bytes.slice(source.start..end);
            source.start = end;
            let Subject { text, identity } = &source.subjects[number];
            let id = source.identifier.name(*identity, number, text, &payload).into();
            self.window.push(Message { subject: number, id, payload });
        }
    }

    /// Connects again, with pauses. Returns false once the queue is closed.
    fn connect_again(&mut self, error: EngineError, pause: &mut Pause) -> bool {
        let mut error = error;
        loop {
            self.queue.failed(&self.name, &error.to_string());
            self.queue.pause(pause.take());
            if self.queue.is_closed() {
                return false;
            }
            match self.engine.connect() {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        self.queue.reconnected();
        self.window.reconnected();
        true
    }
}

impl Source {
    fn new() -> Self {
        let identifier = Identifier::new();
        Self { identifier, subjects: Vec::new(), bytes: Bytes::new(), ends: Vec::new().into_iter(), start: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Waker;
    use super::super::identity::Identity;
    use super::super::queue::Chunk;
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    /// An engine that stores, refuses the first answer, and loses its connection twice.
    struct Fake {
        wire: VecDeque<Outgoing>,
        stored: Arc<Mutex<Vec<String>>>,
        answered: u64,
    }

    impl Engine for Fake {
        fn connect(&mut self) -> Result<(), EngineError> {
            self.wire.clear();
            Ok(())
        }

        fn add_subject(&mut self, subject: &str) {
            assert_eq!(subject, "s");
        }

        fn send(&mut self, messages: &mut Vec<Outgoing>) -> Result<(), EngineError> {
            self.wire.extend(messages.drain(..));
            Ok(())
        }

        fn answers(&mut self, _: Duration, answers: &mut Vec<Answer>) -> Result<(), EngineError> {
            for _ in 0..50 {
                let Some(outgoing) = self.wire.pop_front() else { break };
                self.answered += 1;
                if [300, 700].contains(&self.answered) {
                    return Err(EngineError("lost".to_owned()));
                }
                let mut stored = self.stored.lock().expect("a lock");
                let text = String::from_utf8(outgoing.payload.to_vec()).expect("text");
                let outcome = if stored.contains(&text) {
                    Outcome::Duplicate
                } else if self.answered % 97 == 1 {
                    Outcome::Refused("no".to_owned())
                } else {
                    stored.push(text);
                    Outcome::Stored
                };
                answers.push(Answer { token: outgoing.token, outcome });
            }
            Ok(())
        }

        fn waker(&self) -> Waker {
            Arc::new(|| ())
        }
    }

    #[test]
    fn everything_that_is_put_in_is_stored_once() {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let engine = Fake { wire: VecDeque::new(), stored: Arc::clone(&stored), answered: 0 };
        let queue = Arc::new(Queue::new(1 << 20, engine.waker(), None));
        let subject = queue.subject(Subject { text: "s".to_owned(), identity: Identity::Own });
        let window = Window::new(64, 1 << 20, false);
        let timeout = Duration::from_secs(60);
        let driver = Driver { engine, queue: Arc::clone(&queue), window, name: "fake".to_owned(), timeout };
        let thread = std::thread::spawn(move || driver.run());
        for round in 0..10 {
            let mut chunk = Chunk::default();
            for number in 0..100 {
                chunk.bytes.extend_from_slice(format!("{}", round * 100 + number).as_bytes());
                chunk.ends.push((chunk.bytes.len(), subject));
            }
            queue.put(&mut chunk);
        }
        queue.finish(Duration::from_secs(60));
        thread.join().expect("the thread ends");
        let counted = queue.counted();
        let mut stored: Vec<u32> = stored.lock().expect("a lock").iter().map(|text| text.parse().unwrap()).collect();
        stored.sort_unstable();
        assert_eq!(stored, (0..1000).collect::<Vec<u32>>());
        let report = counted.report;
        assert_eq!((report.published, report.acknowledged, report.reconnects), (1000, 1000, 2));
        assert!(report.retried > 0 && counted.dropped.is_empty(), "{report:?} {:?}", counted.dropped);
    }
}
