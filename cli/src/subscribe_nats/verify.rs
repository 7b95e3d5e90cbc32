//! What a stream holds: sequence numbers that are missing, that are there twice, or that come out of order.

use std::collections::BTreeMap;
use std::fmt;

use receiver_feed::protocol::{AnyProtocol, Kind, Protocol, StreamKey};
use serde::Serialize;

use crate::units::count;

/// A message as the stream holds it.
pub struct Message<'a> {
    pub subject: &'a str,
    pub payload: &'a [u8],
    /// Its place in the stream.
    pub sequence: u64,
}

/// What a stream holds. The names in JSON do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The stream.
    pub stream: String,
    /// Messages that were read.
    pub messages: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// The place of the first message in the stream, and of the last one. 0 if there is none.
    pub first: u64,
    pub last: u64,
    /// The protocol whose sequence numbers were verified.
    pub verified: Option<&'static str>,
    /// Sequence numbers between the first and the last one that no message has.
    pub missing: u64,
    /// Messages whose sequence numbers another message has.
    pub duplicates: u64,
    /// Messages with sequence numbers below those of an earlier message.
    pub out_of_order: u64,
    /// Messages that are not of the protocol.
    pub malformed: u64,
    /// Each subject and session.
    pub sessions: Vec<SessionReport>,
}

/// One session of a feed, or a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionReport {
    pub subject: String,
    /// The session as the protocol names it. Empty if it names none.
    pub session: String,
    pub messages: u64,
    /// The first and the last sequence number.
    pub first: u64,
    pub last: u64,
    pub missing: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
}

/// Checks messages in the order of the stream.
pub struct Verifier {
    protocol: Option<AnyProtocol>,
    report: Report,
    sessions: BTreeMap<(String, StreamKey), Session>,
}

#[derive(Default)]
struct Session {
    report: SessionReport,
    /// The sequence number that comes next.
    next: u64,
    /// What is missing below it: where each gap begins, and where it ends.
    gaps: BTreeMap<u64, u64>,
}

impl Verifier {
    /// For the sequence numbers of a protocol, or for none.
    pub fn new(protocol: Option<AnyProtocol>) -> Self {
        let verified = protocol.map(|protocol| protocol.name());
        Self { protocol, report: Report { verified, ..Report::default() }, sessions: BTreeMap::new() }
    }

    /// Takes the next message.
    pub fn take(&mut self, message: &Message<'_>) {
        let report = &mut self.report;
        if report.messages == 0 {
            report.first = message.sequence;
        }
        report.last = message.sequence;
        report.messages += 1;
        report.bytes += message.payload.len() as u64;
        let (key, place) = match self.protocol.map(|protocol| (protocol, protocol.parse(message.payload))) {
            None => (StreamKey::default(), None),
            Some((_, Err(_))) => {
                report.malformed += 1;
                return;
            }
            Some((protocol, Ok(packet))) if matches!(packet.kind, Kind::Data | Kind::Retransmission) => {
                (packet.stream, Some((protocol, packet.first, packet.count)))
            }
            Some((_, Ok(packet))) => (packet.stream, None),
        };
        let session = self.sessions.entry((message.subject.to_owned(), key)).or_insert_with(|| {
            let name = self.protocol.map(|protocol| protocol.stream_name(key)).unwrap_or_default();
            let report = SessionReport { subject: message.subject.to_owned(), session: name, ..Default::default() };
            Session { report, ..Session::default() }
        });
        session.report.messages += 1;
        if let Some((protocol, first, count)) = place {
            session.take(protocol, first, count.into());
        }
    }

    /// What was found.
    pub fn report(mut self, stream: &str) -> Report {
        self.report.stream = stream.to_owned();
        for (_, mut session) in self.sessions {
            session.report.missing = session.gaps.iter().map(|(from, to)| to - from).sum();
            self.report.missing += session.report.missing;
            self.report.duplicates += session.report.duplicates;
            self.report.out_of_order += session.report.out_of_order;
            self.report.sessions.push(session.report);
        }
        self.report
    }
}

impl Session {
    fn take(&mut self, protocol: AnyProtocol, wire: u64, count: u64) {
        if self.next == 0 {
            (self.report.first, self.next) = (wire, wire);
        }
        let first = protocol.width().extend(wire, self.next).unwrap_or(wire);
        let end = first.saturating_add(count.max(1));
        if first >= self.next {
            if first > self.next {
                self.gaps.insert(self.next, first);
            }
            self.next = end;
            self.report.last = end - 1;
        } else if self.fill(first, end) {
            self.report.out_of_order += 1;
        } else {
            self.report.duplicates += 1;
        }
    }

    /// Fills the gap that these sequence numbers begin in. Returns false if they are in none.
    fn fill(&mut self, first: u64, end: u64) -> bool {
        let Some((&from, &to)) = self.gaps.range(..=first).next_back().filter(|&(_, &to)| first < to) else {
            return false;
        };
        self.gaps.remove(&from);
        if from < first {
            self.gaps.insert(from, first);
        }
        if end < to {
            self.gaps.insert(end, to);
        }
        true
    }
}

impl Report {
    /// What is wrong with the stream, in words.
    pub fn trouble(&self) -> Option<String> {
        let counts = [
            (self.missing, "missing"),
            (self.duplicates, "there twice"),
            (self.out_of_order, "out of order"),
            (self.malformed, "not of the protocol"),
        ];
        let words: Vec<String> =
            counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes) = (count(self.messages, "message"), count(self.bytes, "byte"));
        writeln!(f, "stream {}: {messages}, {bytes}", self.stream)?;
        for session in &self.sessions {
            let name = if session.session.is_empty() { String::new() } else { format!(" {}", session.session) };
            write!(f, "{}{name}: {}", session.subject, count(session.messages, "message"))?;
            if self.verified.is_some() {
                let SessionReport { first, last, missing, duplicates, out_of_order, .. } = session;
                write!(f, ", sequence numbers {first} to {last}: {missing} missing, {duplicates} there twice, ")?;
                write!(f, "{out_of_order} out of order")?;
            }
            writeln!(f)?;
        }
        if self.malformed > 0 {
            writeln!(f, "{} not of the protocol", count(self.malformed, "message"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(sequences: &[u64]) -> Report {
        let mut verifier = Verifier::new(Some("moldudp64".parse().expect("a protocol")));
        for (at, sequence) in sequences.iter().enumerate() {
            let payload = [&b"SESSION001"[..], &sequence.to_be_bytes(), &[0, 1, 0, 1, b'x']].concat();
            verifier.take(&Message { subject: "md.a", payload: &payload, sequence: at as u64 + 1 });
        }
        verifier.report("MD")
    }

    #[test]
    fn gaps_duplicates_and_disorder_are_found() {
        let clean = verified(&[5, 6, 7]);
        assert_eq!((clean.trouble(), clean.sessions[0].first, clean.sessions[0].last), (None, 5, 7));
        assert_eq!(verified(&[1, 2, 5]).trouble().as_deref(), Some("2 missing"));
        assert_eq!(verified(&[1, 2, 2]).trouble().as_deref(), Some("1 there twice"));
        assert_eq!(verified(&[1, 3, 2, 4]).trouble().as_deref(), Some("1 out of order"));
        assert_eq!(verified(&[1, 5, 3, 3, 6]).trouble().as_deref(), Some("2 missing, 1 there twice, 1 out of order"));
        let mut other = Verifier::new(Some("moldudp64".parse().expect("a protocol")));
        other.take(&Message { subject: "md.a", payload: b"?", sequence: 1 });
        let report = other.report("MD");
        assert_eq!(report.trouble().as_deref(), Some("1 not of the protocol"));
        assert!(
            clean.to_string().starts_with("stream MD: 3 messages, 69 bytes\nmd.a SESSION001: 3 messages, sequence")
        );
    }
}
