//! Feeds without I/O: what a receiver of multicast does after a datagram has arrived.
//!
//! A feed is a protocol whose datagrams carry sequence numbers: market data, RTP, MPEG-TS over RTP. This crate parses
//! the headers. It opens no socket, reads no clock and starts no thread: the caller hands in payloads, and times in
//! nanoseconds of any clock that does not run backward.
//!
//! ```
//! use receiver_feed::protocol::{Kind, MoldUdp64, Protocol};
//!
//! // A heartbeat: the session, the next sequence number, and no message.
//! let mut datagram = *b"MORNING001\0\0\0\0\0\x05\xd9\x21\0\0";
//! let packet = MoldUdp64.parse(&datagram)?;
//! assert_eq!((packet.kind, packet.first, packet.count), (Kind::Heartbeat, 383_265, 0));
//! assert_eq!(MoldUdp64.stream_name(packet.stream), "MORNING001");
//!
//! // One message of two bytes.
//! datagram[19] = 1;
//! let datagram = [&datagram[..], &[0, 2, b'H', b'i']].concat();
//! let packet = MoldUdp64.parse(&datagram)?;
//! let messages: Vec<_> = packet.messages(&datagram).collect();
//! assert_eq!(messages, [b"Hi"]);
//! # Ok::<(), receiver_feed::protocol::ParseError>(())
//! ```

#![forbid(unsafe_code)]

/// What held and recovered datagrams are: reference-counted bytes of the crate `bytes`.
pub use bytes::Bytes;

pub mod arbiter;
pub mod fec;
pub mod health;
pub mod protocol;
