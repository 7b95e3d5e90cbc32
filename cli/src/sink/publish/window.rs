//! The messages that are not acknowledged yet, in their order: which one is sent next, and which are sent again.
//!
//! A message that the engine refuses stops the sending. Once all others have their answers, it is sent again, and all
//! that were refused behind it, in their order. After a lost connection every message without an answer is sent again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use receiver_feed::Bytes;

use super::engine::{Answer, Outcome, Outgoing};

/// A message.
#[derive(Debug)]
pub struct Message {
    /// The number of its subject.
    pub subject: usize,
    /// Its id.
    pub id: Arc<str>,
    /// What it carries.
    pub payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    Sent,
    Stored,
    Refused,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    state: State,
    was_sent: bool,
    sent_at: Option<Instant>,
}

/// What left the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    pub messages: u64,
    pub bytes: u64,
}

/// The messages that are not acknowledged yet.
#[derive(Debug)]
pub struct Window {
    entries: VecDeque<Entry>,
    /// The token of the first entry.
    first: u64,
    /// Entries before this one have been sent, or need not be.
    cursor: usize,
    /// Entries that were sent and have no answer.
    in_flight: usize,
    bytes: usize,
    most_messages: usize,
    most_bytes: usize,
    /// Each message names the one before it.
    strict: bool,
    /// The next message that is sent names no other.
    begins: bool,
    has_refused: bool,
    last: Option<Arc<str>>,
    /// Messages that were sent more than once, each time counted.
    pub retried: u64,
    /// Messages that were sent, each counted once.
    pub published: u64,
    /// Messages that the engine had already.
    pub duplicates: u64,
}

impl Window {
    /// For up to this number of messages and bytes. At least one message fits.
    pub fn new(most_messages: usize, most_bytes: usize, strict: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            cursor: 0,
            in_flight: 0,
            bytes: 0,
            most_messages,
            most_bytes,
            strict,
            begins: true,
            has_refused: false,
            last: None,
            retried: 0,
            published: 0,
            duplicates: 0,
        }
    }

    /// Returns true if one more message fits.
    pub fn has_room(&self) -> bool {
        self.entries.is_empty() || self.entries.len() < self.most_messages && self.bytes < self.most_bytes
    }

    /// Messages that were sent and have no answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Adds a message behind all others.
    pub fn push(&mut self, message: Message) {
        self.bytes += message.payload.len();
        self.entries.push_back(Entry { message, state: State::Unsent, was_sent: false, sent_at: None });
    }

    /// The next message to send. `None` if there is none, or while it has to wait for answers.
    pub fn next(&mut self, now: Instant) -> Option<Outgoing> {
        if self.has_refused {
            return None;
        }
        while self.entries.get(self.cursor)?.state != State::Unsent {
            self.cursor += 1;
        }
        let at = self.cursor;
        let follows = match at.checked_sub(1) {
            _ if !self.strict || std::mem::take(&mut self.begins) => None,
            Some(before) => Some(Arc::clone(&self.entries[before].message.id)),
            None => self.last.clone(),
        };
        let entry = &mut self.entries[at];
        (entry.state, entry.sent_at) = (State::Sent, Some(now));
        if std::mem::replace(&mut entry.was_sent, true) {
            self.retried += 1;
        } else {
            self.published += 1;
        }
        self.cursor += 1;
        self.in_flight += 1;
        let Message { subject, id, payload } = &entry.message;
        let (id, payload) = (Arc::clone(id), payload.clone());
        Some(Outgoing { token: self.first + at as u64, subject: *subject, id, follows, payload })
    }

    /// Takes an answer. Answers to unknown messages change nothing.
    pub fn answer(&mut self, answer: &Answer) {
        let Some(at) = answer.token.checked_sub(self.first) else { return };
        let Some(entry) = self.entries.get_mut(at as usize).filter(|entry| entry.state == State::Sent) else { return };
        self.in_flight -= 1;
        entry.state = State::Stored;
        match answer.outcome {
            Outcome::Stored => {}
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Refused(_) => {
                entry.state = State::Refused;
                self.has_refused = true;
            }
        }
    }

    /// Takes out the messages that are stored, up to the first one that is not.
    pub fn release(&mut self) -> Released {
        let mut released = Released::default();
        while self.entries.front().is_some_and(|entry| entry.state == State::Stored) {
            let Some(Entry { message, .. }) = self.entries.pop_front() else { break };
            self.first += 1;
            self.cursor = self.cursor.saturating_sub(1);
            self.bytes -= message.payload.len();
            released.messages += 1;
            released.bytes += message.payload.len() as u64;
            self.last = Some(message.id);
        }
        released
    }

    /// Returns true if messages were refused and everything else has its answer. They are sent again now, from the
    /// first one on.
    pub fn retry(&mut self) -> bool {
        if !self.has_refused || self.in_flight > 0 {
            return false;
        }
        self.begin_again();
        true
    }

    /// The connection is a new one: what has no answer is sent again.
    pub fn reconnected(&mut self) {
        self.in_flight = 0;
        self.begin_again();
    }

    fn begin_again(&mut self) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::Sent | State::Refused) {
                entry.state = State::Unsent;
            }
        }
        (self.cursor, self.has_refused, self.begins) = (0, false, true);
    }

    /// When the oldest message that has no answer was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.iter().find(|entry| entry.state == State::Sent).and_then(|entry| entry.sent_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u64) -> Message {
        Message { subject: 0, id: number.to_string().into(), payload: Bytes::copy_from_slice(&number.to_be_bytes()) }
    }

    fn sent(window: &mut Window) -> Vec<String> {
        std::iter::from_fn(|| window.next(Instant::now())).map(|outgoing| outgoing.id.to_string()).collect()
    }

    fn answer(window: &mut Window, token: u64, outcome: Outcome) {
        window.answer(&Answer { token, outcome });
    }

    #[test]
    fn what_is_refused_is_sent_again_in_order_once_all_have_answers() {
        let mut window = Window::new(10, 1000, false);
        (0..5).for_each(|number| window.push(message(number)));
        assert_eq!(sent(&mut window), ["0", "1", "2", "3", "4"]);
        answer(&mut window, 0, Outcome::Stored);
        answer(&mut window, 1, Outcome::Refused("full".to_owned()));
        answer(&mut window, 2, Outcome::Stored);
        answer(&mut window, 3, Outcome::Refused("full".to_owned()));
        assert_eq!(window.release().messages, 1);
        window.push(message(5));
        assert!(!window.retry() && sent(&mut window).is_empty(), "one has no answer yet");
        answer(&mut window, 4, Outcome::Duplicate);
        assert!(window.retry());
        assert_eq!(sent(&mut window), ["1", "3", "5"]);
        (1..6).for_each(|token| answer(&mut window, token, Outcome::Stored));
        assert_eq!(window.release(), Released { messages: 5, bytes: 40 });
        assert!(window.entries.is_empty());
        assert_eq!((window.published, window.retried, window.duplicates), (6, 2, 1));
    }

    #[test]
    fn after_a_new_connection_all_without_an_answer_are_sent_again() {
        let mut window = Window::new(3, 1000, true);
        (0..3).for_each(|number| window.push(message(number)));
        assert!(!window.has_room());
        let first: Vec<_> = std::iter::from_fn(|| window.next(Instant::now())).collect();
        let follows: Vec<_> = first.iter().map(|outgoing| outgoing.follows.as_deref()).collect();
        assert_eq!(follows, [None, Some("0"), Some("1")]);
        answer(&mut window, 0, Outcome::Stored);
        window.release();
        window.reconnected();
        assert_eq!((window.in_flight(), window.oldest()), (0, None));
        window.push(message(3));
        let again: Vec<_> = std::iter::from_fn(|| window.next(Instant::now())).collect();
        let again: Vec<_> =
            again.iter().map(|outgoing| (outgoing.token, &*outgoing.id, outgoing.follows.as_deref())).collect();
        assert_eq!(again, [(1, "1", None), (2, "2", Some("1")), (3, "3", Some("2"))]);
    }

    /// A server that may lose its connection, loses the end of what was sent, and refuses at random.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push,
        Send,
        /// The first message that the server has not seen is stored, or refused.
        Serve(bool),
        Lose,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Push),
            3 => Just(Step::Send),
            6 => Just(Step::Serve(true)),
            1 => Just(Step::Serve(false)),
            1 => Just(Step::Lose),
        ]
    }

    proptest! {
        #[test]
        fn each_message_is_stored_once_and_in_order_by_a_strict_server(steps in prop::collection::vec(step(), 0..400)) {
            let mut window = Window::new(7, 1000, true);
            let (mut pushed, mut released) = (0, 0);
            let mut wire: VecDeque<Outgoing> = VecDeque::new();
            let mut stored: Vec<String> = Vec::new();
            let mut serve = |window: &mut Window, wire: &mut VecDeque<Outgoing>, works: bool| {
                let Some(outgoing) = wire.pop_front() else { return };
                let id = outgoing.id.to_string();
                let follows = outgoing.follows.is_none_or(|follows| stored.last().is_some_and(|last| **last == *follows));
                let outcome = if stored.contains(&id) {
                    Outcome::Duplicate
                } else if works && follows {
                    stored.push(id);
                    Outcome::Stored
                } else {
                    Outcome::Refused("no".to_owned())
                };
                window.answer(&Answer { token: outgoing.token, outcome });
            };
            for step in steps.into_iter().chain(std::iter::repeat_n([Step::Send, Step::Serve(true)], 400).flatten()) {
                match step {
                    Step::Push if window.has_room() => {
                        window.push(message(pushed));
                        pushed += 1;
                    }
                    Step::Push => {}
                    Step::Send => wire.extend(window.next(Instant::now())),
                    Step::Serve(works) => serve(&mut window, &mut wire, works),
                    Step::Lose => {
                        wire.clear();
                        window.reconnected();
                    }
                }
                window.retry();
                released += window.release().messages;
            }
            prop_assert_eq!(released, pushed);
            let expected: Vec<String> = (0..pushed).map(|number| number.to_string()).collect();
            prop_assert_eq!(stored, expected);
        }
    }
}
