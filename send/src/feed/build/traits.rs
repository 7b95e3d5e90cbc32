//! What a protocol's builder offers.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::Draft;

/// What a protocol's header counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Counts {
    Messages,
    Packets,
}

/// What a protocol can carry.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    pub(in super::super) counts: Counts,
    /// Streams that a group can carry.
    pub(in super::super) streams: u32,
    /// The most messages of a packet, and how many it has if nothing else is asked for.
    pub(in super::super) messages: u32,
    pub(in super::super) default_messages: u32,
    /// Bytes of a message, as the protocol counts them.
    pub(in super::super) size: Span,
    /// Bytes of a packet beside its messages, and of a message beside its bytes.
    pub(in super::super) overhead: (usize, usize),
    /// The first sequence number, if none is asked for, and the greatest one.
    pub(in super::super) sequence: (u64, u64),
    /// The least rate of all streams, in packets per second, where times in the packets follow from it; 0 elsewhere.
    pub(in super::super) least_rate: u64,
}

impl Limits {
    /// Bytes of the longest packet.
    pub(in super::super) fn longest(&self, messages: Span, size: Span) -> usize {
        let (packet, message) = self.overhead;
        packet + messages.most as usize * (message + size.most as usize)
    }
}

/// Makes the datagrams of one protocol. Each method appends to `out`.
pub(in super::super) trait Builder: Send + Sync + std::fmt::Debug {
    fn limits(&self) -> Limits;

    /// How the parser names stream `number` of a session.
    fn key(&self, number: u32, session: u32) -> StreamKey;

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>);

    /// Returns false if the protocol has no heartbeat.
    fn heartbeat(&self, _out: &mut Vec<u8>, _draft: &Draft<'_>) -> bool {
        false
    }

    /// The end of the session, or what comes closest. Returns false if there is none.
    fn end(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        self.heartbeat(out, draft)
    }
}
