//! How fast the sink publishes, and how fast its client does alone, for the benchmark: the same server, stream, size of
//! messages, ids and window.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;

use super::super::publish::driver::Driver;
use super::super::publish::engine::Engine;
use super::super::publish::identity::Identity;
use super::super::publish::queue::{CHUNK, Chunk, Queue, Subject};
use super::super::publish::room::Room;
use super::super::publish::template::Template;
use super::super::publish::window::Window;
use super::connect::{Health, connect, runtime};
use super::engine::{Nats, find_stream};
use super::server::NatsTarget;

/// Bytes that wait for the thread that publishes.
const LIMIT: usize = 8 << 20;
/// The longest measurement.
const LONGEST: Duration = Duration::from_secs(120);

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of each message.
    pub size: usize,
    pub messages: u64,
}

/// Messages per second of the sink: from the first one until the last one is acknowledged.
///
/// # Errors
/// The server cannot be reached, or does not acknowledge all.
pub fn of_sink(target: &NatsTarget, load: Load) -> anyhow::Result<f64> {
    let (text, wildcard) = subject(target)?;
    let mut engine = Nats::new(target.clone(), wildcard);
    engine.connect()?;
    let room = Arc::<Room>::default();
    let queue = Arc::new(Queue::new(LIMIT, engine.waker(), Some(Arc::clone(&room))));
    let number = queue.subject(Subject { text, identity: Identity::Own });
    let window = Window::new(target.window as usize, LIMIT, target.strict);
    let (name, timeout) = (target.stream.clone(), target.timeout);
    let driver = Driver { engine, queue: Arc::clone(&queue), window, name, timeout };
    let thread = std::thread::spawn(move || driver.run());
    let payload = vec![0x5a; load.size];
    let mut chunk = Chunk::default();
    let begin = Instant::now();
    for _ in 0..load.messages {
        chunk.bytes.extend_from_slice(&payload);
        chunk.ends.push((chunk.bytes.len(), number));
        if chunk.bytes.len() >= CHUNK {
            queue.put(&mut chunk);
            room.wait();
        }
    }
    queue.put(&mut chunk);
    queue.finish(LONGEST);
    let seconds = begin.elapsed().as_secs_f64();
    let acknowledged = queue.counted().report.acknowledged;
    let _ = thread.join();
    ensure!(acknowledged == load.messages, "{acknowledged} of {} messages are acknowledged", load.messages);
    Ok(load.messages as f64 / seconds)
}

/// Messages per second of the client alone.
///
/// # Errors
/// As [`of_sink`].
pub fn of_client(target: &NatsTarget, load: Load) -> anyhow::Result<f64> {
    let runtime = runtime().map_err(|error| anyhow!("{error}"))?;
    let result = runtime.block_on(publish(target, load));
    runtime.shutdown_background();
    result
}

async fn publish(target: &NatsTarget, load: Load) -> anyhow::Result<f64> {
    let (subject, wildcard) = subject(target)?;
    let capacity = target.capacity();
    let client = connect(&target.server, capacity, Arc::new(Health::default())).await.map_err(|e| anyhow!("{e}"))?;
    find_stream(target, &wildcard, &client).await.map_err(|error| anyhow!("{error}"))?;
    let jetstream = ContextBuilder::new().max_ack_inflight(capacity).timeout(LONGEST).build(client);
    let payload = receiver_feed::Bytes::from(vec![0x5a; load.size]);
    let subject = async_nats::Subject::from(subject);
    let mut waiting: VecDeque<PublishAckFuture> = VecDeque::with_capacity(target.window as usize);
    let begin = Instant::now();
    for number in 0..load.messages {
        if waiting.len() == target.window as usize
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.into_future().await?;
        }
        let message = PublishMessage::build().payload(payload.clone()).message_id(format!("bare/{number}"));
        waiting.push_back(jetstream.send_publish(subject.clone(), message).await?);
    }
    for acknowledgement in waiting {
        acknowledgement.into_future().await?;
    }
    Ok(load.messages as f64 / begin.elapsed().as_secs_f64())
}

/// The subject, and that of the stream.
fn subject(target: &NatsTarget) -> anyhow::Result<(String, String)> {
    let template = Template::parse("{stream}.load").ok_or_else(|| anyhow!("no subject"))?;
    Ok((format!("{}.load", target.stream), template.wildcard(&target.stream)))
}
