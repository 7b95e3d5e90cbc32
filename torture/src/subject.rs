//! The receiver under test: a child process, its control socket, its figures, and what it leaves behind.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ground::Ground;

/// Longer than any answer takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of standard error that are kept.
const LINES: usize = 400;

/// How a receiver is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its receive mode.
    pub mode: &'static str,
    /// Its configuration.
    pub config: PathBuf,
    /// Its control socket.
    pub control: PathBuf,
    /// The consumer's socket.
    pub output: PathBuf,
    /// A file on a disk that is full soon.
    pub second_output: Option<PathBuf>,
    /// A recording.
    pub recording: Option<PathBuf>,
    /// Further options.
    pub options: &'static [&'static str],
}

/// A process that runs.
pub struct Subject {
    child: Child,
    control: PathBuf,
    session: BufReader<UnixStream>,
    /// Reads standard output, and returns its last line.
    out: Option<JoinHandle<Option<String>>>,
    err: Arc<Mutex<VecDeque<String>>>,
    reading: Option<JoinHandle<()>>,
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The ledger's causes.
    pub ledger: BTreeMap<String, u64>,
    /// Events of the link by name, as far as the run remembers them.
    pub events: BTreeMap<String, u64>,
    /// Datagrams that the run handed over.
    pub packets: u64,
    /// Datagrams that the consumer's sink wrote.
    pub written: u64,
    /// Datagrams that the consumer's sink dropped.
    pub dropped: u64,
    /// The link is up.
    pub link_up: bool,
    /// Frames on their way; unknown while packets come.
    pub in_flight: u64,
    /// The difference of independent counters; `None` while packets come.
    pub unaccounted: Option<u64>,
}

impl Figures {
    /// Reads those of an object of `stats`, or of a summary.
    pub fn read(object: &Value) -> Self {
        let sink = object["sinks"].as_array().into_iter().flatten().find(|sink| {
            let name = sink["name"].as_str().unwrap_or_default();
            name.starts_with("unix:")
        });
        let of_sink = |key: &str| sink.and_then(|sink| sink[key].as_u64()).unwrap_or_default();
        let ledger = object["ledger"].as_object().into_iter().flatten();
        let count = |cause: &str| object["ledger"][cause].as_u64().unwrap_or_default();
        let mut events = BTreeMap::new();
        for event in object["link_events"].as_array().into_iter().flatten() {
            *events.entry(event["event"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        Self {
            ledger: ledger.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect(),
            events,
            packets: count("xdp_delivered") + count("kernel_delivered"),
            written: of_sink("packets"),
            dropped: of_sink("dropped"),
            link_up: object["link_up"] == true,
            in_flight: object["in_flight"].as_u64().unwrap_or_default(),
            unaccounted: object["unaccounted"].as_u64(),
        }
    }

    /// One count of the ledger.
    pub fn count(&self, cause: &str) -> u64 {
        self.ledger.get(cause).copied().unwrap_or_default()
    }

    /// How often an event of the link happened.
    pub fn event(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { packets, written, dropped, in_flight, unaccounted, .. } = self;
        write!(f, "{packets} handed over, {written} written, {dropped} dropped by the sink, ")?;
        write!(f, "{in_flight} in flight, unaccounted {unaccounted:?}, link up: {}", self.link_up)?;
        for (name, count) in self.ledger.iter().chain(&self.events).filter(|(_, count)| **count > 0) {
            write!(f, ", {name} {count}")?;
        }
        Ok(())
    }
}

/// Resident memory in kibibytes, and open descriptors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// Resident memory in kibibytes.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Subject {
    /// Starts a receiver, and waits until everything is joined.
    pub fn start(ground: &Ground, start: &Start) -> Result<Self> {
        let text = |path: &Path| path.to_str().context("a path that is no text").map(str::to_owned);
        let mut command = ground.rx.command(&start.program);
        command.args(["run", "-i", &ground.rx_name, "-m", start.mode, "--json", "--interval", "1s"]);
        command.args(["--config", &text(&start.config)?, "--control", &text(&start.control)?]);
        command.args(["--output", &format!("unix:{}?limit=512KiB", text(&start.output)?)]);
        if let Some(path) = &start.second_output {
            command.args(["--output", &format!("file:{}?limit=256KiB", text(path)?)]);
        }
        if let Some(path) = &start.recording {
            command.args(["--record", &format!("{}?rotate=8MiB&keep=2", text(path)?)]);
        }
        command.args(start.options);
        for name in ["RUST_LOG", "RECEIVER_LOG", "RECEIVER_MODE", "RECEIVER_NAME", "RECEIVER_CONFIG"] {
            command.env_remove(name);
        }
        let mut child = command
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", start.program.display()))?;
        let (out, err) = (child.stdout.take().context("a pipe")?, child.stderr.take().context("a pipe")?);
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(line);
                if kept.len() > LINES {
                    kept.pop_front();
                }
            }
        });
        let mut out = BufReader::new(out);
        let mut first = String::new();
        let _ = out.read_line(&mut first);
        if first.is_empty() {
            let _ = child.kill();
            let status = child.wait()?;
            let _ = reading.join();
            bail!("the receiver did not start ({status}): {}", shown(&lines));
        }
        let out = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        let session = connect(&start.control)?;
        let (out, reading) = (Some(out), Some(reading));
        Ok(Self { child, control: start.control.clone(), session, out, err: lines, reading })
    }

    /// Sends a request and returns the reply.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        let asked = self.session.get_mut().write_all(format!("{request}\n").as_bytes());
        let mut line = String::new();
        let read = asked.and_then(|()| self.session.read_line(&mut line));
        if let Err(error) = &read {
            bail!("the receiver does not answer {request}: {error}{}", self.ended());
        }
        ensure!(!line.is_empty(), "the receiver closed its control socket at {request}{}", self.ended());
        serde_json::from_str(&line).with_context(|| format!("the reply to {request} is no JSON: {line}"))
    }

    /// As [`Subject::ask`], for a request that cannot be refused.
    pub fn demand(&mut self, request: &Value) -> Result<Value> {
        let reply = self.ask(request)?;
        ensure!(reply["ok"] == true, "the receiver refused {request}: {reply}");
        Ok(reply["result"].clone())
    }

    /// The figures now.
    pub fn figures(&mut self) -> Result<Figures> {
        Ok(Figures::read(&self.demand(&json!({"request": "stats"}))?))
    }

    /// A further connection to the control socket.
    pub fn connect(&self) -> Result<UnixStream> {
        Ok(connect(&self.control)?.into_inner())
    }

    /// Memory and descriptors.
    pub fn resources(&self) -> Result<Resources> {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status")).context("the receiver has ended")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory in its status")?;
        let memory = memory.split_whitespace().next().and_then(|word| word.parse().ok()).context("no number")?;
        let descriptors = fs::read_dir(format!("{process}/fd")).context("the receiver has ended")?.count() as u64;
        Ok(Resources { memory, descriptors })
    }

    /// Its process.
    pub fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id() as i32).context("a process has a number")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).context("cannot send a signal to the receiver")
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Has it end in order. Returns its exit status, its summary, and its standard error.
    pub fn stop(mut self) -> Result<(ExitStatus, Value, String)> {
        self.ask(&json!({"request": "stop"}))?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                bail!("the receiver did not end within {} s: {}", PATIENCE.as_secs(), shown(&self.err));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        // The readers end with the pipes.
        let out = self.out.take().and_then(|out| out.join().ok()).flatten();
        let _ = self.reading.take().map(JoinHandle::join);
        let err = shown(&self.err);
        let line = out.with_context(|| format!("the receiver wrote no summary: {err}"))?;
        let summary = serde_json::from_str(&line).with_context(|| format!("the summary is no JSON: {line}"))?;
        Ok((status, summary, err))
    }

    /// What it wrote to standard error.
    pub fn errors(&self) -> String {
        shown(&self.err)
    }

    fn ended(&mut self) -> String {
        // A process that is ending closes its sockets first.
        std::thread::sleep(Duration::from_millis(200));
        match self.child.try_wait() {
            Ok(Some(status)) => format!("; it has ended ({status}): {}", shown(&self.err)),
            _ => format!("; it still runs: {}", shown(&self.err)),
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(lines: &Mutex<VecDeque<String>>) -> String {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

fn connect(path: &Path) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}
