//! A child process in a namespace: its input and output are lines, and it always ends.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use netlab::Namespace;
use serde::de::DeserializeOwned;

/// Upper bound of the lines of error output that an error shows.
const COMPLAINTS: usize = 6;

/// The command `receiver`, which is built beside this program.
pub fn receiver() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("receiver");
    if !program.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", program.display());
    }
    Ok(program)
}

/// This program, started again in a namespace.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    what: String,
}

impl Process {
    /// Starts this program with these arguments in a namespace.
    pub fn start<S: AsRef<OsStr>>(inside: &Namespace, what: &str, arguments: &[S]) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the path of this program")?;
        let mut child = inside
            .command(own)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        let (to, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if to.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(output) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let mut kept = complaints.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_back(line);
                    if kept.len() > COMPLAINTS {
                        kept.pop_front();
                    }
                }
            });
        }
        let input = child.stdin.take();
        Ok(Self { child, input, lines, complaints, what: what.to_owned() })
    }

    /// Starts this program, and returns what it reports: one line of JSON.
    pub fn report<T: DeserializeOwned>(
        inside: &Namespace,
        what: &str,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<T> {
        let mut process = Self::start(inside, what, arguments)?;
        let report = serde_json::from_str(&process.line(patience)?).with_context(|| what.to_owned())?;
        process.end()?;
        Ok(report)
    }

    /// Writes a line to the child.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.input else { bail!("{} was ended", self.what) };
        let written =
            input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
        written.with_context(|| format!("writing to {}: {}", self.what, self.complaints()))
    }

    /// Returns the child's next line.
    pub fn line(&mut self, patience: Duration) -> Result<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} wrote nothing for {} s: {}", self.what, patience.as_secs(), self.complaints())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended: {}", self.what, self.complaints()),
        }
    }

    /// Reads lines until one contains this text, and returns that one.
    pub fn line_with(&mut self, text: &str, patience: Duration) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let line = self.line(end.saturating_duration_since(Instant::now()))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Closes the child's input, which ends it, and returns the remaining lines.
    pub fn end(mut self) -> Result<Vec<String>> {
        self.input = None;
        let _ = self.child.wait();
        Ok(self.lines.iter().collect())
    }

    pub fn complaints(&self) -> String {
        let kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|line| line.trim()).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(6) {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
