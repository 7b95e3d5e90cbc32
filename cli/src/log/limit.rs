//! A limit for repeated messages: up to [`BURST`] of the same message in [`WINDOW`], then a line with the number of
//! those that were suppressed.
//!
//! Two messages are the same if they differ in numbers alone. Debug and trace messages, which somebody asked for, have
//! no limit.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The same messages that are logged in one window.
pub const BURST: u64 = 10;
/// The time in which they are counted, from the first one on.
pub const WINDOW: Duration = Duration::from_secs(5);

/// The target of the lines about suppressed messages, which are not limited themselves.
const OWN: &str = "receiver::log";
/// Different messages that are counted at once. More are not limited.
const MOST_KINDS: usize = 4096;
/// Characters of a message that stand for it in the line about its repetitions.
const SHOWN: usize = 80;

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

/// The messages of the current windows, by their texts without numbers.
#[derive(Default)]
struct Seen(HashMap<String, Repeated>);

struct Repeated {
    since: Instant,
    count: u64,
    level: Level,
    /// The first of them.
    text: String,
}

/// What has been suppressed in a window that is over.
#[derive(Debug, PartialEq)]
struct Suppressed {
    level: Level,
    count: u64,
    text: String,
}

impl Seen {
    /// Counts a message. Returns true if it is to be logged.
    fn allows(&mut self, level: Level, text: String, now: Instant) -> bool {
        let kind = kind(&text);
        if self.0.len() >= MOST_KINDS && !self.0.contains_key(&kind) {
            return true;
        }
        let repeated = self.0.entry(kind).or_insert_with(|| Repeated { since: now, count: 0, level, text });
        repeated.count += 1;
        repeated.count <= BURST
    }

    /// Forgets the windows that were over by `now`; all of them without a time.
    fn close(&mut self, now: Option<Instant>) -> Vec<Suppressed> {
        let is_over = |repeated: &Repeated| now.is_none_or(|now| now.duration_since(repeated.since) >= WINDOW);
        let over = self.0.extract_if(|_, repeated| is_over(repeated));
        over.filter(|(_, repeated)| repeated.count > BURST)
            .map(|(_, repeated)| Suppressed {
                level: repeated.level,
                count: repeated.count - BURST,
                text: repeated.text.chars().take(SHOWN).collect(),
            })
            .collect()
    }
}

/// The text with `#` for each number.
fn kind(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            other => kind.push(other),
        }
    }
    kind
}

/// The layer that drops messages beyond the limit.
pub struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == OWN {
            return true;
        }
        report();
        let mut text = Text(String::new());
        event.record(&mut text);
        seen().get_or_insert_default().allows(*metadata.level(), text.0, Instant::now())
    }
}

/// Logs what was suppressed in the windows that are over.
pub fn report() {
    log_each(|seen| seen.close(Some(Instant::now())));
}

/// Logs what was suppressed in all windows, at the end.
pub fn report_all() {
    log_each(|seen| seen.close(None));
}

fn log_each(close: impl FnOnce(&mut Seen) -> Vec<Suppressed>) {
    // The lock must be free again: each line comes back to the layer.
    let suppressed = seen().as_mut().map(close).unwrap_or_default();
    for Suppressed { level, count, text } in suppressed {
        let line = format_args!("{count} more messages like this one were suppressed: {text}");
        match level {
            Level::ERROR => tracing::error!(target: OWN, "{line}"),
            Level::WARN => tracing::warn!(target: OWN, "{line}"),
            _ => tracing::info!(target: OWN, "{line}"),
        }
    }
}

fn seen() -> MutexGuard<'static, Option<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of an event: its message, and its fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::prelude::*;

    #[test]
    fn the_same_message_is_limited_and_counted() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut logged = 0;
        for number in 0..100 {
            let text = format!("veth0: away for {number}.{:03} s", number * 7);
            logged += u64::from(seen.allows(Level::WARN, text, start));
        }
        assert_eq!(logged, BURST);
        assert!(seen.allows(Level::WARN, "another message".to_owned(), start), "it is not the same");
        assert_eq!(seen.close(Some(start + WINDOW / 2)), []);
        let text = "veth0: away for 0.000 s".to_owned();
        assert_eq!(seen.close(Some(start + WINDOW)), [Suppressed { level: Level::WARN, count: 90, text }]);
        assert!(seen.allows(Level::WARN, "veth0: away for 1.000 s".to_owned(), start + WINDOW), "a new window");
        assert_eq!(seen.close(None), [], "nothing was suppressed in it");
    }

    #[test]
    fn memory_has_a_bound() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for length in 0..MOST_KINDS + 100 {
            assert!(seen.allows(Level::INFO, "x".repeat(length), now));
        }
        assert_eq!(seen.0.len(), MOST_KINDS);
    }

    /// A writer of which the test keeps a copy.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_has_the_first_ones_and_a_line_about_the_rest() {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer({
            let written = written.clone();
            move || written.clone()
        });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Limit).with(lines), || {
            for number in 0..BURST + 15 {
                tracing::warn!("veth7: lost {number} frames");
                tracing::debug!("every detail, {number}");
            }
            report_all();
        });
        let text = String::from_utf8(written.0.lock().expect("no panic").clone()).expect("text");
        let of = |what: &str| text.lines().filter(|line| line.contains(what)).count() as u64;
        assert_eq!((of("WARN"), of("DEBUG")), (BURST + 1, BURST + 15), "{text}");
        let about = " WARN receiver::log: 15 more messages like this one were suppressed: veth7: lost 0 frames\n";
        assert!(text.ends_with(about), "{text}");
    }
}
