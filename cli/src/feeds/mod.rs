//! Feeds of a run: its subscriptions as the legs of sequenced streams.

mod report;

pub use report::{FeedReport, FeedState, LegReport, StreamReport};
