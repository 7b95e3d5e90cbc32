//! `nats://HOST:PORT/STREAM`: publishes to a stream of NATS JetStream.

pub mod connect;
mod engine;
pub mod rate;
pub mod server;

use anyhow::anyhow;

use super::publish::engine::Engine;
use super::publish::identity::Identity;
use super::publish::template::Template;
use super::publish::{Options, Publisher};
use super::traits::{Context, Sink};
use engine::Nats;
use server::{Dedup, NatsTarget};

/// Opens the sink: connects, and finds the stream or creates it.
///
/// # Errors
/// The server or the stream cannot be reached.
pub fn open(target: &NatsTarget, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let template = Template::parse(&target.subject)
        .ok_or_else(|| anyhow!("{} is no subject; write tokens with dots between them", target.subject))?;
    let mut engine = Nats::new(target.clone(), template.wildcard(&target.stream));
    engine.connect()?;
    let identity = match target.dedup {
        Dedup::Auto => None,
        Dedup::Content => Some(Identity::Content),
        Dedup::Protocol(protocol) => Some(Identity::Sequence(protocol)),
    };
    let options = Options {
        template,
        stream: target.stream.clone(),
        identity,
        window: target.window as usize,
        limit,
        blocks: target.blocks,
        strict: target.strict,
        timeout: target.timeout,
        flush: target.flush,
    };
    Ok(Box::new(Publisher::start(engine, name, options, context)?))
}
