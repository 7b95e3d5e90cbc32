//! Feeds without I/O: what a receiver of multicast does after a datagram has arrived.
//!
//! A feed is a protocol whose datagrams carry sequence numbers: market data, RTP, MPEG-TS over RTP. This crate
//! says what has arrived, in which order, what is missing, and how well it came. It opens no socket, reads no clock and
//! starts no thread: the caller hands in payloads, and times in nanoseconds of any clock that does not run backward.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`protocol`] | headers of thirteen protocols: stream, sequence, kind, messages |
//! | [`arbiter`] | one ordered stream out of any number of redundant legs; gaps, resets, states |
//! | [`attribution`] | where each missing sequence number was lost: network, interface, ring, socket, consumer |
//! | [`rerequest`] | which missing ranges to ask for again, and when |
//! | [`fec`] | lost RTP packets made again from the parity of ST 2022-1 |
//! | [`health`] | RTP loss and jitter, MPEG-TS by TR 101 290, delivery index, microbursts |
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
pub mod attribution;
pub mod fec;
pub mod health;
pub mod protocol;
pub mod rerequest;
