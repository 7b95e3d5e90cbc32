//! Reads a stream by an ordered consumer, which leaves nothing behind in the server.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
use futures_core::Stream;
use tokio::time::timeout;

use super::verify::Message;
use crate::sink::{NatsHealth, NatsServer, nats_connect, nats_runtime};

/// Messages that may wait in the client.
const CAPACITY: usize = 65_536;
/// How often a wait checks if it is to end.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// What is read.
pub struct Reader<'a> {
    pub server: &'a NatsServer,
    pub stream: &'a str,
    pub subject: Option<&'a str>,
    /// True if further messages are waited for.
    pub follow: bool,
}

impl Reader<'_> {
    /// Gives up to `limit` messages to `take`, until there are no more or until `stop` is set.
    ///
    /// # Errors
    /// The server or the stream cannot be reached, or the connection is lost.
    pub fn run(&self, stop: &AtomicBool, limit: u64, take: impl FnMut(&Message<'_>)) -> anyhow::Result<()> {
        let runtime = nats_runtime().map_err(|error| anyhow!("{error}"))?;
        let result = runtime.block_on(self.read(stop, limit, take));
        runtime.shutdown_background();
        result
    }

    async fn read(&self, stop: &AtomicBool, limit: u64, mut take: impl FnMut(&Message<'_>)) -> anyhow::Result<()> {
        let (address, name) = (self.server.address(), self.stream);
        let health = Arc::new(NatsHealth::default());
        let client =
            nats_connect(self.server, CAPACITY, Arc::clone(&health)).await.map_err(|error| anyhow!("{error}"))?;
        let context = jetstream::new(client);
        let stream = context.get_stream(name).await.map_err(|error| {
            anyhow!("the NATS server {address} gives no stream {name}: {error}; check the name, and `nats-server -js`")
        })?;
        let config =
            OrderedConfig { filter_subject: self.subject.unwrap_or_default().to_owned(), ..Default::default() };
        let failed = |error: String| anyhow!("the stream {name} of the NATS server {address} cannot be read: {error}");
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.to_string()))?;
        if consumer.cached_info().num_pending == 0 && !self.follow {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(|error| failed(error.to_string()))?;
        let mut left = limit;
        while left > 0 && !stop.load(Ordering::Relaxed) {
            let next = match timeout(CHECK_EVERY, poll_fn(|cx| Pin::new(&mut messages).poll_next(cx))).await {
                Ok(next) => next,
                Err(_) if health.is_lost() => {
                    return Err(anyhow!("the connection to the NATS server {address} is lost; read again"));
                }
                Err(_) => continue,
            };
            let Some(next) = next else { return Err(failed("the consumer has ended; read again".to_owned())) };
            let message = next.map_err(|error| failed(error.to_string()))?;
            let info = message.info().map_err(|error| failed(error.to_string()))?;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            take(&Message { subject: &message.subject, payload: &message.payload, sequence });
            left -= 1;
            if pending == 0 && !self.follow {
                break;
            }
        }
        Ok(())
    }
}
