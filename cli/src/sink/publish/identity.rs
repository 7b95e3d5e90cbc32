//! The id of a message, by which the server recognizes it when it is sent again, or by a second receiver.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use receiver_feed::protocol::{AnyProtocol, Kind, Protocol, SequenceWidth, StreamKey};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// Where the id of a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A number of this run: a retry is recognized, a second receiver is not.
    Own,
    /// A hash of the payload: equal payloads are one message.
    Content,
    /// Session, first sequence number and their count: a second receiver has the same ones.
    Sequence(AnyProtocol),
}

/// Names messages.
pub struct Identifier {
    run: String,
    next: u64,
    /// What the ids of a stream of a feed begin with, by the number of its subject.
    prefixes: FxHashMap<(usize, StreamKey), String>,
}

/// The most prefixes that are kept.
const MOST_PREFIXES: usize = 10_000;

impl Identifier {
    /// For a run that begins now.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        Self { run: format!("{now:x}-{:x}", std::process::id()), next: 0, prefixes: FxHashMap::default() }
    }

    /// The id of the next message.
    pub fn name(&mut self, identity: Identity, number: usize, subject: &str, payload: &[u8]) -> String {
        match identity {
            Identity::Own => self.own(),
            Identity::Content => {
                let digest = Sha256::digest(payload);
                digest[..16].iter().fold(format!("{subject}/"), |mut id, byte| {
                    let _ = write!(id, "{byte:02x}");
                    id
                })
            }
            Identity::Sequence(protocol) => {
                self.sequence(protocol, number, subject, payload).unwrap_or_else(|| self.own())
            }
        }
    }

    fn own(&mut self) -> String {
        self.next += 1;
        format!("{}/{}", self.run, self.next)
    }

    /// `None` if the datagram has no place in a sequence.
    fn sequence(&mut self, protocol: AnyProtocol, number: usize, subject: &str, payload: &[u8]) -> Option<String> {
        let packet = protocol.parse(payload).ok()?;
        if !matches!(packet.kind, Kind::Data | Kind::Retransmission) {
            return None;
        }
        let key = (number, packet.stream);
        if self.prefixes.len() >= MOST_PREFIXES && !self.prefixes.contains_key(&key) {
            self.prefixes.clear();
        }
        let prefix = self.prefixes.entry(key).or_insert_with(|| {
            let StreamKey { channel, session } = packet.stream;
            format!("{subject}/{session:x}.{channel:x}/")
        });
        let (first, count) = (packet.first, packet.count);
        match (protocol.width(), packet.media_time) {
            // 16 bits begin anew after seconds; with the time of the medium they do not within hours.
            (SequenceWidth::Bits16, Some(media)) => Some(format!("{prefix}{first}.{media:x}+{count}")),
            (SequenceWidth::Bits16, None) => None,
            _ => Some(format!("{prefix}{first}+{count}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of MoldUDP64 with one message.
    fn mold(session: &[u8; 10], sequence: u64) -> Vec<u8> {
        [&session[..], &sequence.to_be_bytes(), &[0, 1, 0, 1, b'x']].concat()
    }

    #[test]
    fn two_receivers_name_a_sequence_alike_and_nothing_else() {
        let mold64: AnyProtocol = "moldudp64".parse().expect("a protocol");
        let (mut one, mut two) = (Identifier::new(), Identifier { run: "other".to_owned(), ..Identifier::new() });
        let by_sequence = Identity::Sequence(mold64);
        let datagram = mold(b"SESSION001", 7);
        let id = one.name(by_sequence, 0, "md.a", &datagram);
        assert_eq!(id, two.name(by_sequence, 3, "md.a", &datagram));
        assert!(id.starts_with("md.a/") && id.ends_with("/7+1"), "{id}");
        assert_ne!(id, one.name(by_sequence, 0, "md.a", &mold(b"SESSION002", 7)), "another session");
        assert_ne!(id, one.name(by_sequence, 0, "md.a", &mold(b"SESSION001", 8)), "another sequence number");
        assert_ne!(id, one.name(by_sequence, 1, "md.b", &datagram), "another subject");
        // What has no sequence gets a number of the run.
        assert_ne!(one.name(by_sequence, 0, "md.a", b"?"), one.name(by_sequence, 0, "md.a", b"?"));
        assert_ne!(one.name(Identity::Own, 0, "s", b"x"), two.name(Identity::Own, 0, "s", b"x"));
        let content = one.name(Identity::Content, 0, "s", b"x");
        assert_eq!(content, two.name(Identity::Content, 0, "s", b"x"));
        assert_ne!(content, two.name(Identity::Content, 0, "s", b"y"));
    }

    #[test]
    fn sixteen_bits_are_distinguished_by_the_time_of_the_medium() {
        let rtp: AnyProtocol = "rtp".parse().expect("a protocol");
        let packet = |sequence: u16, time: u32| {
            [&[0x80, 96][..], &sequence.to_be_bytes(), &time.to_be_bytes(), &[0, 0, 0, 9], b"payload"].concat()
        };
        let mut ids = Identifier::new();
        let mut id = |sequence, time| ids.name(Identity::Sequence(rtp), 0, "s", &packet(sequence, time));
        assert_eq!(id(5, 100), id(5, 100));
        assert_ne!(id(5, 100), id(5, 900_000));
    }
}
