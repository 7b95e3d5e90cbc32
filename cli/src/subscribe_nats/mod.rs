//! `receiver subscribe-nats`: reads a stream of NATS JetStream from its beginning, and verifies what it holds.

mod read;
mod verify;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use receiver_feed::protocol::AnyProtocol;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::errors::UsageError;
use crate::sink::{NatsServer, nats_server};
use crate::units::count;
use crate::{outlet, signals};
use read::Reader;
use verify::{Report, Verifier};

/// Read a stream of NATS JetStream, and verify what it holds
///
/// Reads what the stream holds when the command starts, in the stream's order, and prints what is in it. With --verify,
/// sequence numbers are checked: those that are missing, duplicates, those out of order, and datagrams that are not of
/// the protocol. The exit code is 1 if there are any. The command changes nothing in the stream.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct SubscribeNatsArgs {
    /// Server and stream: nats://HOST:PORT/STREAM. The keys behind `?` are user=NAME, password_file=PATH,
    /// token_file=PATH, creds=PATH, nkey=PATH, tls=yes, ca=PATH, cert=PATH and key=PATH
    #[arg(value_name = "URL")]
    url: String,
    /// Stream, if the URL names none
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Read only the messages of this subject, which may have wildcards
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Verify the sequence numbers of this feed protocol; `probe` is that of test streams
    #[arg(long, value_name = "PROTOCOL")]
    verify: Option<AnyProtocol>,
    /// End after this number of messages
    #[arg(long, value_name = "N", value_parser = crate::values::positive_count::<u64>)]
    count: Option<u64>,
    /// Wait for further messages, until Ctrl-C or SIGTERM
    #[arg(long)]
    follow: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the stream.
///
/// # Errors
/// The server or the stream cannot be reached, or the stream does not hold what it should.
pub fn run(args: SubscribeNatsArgs) -> anyhow::Result<()> {
    let (server, stream) = parsed(&args)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signals::end_by(signal, &stop)?;
    }
    let mut verifier = Verifier::new(args.verify);
    let reader = Reader { server: &server, stream: &stream, subject: args.subject.as_deref(), follow: args.follow };
    let limit = args.count.unwrap_or(u64::MAX);
    reader.run(&stop, limit, |message| verifier.take(message))?;
    let report = verifier.report(&stream);
    print(&report, args.json);
    match report.trouble() {
        None => Ok(()),
        Some(trouble) => Err(anyhow::anyhow!("the stream {stream} does not hold what was sent: {trouble}")),
    }
}

fn parsed(args: &SubscribeNatsArgs) -> anyhow::Result<(NatsServer, String)> {
    let (server, named) = nats_server(&args.url).map_err(|problem| {
        let shown = receiver::printable(&args.url, 200);
        UsageError(format!("{shown} is no server: {problem}"))
    })?;
    match args.stream.clone().or(named) {
        Some(stream) => Ok((server, stream)),
        None => Err(UsageError("no stream is named; write nats://HOST:PORT/STREAM, or --stream".to_owned()).into()),
    }
}

fn print(report: &Report, json: bool) {
    let text = if json { serde_json::to_string(report).unwrap_or_default() } else { report.to_string() };
    if let Err(error) = writeln!(std::io::stdout(), "{}", text.trim_end()) {
        outlet::print(&format!("receiver: cannot print {}: {error}", count(report.messages, "message")));
    }
}
