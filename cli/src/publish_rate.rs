//! `receiver publish-rate`: what the sink for NATS and its client alone publish per second. The command is hidden: it is
//! for `receiver-bench --tables nats`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::errors::UsageError;
use crate::sink::{NatsLoad, SinkRequest, nats_rate};

/// Measure how fast messages are published to NATS JetStream
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct PublishRateArgs {
    /// Target, as --output takes it
    #[arg(value_name = "TARGET")]
    target: String,
    /// Bytes of each message
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Messages
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Measure the client alone
    #[arg(long)]
    bare: bool,
}

/// Measures, and prints the rate.
///
/// # Errors
/// The target is no stream, or the server cannot be reached.
pub fn run(args: &PublishRateArgs) -> anyhow::Result<()> {
    let request = SinkRequest::parse(None, args.target.as_ref())?;
    let target = request.nats().ok_or_else(|| UsageError("write nats://HOST:PORT/STREAM".to_owned()))?;
    let load = NatsLoad { size: args.size, messages: args.messages };
    let rate = if args.bare { nats_rate::of_client(target, load)? } else { nats_rate::of_sink(target, load)? };
    writeln!(std::io::stdout(), "{}", json!({ "messages_per_second": rate }))?;
    Ok(())
}
