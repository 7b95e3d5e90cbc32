//! What a messaging engine has to do. Another engine is one file that implements [`Engine`].

use std::sync::Arc;
use std::time::Duration;

use receiver_feed::Bytes;

/// A message on its way to the engine.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The answer has the same number.
    pub token: u64,
    /// The number of its subject, in the order of [`Engine::add_subject`].
    pub subject: usize,
    /// Its id.
    pub id: Arc<str>,
    /// The id of the message that must be the last one in the stream.
    pub follows: Option<Arc<str>>,
    /// What it carries.
    pub payload: Bytes,
}

/// The engine's answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the message.
    pub token: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// It was stored before.
    Duplicate,
    /// It is not stored, for this reason.
    Refused(String),
}

/// The connection is lost, or cannot be made. The text names engine, stream, reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Ends [`Engine::answers`] early.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// A client of a messaging engine, in the hands of one thread.
///
/// Messages that are sent on one connection are stored in their order, or a last part of them is not stored at all.
pub trait Engine: Send {
    /// Connects, anew if it was connected. The old connection sends nothing more from then on. What it has sent may
    /// still be stored, in its order.
    ///
    /// # Errors
    /// The server or the stream cannot be reached.
    fn connect(&mut self) -> Result<(), EngineError>;

    /// Adds a subject, which gets the next number.
    fn add_subject(&mut self, subject: &str);

    /// Sends messages in this order. Does not wait for answers.
    ///
    /// # Errors
    /// The connection is lost: each message without an answer may be stored or not.
    fn send(&mut self, messages: &mut Vec<Outgoing>) -> Result<(), EngineError>;

    /// Waits until there is an answer, up to this long or until it is woken. Adds all answers that are there.
    ///
    /// # Errors
    /// The connection is lost. The answers are complete up to then.
    fn answers(&mut self, limit: Duration, answers: &mut Vec<Answer>) -> Result<(), EngineError>;

    /// What wakes it.
    fn waker(&self) -> Waker;
}
