//! A sink as it was asked for: checked, and not yet opened.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use receiver::Subscription;

use super::discard::Discard;
use super::grammar::{self, Kind, RecordingTarget, Target};
use super::nats::server::NatsTarget;
use super::selection::Selection;
use super::traits::{Context, Sink};
use super::written::{Written, payload};
use super::{file, framed, hex, nats, pcapng, udp, unix};
use crate::errors::UsageError;
use crate::files;
use crate::outlet::{Outlet, PAYLOAD_LIMIT};

/// The most bytes of a recording that wait for the disk: a disk that stalls costs nothing for most of a second at
/// 300 MB/s.
const RECORDING_LIMIT: usize = 256 << 20;

/// A sink that is asked for. Nothing is created or changed before it is opened, which is when the receiver runs.
#[derive(Clone, Debug)]
pub struct SinkRequest {
    name: String,
    destination: Destination,
    selection: Selection,
    limit: usize,
}

#[derive(Clone, Debug)]
enum Destination {
    Kind(Kind),
    /// A path that is no text.
    Path(PathBuf),
    /// A dump in hexadecimal.
    Hex {
        to_stderr: bool,
    },
}

impl SinkRequest {
    /// A target, with a name or under its own.
    ///
    /// # Errors
    /// A [`UsageError`] that names the target, the key, the reason and the remedy.
    pub fn parse(name: Option<&str>, target: &OsStr) -> Result<Self, UsageError> {
        let Some(text) = target.to_str() else {
            let shown = files::shown(Path::new(target));
            return Ok(Self::new(name.unwrap_or(&shown), Destination::Path(target.into())));
        };
        let Target { kind, limit, only } =
            grammar::parse(text).map_err(|error| UsageError(receiver::printable(&error.to_string(), 1000)))?;
        let subscriptions = only
            .iter()
            .map(|text| {
                text.parse::<Subscription>().map_err(|error| {
                    UsageError(format!("the target {text} is refused: the value of `only` is no subscription: {error}"))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let own = receiver::printable(&kind.name(), 200);
        let own_limit = if matches!(kind, Kind::Recording(_)) { RECORDING_LIMIT } else { PAYLOAD_LIMIT };
        let limit = limit.map_or(own_limit, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let selection = Selection::new(subscriptions);
        Ok(Self { limit, selection, ..Self::new(name.unwrap_or(&own), Destination::Kind(kind)) })
    }

    /// A dump in hexadecimal, to standard output, or to standard error where payloads have taken that.
    pub fn hex(stdout_is_taken: bool) -> Self {
        Self::new("hex", Destination::Hex { to_stderr: stdout_is_taken })
    }

    fn new(name: &str, destination: Destination) -> Self {
        Self { name: name.to_owned(), destination, selection: Selection::All, limit: PAYLOAD_LIMIT }
    }

    /// The sink gets no datagram before [`super::Sinks::route`] names its subscriptions.
    #[must_use]
    pub fn routed(self) -> Self {
        Self { selection: Selection::Routed, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The subscriptions that it takes.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The file that the sink writes first, so that a start can check that it has no other use.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.destination {
            Destination::Path(path) => Some(path.clone()),
            _ if self.takes_stdout() => None,
            Destination::Kind(
                Kind::File(file) | Kind::Recording(RecordingTarget { file, .. }) | Kind::Framed(file),
            ) => Some(file::Options::new(file).path(SystemTime::now())),
            _ => None,
        }
    }

    /// What the sink opens while the run goes on: its files, or the socket of its reader.
    pub fn later_file(&self) -> Option<PathBuf> {
        match &self.destination {
            Destination::Kind(Kind::Unix(path)) => Some(path.into()),
            _ => self.file(),
        }
    }

    /// Returns true if the sink turns its file, or opens it anew, on request: one that is written as `file:PATH`,
    /// `pcapng:PATH` or `framed:PATH`.
    pub fn reopens(&self) -> bool {
        match &self.destination {
            Destination::Kind(Kind::File(file)) => file.timed,
            Destination::Kind(Kind::Recording(_) | Kind::Framed(_)) => !self.takes_stdout(),
            _ => false,
        }
    }

    /// Returns true if the sink writes to standard output, so that the view cannot.
    pub fn takes_stdout(&self) -> bool {
        match &self.destination {
            Destination::Kind(Kind::Recording(RecordingTarget { file, .. }) | Kind::Framed(file)) => {
                file.is_standard_output()
            }
            Destination::Kind(Kind::StandardOutput) | Destination::Hex { to_stderr: false } => true,
            _ => false,
        }
    }

    /// The stream of NATS JetStream, if it is one.
    pub fn nats(&self) -> Option<&NatsTarget> {
        match &self.destination {
            Destination::Kind(Kind::Nats(target)) => Some(target),
            _ => None,
        }
    }

    /// Returns true for a recording.
    pub fn is_recording(&self) -> bool {
        matches!(self.destination, Destination::Kind(Kind::Recording(_)))
    }

    /// Returns true if the sink needs the time at which each datagram came.
    pub fn needs_times(&self) -> bool {
        match &self.destination {
            Destination::Kind(Kind::Udp(udp)) => udp.delay > Duration::ZERO,
            Destination::Kind(Kind::Recording(_) | Kind::Framed(_)) => true,
            _ => false,
        }
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
        let (name, limit) = (self.name.as_str(), self.limit);
        match &self.destination {
            Destination::Hex { to_stderr } => Ok(hex::open(*to_stderr, context)),
            Destination::Path(path) => file::open_path(path, name, limit, context),
            Destination::Kind(kind) => match kind {
                Kind::StandardOutput => {
                    let outlet = Outlet::stdout_for_payloads(name, context.on_failure());
                    Ok(Box::new(Written::new(outlet, limit, payload)))
                }
                Kind::Discard => Ok(Box::new(Discard::default())),
                Kind::File(target) => file::open(target, name, limit, context),
                Kind::Recording(target) => pcapng::open(target, name, limit, context),
                Kind::Framed(target) => framed::open(target, name, limit, context),
                Kind::Nats(target) => nats::open(target, name, limit, context),
                Kind::Udp(target) => udp::open(target, name, limit, context),
                Kind::Unix(path) => unix::open(path, name, limit, context),
            },
        }
    }
}
