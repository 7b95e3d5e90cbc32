//! What NATS JetStream needs as an [`Engine`]: this file alone knows it.
//!
//! Acknowledgements come to one inbox, with the number of the message as the last token of the subject. Each connection
//! has a client and a runtime of its own, which end with it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::jetstream::{self, ErrorCode, context::GetStreamErrorKind, stream};
use async_nats::{Client, HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subject, Subscriber};
use futures_core::Stream;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::publish::engine::{Answer, Engine, EngineError, Outcome, Outgoing, Waker};
use super::connect::{Health, connect, runtime};
use super::server::NatsTarget;

/// The longest wait for the end of a runtime's threads.
const ENDING: Duration = Duration::from_secs(2);
/// The most answers that are taken at once.
const MOST_ANSWERS: usize = 1024;

/// A client of JetStream.
pub struct Nats {
    target: NatsTarget,
    /// What a stream that is created takes.
    wildcard: String,
    subjects: Vec<Subject>,
    waker: Arc<tokio::sync::Notify>,
    link: Option<Link>,
}

/// One connection.
struct Link {
    client: Client,
    /// `None` once the link is dropped.
    acknowledgements: Option<Subscriber>,
    /// What the subjects of acknowledgements begin with.
    inbox: String,
    health: Arc<Health>,
    names: Names,
    /// Last, as the others need it.
    runtime: Option<Runtime>,
}

/// The names of headers.
struct Names {
    id: HeaderName,
    expected_stream: HeaderName,
    expected_last: HeaderName,
    stream: HeaderValue,
}

impl Drop for Link {
    fn drop(&mut self) {
        // The client's tasks end with their runtime, and with them the connection.
        if let Some(runtime) = self.runtime.take() {
            // A subscriber that is dropped starts a task.
            let inside = runtime.enter();
            self.acknowledgements = None;
            drop(inside);
            runtime.shutdown_timeout(ENDING);
        }
    }
}

impl Nats {
    /// A client that is not connected. `wildcard` is what a stream that is created takes.
    pub fn new(target: NatsTarget, wildcard: String) -> Self {
        Self { target, wildcard, subjects: Vec::new(), waker: Arc::default(), link: None }
    }

    fn lost(&self) -> EngineError {
        let address = self.target.server.address();
        let reason = self.link.as_ref().and_then(|link| link.health.error());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        EngineError(format!("the connection to the NATS server {address} is lost{reason}"))
    }
}

impl Engine for Nats {
    fn connect(&mut self) -> Result<(), EngineError> {
        self.link = None;
        let runtime = runtime().map_err(EngineError)?;
        let made = runtime.block_on(link(&self.target, &self.wildcard));
        match made {
            Ok((client, acknowledgements, inbox, health)) => {
                let names = Names {
                    id: HeaderName::from_static("Nats-Msg-Id"),
                    expected_stream: HeaderName::from_static("Nats-Expected-Stream"),
                    expected_last: HeaderName::from_static("Nats-Expected-Last-Msg-Id"),
                    stream: HeaderValue::from(self.target.stream.as_str()),
                };
                let (acknowledgements, runtime) = (Some(acknowledgements), Some(runtime));
                self.link = Some(Link { client, acknowledgements, inbox, health, names, runtime });
                Ok(())
            }
            Err(error) => {
                runtime.shutdown_timeout(ENDING);
                Err(EngineError(error))
            }
        }
    }

    fn add_subject(&mut self, subject: &str) {
        self.subjects.push(Subject::from(subject));
    }

    fn send(&mut self, messages: &mut Vec<Outgoing>) -> Result<(), EngineError> {
        let Some(Link { client, inbox, names, health, runtime: Some(runtime), .. }) = &self.link else {
            return Err(self.lost());
        };
        let sent = runtime.block_on(async {
            for Outgoing { token, subject, id, follows, payload } in messages.drain(..) {
                let mut headers = HeaderMap::new();
                headers.insert(names.id.clone(), HeaderValue::from(&*id));
                headers.insert(names.expected_stream.clone(), names.stream.clone());
                if let Some(follows) = follows {
                    headers.insert(names.expected_last.clone(), HeaderValue::from(&*follows));
                }
                let subject = self.subjects[subject].clone();
                let reply = format!("{inbox}{token:x}");
                if health.is_lost() {
                    return false;
                }
                // The client's queue is larger than the window: this does not wait.
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
                if let Err(error) = sent {
                    tracing::debug!("a message for the NATS server is refused by its client: {error}");
                    return false;
                }
            }
            true
        });
        if sent { Ok(()) } else { Err(self.lost()) }
    }

    fn answers(&mut self, limit: Duration, answers: &mut Vec<Answer>) -> Result<(), EngineError> {
        let Some(Link { acknowledgements: Some(acknowledgements), inbox, health, runtime: Some(runtime), .. }) =
            &mut self.link
        else {
            return Err(self.lost());
        };
        let (skip, stream, address) = (inbox.len(), &self.target.stream, self.target.server.address());
        let mut take = |message: Message| {
            let token = message.subject.get(skip..).and_then(|token| u64::from_str_radix(token, 16).ok());
            if let Some(token) = token {
                answers.push(Answer { token, outcome: outcome(&message, stream, &address) });
            }
        };
        let mut has_ended = false;
        runtime.block_on(async {
            let next = async {
                tokio::select! {
                    biased;
                    message = poll_fn(|cx| Pin::new(&mut *acknowledgements).poll_next(cx)) => Some(message),
                    () = health.changed.notified() => None,
                    () = self.waker.notified() => None,
                }
            };
            match timeout(limit, next).await {
                Ok(Some(Some(message))) => take(message),
                Ok(Some(None)) => has_ended = true,
                Ok(None) | Err(_) => {}
            }
            for _ in 1..MOST_ANSWERS {
                let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut *acknowledgements).poll_next(cx))).await;
                match ready {
                    Poll::Ready(Some(message)) => take(message),
                    Poll::Ready(None) => {
                        has_ended = true;
                        return;
                    }
                    Poll::Pending => return,
                }
            }
        });
        if has_ended || health.is_lost() { Err(self.lost()) } else { Ok(()) }
    }

    fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || waker.notify_one())
    }
}

type Made = (Client, Subscriber, String, Arc<Health>);

/// Connects, finds the stream or creates it, and subscribes to the acknowledgements.
async fn link(target: &NatsTarget, wildcard: &str) -> Result<Made, String> {
    let health = Arc::new(Health::default());
    let client = connect(&target.server, target.capacity(), Arc::clone(&health)).await?;
    find_stream(target, wildcard, &client).await?;
    let inbox = client.new_inbox() + ".";
    let (address, stream) = (target.server.address(), &target.stream);
    let acknowledgements = client.subscribe(format!("{inbox}*")).await.map_err(|error| {
        format!("cannot subscribe to acknowledgements of the stream {stream} at {address}: {error}; check permissions")
    })?;
    Ok((client, acknowledgements, inbox, health))
}

/// Finds the stream, or creates it if the target asks for that.
///
/// # Errors
/// A sentence that names the server, the stream, the reason and the remedy.
pub async fn find_stream(target: &NatsTarget, wildcard: &str, client: &Client) -> Result<(), String> {
    let (address, name) = (target.server.address(), &target.stream);
    let jetstream = jetstream::new(client.clone());
    let error = match jetstream.get_stream(name).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let is_missing = matches!(
        error.kind(),
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    );
    if !is_missing {
        return Err(format!(
            "the NATS server {address} does not describe the stream {name}: {error}; start it with `nats-server -js`, \
             and check the permissions for $JS.API"
        ));
    }
    if !target.create {
        return Err(format!(
            "the NATS server {address} has no stream {name}; create it with the subjects {wildcard}, or write create=yes"
        ));
    }
    let config = stream::Config {
        name: name.clone(),
        subjects: vec![wildcard.to_owned()],
        duplicate_window: target.dedup_window,
        ..stream::Config::default()
    };
    match jetstream.create_stream(config).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "the NATS server {address} does not create the stream {name} for {wildcard}: {error}; create it there"
        )),
    }
}

/// What the server answers to a message.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    duplicate: bool,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    description: String,
}

fn outcome(message: &Message, stream: &str, address: &str) -> Outcome {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Outcome::Refused(format!(
            "no stream of the NATS server {address} takes a message; add the subject to the stream {stream}"
        ));
    }
    match serde_json::from_slice::<Reply>(&message.payload) {
        Ok(Reply { error: Some(error), .. }) => Outcome::Refused(format!(
            "the stream {stream} of the NATS server {address} refuses a message: {}; check its limits",
            error.description
        )),
        Ok(Reply { duplicate: true, .. }) => Outcome::Duplicate,
        Ok(_) => Outcome::Stored,
        Err(error) => Outcome::Refused(format!("the NATS server {address} answers with no acknowledgement: {error}")),
    }
}
