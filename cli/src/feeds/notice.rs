//! What happens to a feed, as lines of the log. Streams can be many: each kind of line has a limit of its own, and what
//! was left out is counted.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use receiver_feed::arbiter::{Gap, LegId, LegLoss, StreamId};

/// Lines of one kind in one window.
const BURST: u64 = 10;
const WINDOW: Duration = Duration::from_secs(5);

/// Something that a reader of the log wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Started(Option<StreamId>),
    Gap(Gap),
    /// First sequence number, how many, and the leg that had them.
    Recovered(u64, u32, LegId),
    Lost(Gap),
    LegLost(LegId, LegLoss),
    LegBack(LegId),
    Reset(u64),
    End(u64),
    /// After this many nanoseconds.
    Stale(u64),
    /// Sequence numbers of a datagram that could not be held.
    NotKept(u64, u32),
}

/// The kinds of notices, which have separate limits.
const KINDS: [&str; 10] = [
    "new streams",
    "gaps",
    "late fills",
    "losses",
    "lost legs",
    "returned legs",
    "resets",
    "ends",
    "stale streams",
    "datagrams that could not be held",
];

impl Notice {
    fn kind(&self) -> usize {
        match self {
            Self::Started(_) => 0,
            Self::Gap(_) => 1,
            Self::Recovered(..) => 2,
            Self::Lost(_) => 3,
            Self::LegLost(..) => 4,
            Self::LegBack(_) => 5,
            Self::Reset(_) => 6,
            Self::End(_) => 7,
            Self::Stale(_) => 8,
            Self::NotKept(..) => 9,
        }
    }

    /// Returns true for what an operator has to know.
    fn is_warning(&self) -> bool {
        !matches!(self, Self::Started(_) | Self::Recovered(..) | Self::Lost(_) | Self::End(_))
    }
}

/// Sequence numbers `from` up to and without `to`.
struct Range(u64, u64);

impl Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.saturating_sub(self.0) {
            0 | 1 => write!(f, "sequence number {}", self.0),
            count => write!(f, "{count} sequence numbers, {} to {},", self.0, self.1 - 1),
        }
    }
}

fn verb(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

/// A notice as a sentence. `leg` names a leg, `stream` a stream.
pub fn sentence(notice: &Notice, leg: impl Fn(LegId) -> String, stream: impl Fn(StreamId) -> String) -> String {
    match *notice {
        Notice::Started(None) => "the stream began".to_owned(),
        Notice::Started(Some(before)) => match stream(before) {
            name if name.is_empty() => "the stream began; it takes the place of the one before".to_owned(),
            name => format!("the stream began; it takes the place of {name}"),
        },
        Notice::Gap(Gap { from, to, .. }) => {
            let is = verb(to - from, "is", "are");
            format!("{} {is} missing: no leg has delivered them in time", Range(from, to))
        }
        Notice::Recovered(first, count, by) => {
            format!("{} came late, by leg {}", Range(first, first + u64::from(count)), leg(by))
        }
        Notice::Lost(Gap { from, to, .. }) => {
            format!("{} {} lost: the time for a late fill is over", Range(from, to), verb(to - from, "is", "are"))
        }
        Notice::LegLost(lost, loss) => {
            let reason = match loss {
                LegLoss::Silent => "it sends nothing",
                LegLoss::Behind => "it sends what the other legs sent long ago",
                LegLoss::Astray => "it follows a numbering of its own",
                _ => "it cannot be used",
            };
            format!("leg {} is lost: {reason}", leg(lost))
        }
        Notice::LegBack(back) => format!("leg {} is back", leg(back)),
        Notice::Reset(next) => format!("the sequence starts anew at {next}"),
        Notice::End(next) => format!("the session is over; {next} would have been next"),
        Notice::Stale(silent_ns) => {
            format!("it is stale: no leg has sent anything for {:.1} s", silent_ns as f64 / 1e9)
        }
        Notice::NotKept(first, count) => format!(
            "{} could not be held and {} lost: copies have reached their limit; raise --copy-limit or --frames",
            Range(first, first + u64::from(count)),
            verb(count.into(), "is", "are"),
        ),
    }
}

/// Lets the first lines of each kind through in each window.
#[derive(Debug, Default)]
pub struct Limits([Limit; KINDS.len()]);

#[derive(Debug, Default)]
struct Limit {
    since: Option<Instant>,
    count: u64,
}

impl Limits {
    /// Logs a notice of a stream of a feed unless there were too many of its kind. The text is made only if it is
    /// logged.
    pub fn log(&mut self, feed: &str, notice: &Notice, text: impl FnOnce() -> String) {
        let now = Instant::now();
        self.report(feed, Some(now));
        let limit = &mut self.0[notice.kind()];
        limit.since.get_or_insert(now);
        limit.count += 1;
        if limit.count > BURST {
            return;
        }
        if notice.is_warning() {
            tracing::warn!("{}", text());
        } else {
            tracing::info!("{}", text());
        }
    }

    /// Logs how many lines were left out in the windows that are over by `now`; in all without a time.
    pub fn report(&mut self, feed: &str, now: Option<Instant>) {
        for (limit, kind) in self.0.iter_mut().zip(KINDS) {
            let Some(since) = limit.since else { continue };
            if now.is_none_or(|now| now.duration_since(since) >= WINDOW) {
                if limit.count > BURST {
                    tracing::warn!("feed {feed}: {} more {kind} were not logged", limit.count - BURST);
                }
                *limit = Limit::default();
            }
        }
    }
}
