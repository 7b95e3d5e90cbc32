//! Health of streams: RTP loss and jitter, MPEG-TS by TR 101 290, the Media Delivery Index, and microbursts.
//!
//! Each measurement takes what arrived and when, and gives a report at any time. Nothing is measured that the arrival
//! times do not allow: such a value is `None`.
//!
//! ```
//! use receiver_feed::health::RtpHealth;
//! use receiver_feed::protocol::RtpHeader;
//!
//! let mut health = RtpHealth::new(90_000);
//! for (sequence, arrived_ns) in [(7u8, 0), (8, 20_000_000), (10, 60_000_000)] {
//!     // 1,800 units of a 90 kHz clock are 20 ms.
//!     let packet = [0x80, 33, 0, sequence, 0, 0, (sequence as u16 * 1800 >> 8) as u8, (sequence as u16 * 1800) as u8];
//!     let packet = [&packet[..], &[0, 0, 0, 1]].concat();
//!     health.observe(&RtpHeader::parse(&packet)?, arrived_ns);
//! }
//! let report = health.report();
//! assert_eq!((report.packets, report.lost, report.jitter_ns), (3, 1, 0));
//! # Ok::<(), receiver_feed::protocol::ParseError>(())
//! ```

mod burst;
mod mdi;
mod rtp;
mod ts;

pub use burst::{BURST_WINDOWS_NS, Bursts};
pub use mdi::{Mdi, MdiSample};
pub use rtp::{RtpHealth, RtpReport, clock_rate};
pub use ts::{ElementaryStream, PcrReport, PidReport, Program, Tr101290, TsConfig, TsHealth, TsReport};
