//! Why a feed cannot be made: the input, the reason and the remedy.

use std::time::Duration;

use super::span::Span;

/// Why a feed cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// A protocol without a builder.
    #[error("feeds of {0} cannot be made; take another protocol")]
    Protocol(&'static str),
    /// No leg, or too many.
    #[error("{legs} legs are given; a feed has 1 to {max}")]
    Legs {
        /// Asked for.
        legs: usize,
        /// Most.
        max: usize,
    },
    /// Two legs alike.
    #[error("leg {0} is given twice; give each leg a group, a port or a source of its own")]
    LegTwice(String),
    /// Shares beyond a whole.
    #[error(
        "loss, reordering and duplication of leg {0} add up to more than 100 %; a packet has one fate, so take less"
    )]
    Shares(String),
    /// A leg that never sends.
    #[error("leg {0} would be delayed by more than {1:?}; take a shorter delay and jitter")]
    Delay(String, Duration),
    /// Nothing overtakes.
    #[error("a packet of leg {leg} would be overtaken by {packets} packets; take 1 to {max}")]
    ReorderBy {
        /// The leg.
        leg: String,
        /// Asked for.
        packets: u32,
        /// Most.
        max: u32,
    },
    /// Too many packets wait.
    #[error(
        "the delay of leg {leg} holds {packets} packets at this rate, more than {max}; take a shorter delay, a lower \
         rate, or more messages per packet"
    )]
    Waiting {
        /// The leg.
        leg: String,
        /// How many.
        packets: u64,
        /// Most.
        max: usize,
    },
    /// No stream, or too many.
    #[error(
        "{streams} streams are asked for; {protocol} on one group has 1 to {max}, and each further group can have more"
    )]
    Streams {
        /// Asked for.
        streams: u32,
        /// The protocol.
        protocol: &'static str,
        /// Most.
        max: u32,
    },
    /// A number of messages that a packet cannot have.
    #[error("{messages} messages per packet are asked for; {protocol} takes 1 to {max}")]
    Messages {
        /// Asked for.
        messages: Span,
        /// The protocol.
        protocol: &'static str,
        /// Most.
        max: u32,
    },
    /// A size that a message cannot have.
    #[error("messages of {size} bytes are asked for; those of {protocol} have {allowed}")]
    MessageSize {
        /// Asked for.
        size: Span,
        /// The protocol.
        protocol: &'static str,
        /// Allowed.
        allowed: Span,
    },
    /// A packet that UDP does not carry.
    #[error("packets of up to {size} bytes are asked for, and UDP carries {max}; take fewer or smaller messages")]
    TooLong {
        /// Asked for.
        size: usize,
        /// Most.
        max: usize,
    },
    /// Legs cannot differ.
    #[error(
        "the sequence of {0} counts packets, so all legs need the same packets; send without repacking, or take a \
         protocol that counts messages, such as iex-tp"
    )]
    RepackedPackets(&'static str),
    /// Legs do not differ.
    #[error("repacking needs two legs and a range of messages per packet; add a leg, or take a range such as 1 to 8")]
    NothingToRepack,
    /// One leg alone.
    #[error("loss on one leg at a time needs two legs; add a leg, or allow loss on all legs")]
    ExclusiveAlone,
    /// Time depends on the rate.
    #[error("the times inside {0} follow from the rate; give a rate")]
    NoRate(&'static str),
    /// Too slow for the times inside.
    #[error("a rate of {rate} is asked for; {protocol} with these streams and messages needs {least} or more")]
    Slow {
        /// Asked for.
        rate: u64,
        /// The protocol.
        protocol: &'static str,
        /// Least.
        least: u64,
    },
    /// Packets that must be alike.
    #[error("all packets of {0} have the same number of messages; take one number, not a range")]
    Uneven(&'static str),
    /// Nothing to leave out.
    #[error("{0} is not MPEG-TS, so there is no RTP around it to leave out; take mpeg-ts, or send {0} as it is")]
    PlainTs(&'static str),
    /// A sequence number that does not fit.
    #[error(
        "sequence numbers {first} to {last} are asked for; those of {protocol} end at {max}, so begin or end earlier"
    )]
    Sequence {
        /// First.
        first: u64,
        /// Last.
        last: u64,
        /// The protocol.
        protocol: &'static str,
        /// Largest.
        max: u64,
    },
    /// Several source ports.
    #[error("a range of source ports is given; each leg of a feed has one, so give one port, or none")]
    SourcePorts,
    /// Heartbeats without a pause.
    #[error("heartbeats every {0:?} are asked for; take {1:?} or more")]
    Heartbeat(Duration, Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_reads_as_a_sentence() {
        use FeedError as E;
        let (leg, protocol) = ("10.0.0.1@232.1.1.1:5000".to_owned(), "cboe-pitch");
        let size = Span::new(1, 300);
        let samples = [
            (E::Protocol("x"), "feeds of x cannot be made; take another protocol"),
            (E::Legs { legs: 0, max: 16 }, "0 legs are given; a feed has 1 to 16"),
            (
                E::LegTwice(leg.clone()),
                "leg 10.0.0.1@232.1.1.1:5000 is given twice; give each leg a group, a port or a source of its own",
            ),
            (
                E::Shares(leg.clone()),
                "loss, reordering and duplication of leg 10.0.0.1@232.1.1.1:5000 add up to more than 100 %; a packet has \
                 one fate, so take less",
            ),
            (
                E::Delay(leg.clone(), Duration::from_secs(10)),
                "leg 10.0.0.1@232.1.1.1:5000 would be delayed by more than 10s; take a shorter delay and jitter",
            ),
            (
                E::ReorderBy { leg: leg.clone(), packets: 0, max: 1000 },
                "a packet of leg 10.0.0.1@232.1.1.1:5000 would be overtaken by 0 packets; take 1 to 1000",
            ),
            (
                E::Waiting { leg, packets: 9_000_000, max: 65_536 },
                "the delay of leg 10.0.0.1@232.1.1.1:5000 holds 9000000 packets at this rate, more than 65536; take a \
                 shorter delay, a lower rate, or more messages per packet",
            ),
            (
                E::Streams { streams: 2, protocol: "cme-mdp3", max: 1 },
                "2 streams are asked for; cme-mdp3 on one group has 1 to 1, and each further group can have more",
            ),
            (
                E::Messages { messages: Span::one(256), protocol, max: 255 },
                "256 messages per packet are asked for; cboe-pitch takes 1 to 255",
            ),
            (
                E::MessageSize { size, protocol, allowed: Span::new(2, 255) },
                "messages of 1 to 300 bytes are asked for; those of cboe-pitch have 2 to 255",
            ),
            (
                E::TooLong { size: 70_000, max: 65_507 },
                "packets of up to 70000 bytes are asked for, and UDP carries 65507; take fewer or smaller messages",
            ),
            (
                E::RepackedPackets("opra"),
                "the sequence of opra counts packets, so all legs need the same packets; send without repacking, or take \
                 a protocol that counts messages, such as iex-tp",
            ),
            (
                E::NothingToRepack,
                "repacking needs two legs and a range of messages per packet; add a leg, or take a range such as 1 to 8",
            ),
            (E::ExclusiveAlone, "loss on one leg at a time needs two legs; add a leg, or allow loss on all legs"),
            (E::NoRate("rtp"), "the times inside rtp follow from the rate; give a rate"),
            (
                E::Slow { rate: 10, protocol: "mpeg-ts", least: 50 },
                "a rate of 10 is asked for; mpeg-ts with these streams and messages needs 50 or more",
            ),
            (
                E::Uneven("mpeg-ts"),
                "all packets of mpeg-ts have the same number of messages; take one number, not a range",
            ),
            (
                E::PlainTs("rtp"),
                "rtp is not MPEG-TS, so there is no RTP around it to leave out; take mpeg-ts, or send rtp as it is",
            ),
            (
                E::Sequence { first: 1, last: 5_000_000_000, protocol, max: 4_294_967_295 },
                "sequence numbers 1 to 5000000000 are asked for; those of cboe-pitch end at 4294967295, so begin or end \
                 earlier",
            ),
            (E::SourcePorts, "a range of source ports is given; each leg of a feed has one, so give one port, or none"),
            (
                E::Heartbeat(Duration::ZERO, Duration::from_millis(1)),
                "heartbeats every 0ns are asked for; take 1ms or more",
            ),
        ];
        for (error, text) in samples {
            assert_eq!(error.to_string(), text);
        }
    }
}
