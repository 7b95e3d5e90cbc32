//! Where datagrams go, beyond being counted: to a file, to a hex dump, to the checker of test streams. Shared by the
//! threads that receive; each takes it for a batch.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use receiver::Datagram;
use receiver::probe::{ProbeChecker, ProbeReport};

use super::hex;
use super::options::RunArgs;

const BUFFER: usize = 256 << 10;

/// All that is done with a datagram.
pub struct Sink {
    output: Option<Written>,
    hex: Option<Written>,
    probe: Option<ProbeChecker>,
}

/// Something that is written to, and what it is called.
struct Written {
    name: String,
    stdout: bool,
    to: BufWriter<Box<dyn Write + Send>>,
}

/// Writing failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {name}: {source}")]
pub struct SinkError {
    name: String,
    stdout: bool,
    source: io::Error,
}

impl SinkError {
    /// Has whoever read our standard output gone? That is how `| head` ends, and no fault.
    pub fn is_reader_gone(&self) -> bool {
        self.stdout && self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Written {
    fn new(name: &str, stdout: bool, to: impl Write + Send + 'static) -> Self {
        Self { name: name.to_owned(), stdout, to: BufWriter::with_capacity(BUFFER, Box::new(to)) }
    }

    fn check(&self, result: io::Result<()>) -> Result<(), SinkError> {
        result.map_err(|source| SinkError { name: self.name.clone(), stdout: self.stdout, source })
    }
}

impl Sink {
    /// Opens what the options ask for. `None` where nothing but counting is asked for.
    pub fn open(args: &RunArgs) -> anyhow::Result<Option<Self>> {
        let output = match args.output.as_deref() {
            None => None,
            Some(_) if args.output_is_stdout() => Some(Written::new("standard output", true, raw_stdout()?)),
            Some(path) => Some(Written::new(&path.display().to_string(), false, create(path)?)),
        };
        let hex = args.hex.then(|| match args.output_is_stdout() {
            true => Written::new("standard error", false, io::stderr()),
            false => Written::new("standard output", true, io::stdout()),
        });
        let probe = args.probe.then(ProbeChecker::new);
        let any = output.is_some() || hex.is_some() || probe.is_some();
        Ok(any.then_some(Self { output, hex, probe }))
    }

    /// Takes one datagram.
    pub fn take(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        if let Some(probe) = &mut self.probe {
            let (group, port, time) = (datagram.group(), datagram.port(), datagram.time().nanoseconds);
            probe.observe(datagram.source(), group, port, datagram.payload(), time);
        }
        if let Some(output) = &mut self.output {
            let result = output.to.write_all(datagram.payload());
            output.check(result)?;
        }
        if let Some(hex) = &mut self.hex {
            let result = hex::write_datagram(&mut hex.to, datagram);
            hex.check(result)?;
        }
        Ok(())
    }

    /// Hands on what was buffered, so that a reader sees it now.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        for written in [&mut self.output, &mut self.hex].into_iter().flatten() {
            let result = written.to.flush();
            written.check(result)?;
        }
        Ok(())
    }

    /// What the checker of test streams found so far.
    pub fn probe(&self) -> Option<ProbeReport> {
        self.probe.as_ref().map(ProbeChecker::report)
    }
}

/// Takes a shared sink; a panic elsewhere does not make it worse than it was.
pub fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is there already is written anew: a pipe or a device as well as a file.
pub fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Standard output without the line buffer of [`io::stdout`].
fn raw_stdout() -> anyhow::Result<File> {
    use std::os::fd::AsFd;
    let fd = io::stdout().as_fd().try_clone_to_owned().context("cannot duplicate standard output")?;
    Ok(fd.into())
}
