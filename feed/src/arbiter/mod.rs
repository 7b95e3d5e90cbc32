//! Sequencing and arbitration: any number of redundant legs in, one ordered stream out.
//!
//! [`Arbiter`] takes the datagrams of all legs of a feed. For each stream it delivers every message once and in order.
//! The first arrival wins; the rest of its copies are trimmed by message range, so legs may pack their messages
//! differently. Datagrams that arrive ahead of a gap are held, without a copy where the payload is a lease.
//!
//! ```text
//! leg 0 ──► parse ──► position: lost, reordered ──┐
//! leg 1 ──► parse ──► position                  ──┼──► next expected? ──► Data
//! leg 2 ──► parse ──► position                  ──┘    ahead?         ──► held, within bounds ──► Data, Gap
//!                                                      behind?        ──► fills a gap: Recovered; else dropped
//! ```
//!
//! A gap is declared when every live leg has passed it, when the time is over, or when too many datagrams are held. It
//! stays open to a late fill for a while, then it is lost for good.
//!
//! ```
//! use bytes::Bytes;
//! use receiver_feed::arbiter::{Arbiter, Config, Event, LegId};
//! use receiver_feed::protocol::MoldUdp64;
//!
//! /// A datagram with one message.
//! fn datagram(sequence: u8) -> Bytes {
//!     Bytes::from([b"SESSION  1\0\0\0\0\0\0\0", &[sequence, 0, 1, 0, 1, b'!'][..]].concat())
//! }
//!
//! let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(2));
//! let (a, b) = (LegId::new(0), LegId::new(1));
//! let mut seen = Vec::new();
//! // Leg A loses message 2, leg B loses message 3.
//! for (now_ns, leg, sequence) in [(0, a, 1), (1, b, 1), (2, a, 3), (3, b, 2), (4, a, 4), (5, b, 4)] {
//!     arbiter.push(leg, now_ns, datagram(sequence), |delivery| {
//!         if let Event::Data(data) = delivery.event {
//!             seen.push((data.first, data.leg));
//!         }
//!     })?;
//! }
//! assert_eq!(seen, [(1, a), (2, b), (3, a), (4, a)]);
//! # Ok::<(), receiver_feed::protocol::ParseError>(())
//! ```

mod config;
mod cursor;
mod engine;
mod epoch;
mod event;
mod held;
mod index;
mod lag;
mod leg;
mod media;
mod ranges;
mod shared;
mod statistics;
mod stream;

pub use config::{Config, PathClass};
pub use engine::{Arbiter, StreamView};
pub use event::{Data, Delivery, Event, Gap, Hold, LegId, LegLoss, Payload, State, StreamId};
pub use statistics::{Histogram, LegStatistics, StreamLegStatistics, StreamStatistics};
