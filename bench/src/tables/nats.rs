//! How fast the sink publishes to NATS JetStream, beside its client alone: the same server, stream, ids, size of
//! messages and messages in flight.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab::Bench;
use crate::process::receiver;
use crate::report::Table;
use crate::statistics::{median_of_rounds, ratio};

const SIZES: [usize; 3] = [64, 256, 1316];
/// Messages of one measurement: about a second.
const MESSAGES: u64 = 100_000;
const PORT: u16 = 4222;
const PATIENCE: Duration = Duration::from_secs(30);

/// The rates of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// Bytes of a message.
    pub size: usize,
    /// Messages per second: medians.
    pub sink: f64,
    pub client: f64,
    /// Of the sink's rate to the client's, with its confidence interval.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Deserialize)]
struct Rate {
    messages_per_second: f64,
}

/// Measures sink and client in turn, each with a stream of its own.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Published>> {
    let program = receiver()?;
    let server = Server::start(bench)?;
    let mut table = Vec::new();
    for size in SIZES {
        let (mut sink, mut client) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            bench.go_on()?;
            let [bare, ours] = [true, false].map(|bare| rate(bench, &program, size, round, bare));
            // The first round warms up.
            if round > 0 {
                client.push(Some(bare?));
                sink.push(Some(ours?));
            }
        }
        let of = ratio(&sink, &client).context("no rate was measured")?;
        let (sink, client) = (median_of_rounds(&sink), median_of_rounds(&client));
        table.push(Published { size, sink, client, ratio: of.median, low: of.low, high: of.high });
    }
    drop(server);
    Ok(table)
}

/// Messages per second of one measurement.
fn rate(bench: &Bench, program: &Path, size: usize, round: usize, bare: bool) -> Result<f64> {
    let stream = format!("LOAD-{size}-{round}-{}", if bare { "client" } else { "sink" });
    let target = format!("nats://127.0.0.1:{PORT}/{stream}?create=yes&timeout=60s");
    let (size, messages) = (size.to_string(), MESSAGES.to_string());
    let mut command = bench.lab.rx().command(program);
    command.args(["publish-rate", &target, "--size", &size, "--messages", &messages]);
    if bare {
        command.arg("--bare");
    }
    let output = command.output().context("cannot start the command")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice::<Rate>(&output.stdout)?.messages_per_second)
}

/// A server with a folder of its own. Dropping this value ends it, and removes the folder.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start(bench: &Bench) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("receiver-bench-nats-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut command = bench.lab.rx().command("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &PORT.to_string(), "-js", "-sd", &folder.to_string_lossy()]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nats-server; install Debian's nats-server")?;
        let this = Self { child, folder };
        let deadline = Instant::now() + PATIENCE;
        while bench.lab.rx().run(|| std::net::TcpStream::connect(("127.0.0.1", PORT)).is_err())? {
            if Instant::now() > deadline {
                bail!("nats-server does not listen on port {PORT}");
            }
            sleep(Duration::from_millis(50));
        }
        Ok(this)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn report(table: &[Published]) -> String {
    let mut text = Table::new(&["bytes", "sink/s", "client/s", "ratio", "90 % interval", ""]);
    for Published { size, sink, client, ratio, low, high } in table {
        text.line(vec![
            size.to_string(),
            format!("{sink:.0}"),
            format!("{client:.0}"),
            format!("{ratio:.2}"),
            format!("{low:.2} to {high:.2}"),
            String::new(),
        ]);
    }
    format!("Messages published to NATS JetStream\n{text}")
}
