//! A recording as a source of datagrams: the frames of a capture file go through the filter and the parser that the
//! workers use, so that the consumer gets what a live receiver would have given it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use receiver_capture::{CaptureError, Captured, Content, ETHERNET, Frames, LARGEST_BLOCK, RAW, Reader, Step};
use receiver_common::{Verdict, wire};
use receiver_membership::Subscription;

use crate::api::datagram::{Datagram, OwnedDatagram};
use crate::api::error::Error;
use crate::api::origin::{Path, ReceiveTime, TimeOrigin};
use crate::api::source::DatagramSource;
use crate::api::vlan::Vlan;
use crate::engine::filter::{Filter, FlowCache, FlowKey, SubscriptionId};
use crate::engine::worker::Wait;
use crate::paths::parse::parse;
use crate::stats::queue_counters::QueueCounters;

/// Datagrams that one call hands over.
const BATCH: usize = 1024;

/// Reads a capture file, pcap or pcapng, also compressed with zstd, as a [`DatagramSource`].
///
/// A datagram comes from it if a live receiver with these subscriptions would deliver it: the filter, the parser and
/// the checks of checksums are the same. What a live receiver gets by the kernel path, such as fragments, comes with
/// [`Path::Kernel`]; fragments are put together, and their checksums are not verified.
///
/// Times are those of the file, which are UTC in nearly all captures, where a live receiver has CLOCK_TAI.
/// [`TimeOrigin::Recording`] marks them.
///
/// ```
/// use receiver::{DatagramSource, Error, Recording, Wait};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("receiver-doc-test-{}.pcap", std::process::id()));
/// # let header = [0xd4u8, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 1, 0, 0, 0];
/// # std::fs::write(&path, header)?;
/// let mut recording = Recording::open(&path, ["10.0.0.1@232.1.1.1:5000".parse()?])?;
/// let mut bytes = 0;
/// while recording.receive(Wait::Forever, &mut |datagram| bytes += datagram.payload().len()).is_ok() {}
/// println!("{bytes} bytes in {} datagrams", recording.counts().delivered);
/// assert_eq!(recording.problem(), None);
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recording {
    name: String,
    reader: Option<Reader<'static>>,
    /// Becomes true if a compressed frame at the end is not whole.
    is_cut_off: Arc<AtomicBool>,
    judge: Judge,
    /// Read, and not yet due.
    next: Option<OwnedDatagram>,
    /// How many times as fast as it was recorded; `None` without gaps.
    speed: Option<f64>,
    /// When the first datagram was handed over, and its time in the file.
    start: Option<(Instant, u64)>,
    problem: Option<String>,
}

/// What became of the packets of a [`Recording`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingCounts {
    /// Packets that were read.
    pub packets: u64,
    /// Datagrams that were handed over.
    pub delivered: u64,
    /// Packets that no subscription wants.
    pub unwanted: u64,
    /// Packets that a live receiver drops: malformed, or with a wrong checksum.
    pub dropped: u64,
    /// Packets that were lost while the file was written, as far as it has their number.
    pub lost_while_capturing: u64,
}

/// Why a recording cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be opened or read.
    #[error("cannot open the recording {path}: {source}; check the path and its permissions")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file is no capture.
    #[error("cannot read the recording {name}: {source}")]
    Capture {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: CaptureError,
    },
    /// The subscriptions do not fit together.
    #[error(transparent)]
    Subscriptions(#[from] Error),
}

impl Recording {
    /// Opens a file. Its datagrams come without gaps, as fast as they are read.
    ///
    /// # Errors
    /// The file cannot be read, is no capture, or two subscriptions overlap.
    pub fn open(
        path: impl AsRef<FilePath>,
        subscriptions: impl IntoIterator<Item = Subscription>,
    ) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| RecordingError::Open { path: path.to_owned(), source })?;
        Self::read(&path.display().to_string(), file, subscriptions)
    }

    /// Reads a capture from any input, under a name for errors.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn read(
        name: &str,
        input: impl Read + Send + 'static,
        subscriptions: impl IntoIterator<Item = Subscription>,
    ) -> Result<Self, RecordingError> {
        let filter = Filter::default();
        let all: Vec<Subscription> = subscriptions.into_iter().collect();
        filter.change(|table| table.insert_all(&all, 1)).map_err(RecordingError::Subscriptions)?;
        let unreadable = |source| RecordingError::Open { path: name.into(), source };
        let Content { bytes, is_cut_off } = Content::of(input).map_err(unreadable)?;
        let no_capture = |source| RecordingError::Capture { name: name.to_owned(), source };
        let reader = Reader::new(LARGEST_BLOCK, bytes).map_err(no_capture)?;
        Ok(Self {
            name: name.to_owned(),
            reader: Some(reader),
            is_cut_off,
            judge: Judge::new(filter),
            next: None,
            speed: None,
            start: None,
            problem: None,
        })
    }

    /// Hands datagrams over with the gaps of the recording: this number of times as fast; `None` is without gaps, the
    /// default.
    ///
    /// # Errors
    /// [`Error::Option`] if the number is not from 0.001 to 1,000,000.
    pub fn speed(self, times: Option<f64>) -> Result<Self, Error> {
        if let Some(times) = times.filter(|times| !(0.001..=1_000_000.0).contains(times)) {
            let reason = "a speed is from 0.001 to 1000000 times that of the recording".into();
            return Err(Error::Option { option: "speed", value: times.to_string(), reason });
        }
        Ok(Self { speed: times, ..self })
    }

    /// The VLAN tags that frames must carry, as [`Builder::vlan`](crate::Builder::vlan) has it.
    #[must_use]
    pub fn vlan(mut self, vlan: Option<Vlan>) -> Self {
        self.judge.vlan = vlan;
        self
    }

    /// Whether checksums are verified, as [`Builder::verify_checksums`](crate::Builder::verify_checksums) has it. They
    /// are by default.
    #[must_use]
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.judge.verify_checksums = verify;
        self
    }

    /// The subscriptions with their ids, in the order in which they were given.
    pub fn subscriptions(&self) -> Vec<(SubscriptionId, Subscription)> {
        let ids = (0..).map(SubscriptionId);
        self.judge.filter.read(|table| ids.map_while(|id| Some((id, table.subscription(id)?.clone()))).collect())
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> RecordingCounts {
        self.judge.counts
    }

    /// What is wrong with the end of the file, once it was read: what came before it was handed over.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// As [`Worker::poll`](crate::Worker::poll): gives the consumer the datagrams that are due.
    ///
    /// # Errors
    /// [`Error::Stopped`] at the end of the recording.
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        let mut count = 0;
        while count < BATCH {
            let Some(time) = self.peek() else {
                return if count > 0 { Ok(count) } else { Err(Error::Stopped) };
            };
            let left = self.left(time);
            if !left.is_zero() {
                match wait {
                    _ if count > 0 => return Ok(count),
                    Wait::Never => return Ok(0),
                    Wait::For(limit) if limit < left => {
                        thread::sleep(limit);
                        return Ok(0);
                    }
                    Wait::For(_) | Wait::Forever => thread::sleep(left),
                }
            }
            let Some(datagram) = self.next.take() else { return Ok(count) };
            self.judge.counts.delivered += 1;
            consumer(datagram.lend());
            count += 1;
        }
        Ok(count)
    }

    /// The time of the next datagram. `None` at the end.
    fn peek(&mut self) -> Option<u64> {
        while self.next.is_none() {
            let reader = self.reader.as_mut()?;
            let Self { judge, next, .. } = self;
            match reader.step(&mut |captured| *next = judge.take(&captured)) {
                Ok(Step::More) => {}
                Ok(Step::End(problem)) => self.end(problem),
                Err(error) => self.end(Some(error.to_string())),
            }
        }
        self.next.as_ref().map(|datagram| datagram.time.nanoseconds)
    }

    fn end(&mut self, problem: Option<String>) {
        let cut = "it ends in the middle of a compressed frame".to_owned();
        let problem = if self.is_cut_off.load(Relaxed) { Some(cut) } else { problem };
        self.problem = problem.map(|problem| format!("{}: {problem}", self.name));
        self.reader = None;
    }

    /// How long until a datagram of this time is due. The first one is due at once.
    fn left(&mut self, time: u64) -> Duration {
        let Some(speed) = self.speed else { return Duration::ZERO };
        let (start, first) = *self.start.get_or_insert_with(|| (Instant::now(), time));
        let due = Duration::from_nanos((time.saturating_sub(first) as f64 / speed) as u64);
        due.saturating_sub(start.elapsed())
    }
}

impl DatagramSource for Recording {
    fn receive(&mut self, wait: Wait, consumer: &mut dyn FnMut(Datagram<'_>)) -> Result<usize, Error> {
        self.poll(wait, consumer)
    }
}

/// Finds the datagrams that subscriptions want.
#[derive(Debug)]
struct Judge {
    filter: Filter,
    cache: FlowCache,
    vlan: Option<Vlan>,
    verify_checksums: bool,
    /// Puts fragments together.
    fragments: Frames,
    counters: QueueCounters,
    counts: RecordingCounts,
    /// The time of the packet before, for packets without one.
    last_ns: u64,
    /// A frame for a packet that was captured without an Ethernet header.
    frame: Vec<u8>,
}

impl Judge {
    fn new(filter: Filter) -> Self {
        Self {
            filter,
            cache: FlowCache::default(),
            vlan: None,
            verify_checksums: true,
            fragments: Frames::default(),
            counters: QueueCounters::default(),
            counts: RecordingCounts::default(),
            last_ns: 0,
            frame: Vec::new(),
        }
    }

    /// The datagram of a packet, if a subscription wants it.
    fn take(&mut self, captured: &Captured<'_>) -> Option<OwnedDatagram> {
        self.counts.packets += 1;
        self.counts.lost_while_capturing += captured.lost_before;
        self.last_ns = captured.time_ns.unwrap_or(self.last_ns);
        if captured.link_type == ETHERNET {
            return self.frame(captured.bytes, self.vlan);
        }
        // Such captures have no tags, and their packets were the host's own.
        let Some(ip) = receiver_capture::network(captured.link_type, captured.bytes) else { return self.unwanted() };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend([1, 0, 0x5e, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(if ip[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend_from_slice(ip);
        let datagram = self.frame(&frame, None);
        self.frame = frame;
        datagram
    }

    fn unwanted(&mut self) -> Option<OwnedDatagram> {
        self.counts.unwanted += 1;
        None
    }

    /// As XDP and the worker judge a frame that must carry these tags.
    fn frame(&mut self, frame: &[u8], vlan: Option<Vlan>) -> Option<OwnedDatagram> {
        // A frame to another host's address, as captures in promiscuous mode have them.
        if frame.first().is_none_or(|first| first & 1 == 0) {
            return self.unwanted();
        }
        let tags = vlan.map(Vlan::tags).unwrap_or_default();
        let (offset, udp) = match wire::network(frame, tags) {
            Ok(wire::Network::V4(offset)) => (offset, wire::udp_v4(frame, offset).map(|datagram| datagram.udp)),
            Ok(wire::Network::V6(offset)) => (offset, wire::udp_v6(frame, offset).map(|datagram| datagram.udp)),
            Err(_) => return self.unwanted(),
        };
        let udp = match udp {
            Ok(udp) => udp,
            Err(
                Verdict::PassedFragment
                | Verdict::PassedOptions
                | Verdict::PassedExtensionHeader
                | Verdict::PassedSplitHeaders
                | Verdict::PassedZeroLength,
            ) => return self.kernel_path(frame.get(offset..).unwrap_or_default()),
            Err(_) => return self.unwanted(),
        };
        // The filter comes before the checks, as in the XDP program.
        let (source, destination) = receiver_capture::addresses(frame.get(offset..)?)?;
        let port = u16::from_be(udp.destination_port);
        let Some(subscription) = self.resolve(FlowKey::new(source, destination, port)) else { return self.unwanted() };
        let Ok(parsed) = parse(frame, tags, self.verify_checksums, &self.counters) else {
            self.counts.dropped += 1;
            return None;
        };
        Some(OwnedDatagram {
            payload: Bytes::copy_from_slice(frame.get(parsed.payload)?),
            source: (source, parsed.source_port).into(),
            group: destination,
            port,
            subscription,
            time: self.time(),
            path: Path::Xdp,
            vlan,
        })
    }

    /// What XDP leaves to the kernel: a datagram once its last fragment is there, or one behind options.
    fn kernel_path(&mut self, packet: &[u8]) -> Option<OwnedDatagram> {
        let (mut found, time) = (None, self.time());
        let captured = Captured { link_type: RAW, time_ns: Some(self.last_ns), lost_before: 0, bytes: packet };
        let cut_off = self.fragments.counts.cut_off;
        self.fragments.take(&captured, |datagram| {
            found = Some((datagram.source, datagram.destination, Bytes::copy_from_slice(datagram.payload)));
        });
        if self.fragments.counts.cut_off > cut_off {
            self.counts.dropped += 1;
            return None;
        }
        // A fragment that does not complete its datagram is neither wanted nor unwanted yet.
        let (source, destination, payload) = found?;
        let key = FlowKey::new(source.ip(), destination.ip(), destination.port());
        let Some(subscription) = self.resolve(key) else { return self.unwanted() };
        let (group, port) = (destination.ip(), destination.port());
        Some(OwnedDatagram { payload, source, group, port, subscription, time, path: Path::Kernel, vlan: None })
    }

    fn resolve(&mut self, key: FlowKey) -> Option<SubscriptionId> {
        self.cache.resolve(&self.filter, key).map(|entry| entry.id)
    }

    fn time(&self) -> ReceiveTime {
        ReceiveTime { nanoseconds: self.last_ns, origin: TimeOrigin::Recording }
    }
}
