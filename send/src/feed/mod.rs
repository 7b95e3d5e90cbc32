//! Feeds to test with: the datagrams of a sequenced protocol, on one leg or several, impaired by seed.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use receiver_send::feed::{FeedConfig, FeedSender, Leg};
//!
//! let mut leg_a = Leg::new("232.1.1.1".parse()?, 5000);
//! leg_a.impairment.loss = "1%".parse()?;
//! let leg_b = Leg::new("232.1.1.2".parse()?, 5000);
//! let mut config = FeedConfig::new("veth0", "moldudp64".parse()?, vec![leg_a, leg_b]);
//! config.count = Some(1_000_000);
//! let report = FeedSender::new(config)?.run(&AtomicBool::new(false))?;
//! assert_eq!((report.messages, report.missing), (1_000_000, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is sent
//!
//! Rate and count are in sequence numbers over all streams: messages, or packets where the protocol counts packets.
//! Streams take turns message by message. A packet leaves when its last message is due.
//!
//! # What is lost
//!
//! A packet has one fate on each leg ([`crate::impair`]). The first and the last packet of a stream are always sent, in
//! order, so that each loss shows as a gap. Heartbeats and ends of sessions are always sent.

mod build;
mod config;
mod error;
mod exit;
mod frame;
mod losses;
mod plan;
mod queue;
mod report;
mod sender;
mod span;
mod validate;

pub use config::{FeedConfig, Leg};
pub use error::FeedError;
pub use report::{FeedSent, LegSent, StreamSent};
pub use sender::FeedSender;
pub use span::{Span, SpanError};
pub use validate::MAX_DELAY;
