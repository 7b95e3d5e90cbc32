//! Feeds of a run: its subscriptions as the legs of sequenced streams.
//!
//! [`Feeds`] takes the datagrams of legs from the receiving threads, and gives what is in order to the sinks.

mod attribution;
mod causes;
mod clock;
mod feed;
mod lent;
mod notice;
mod repair;
mod report;
mod request;
mod set;

pub use attribution::Pace;
pub use repair::Answers;
#[cfg(test)]
pub use report::FecReport;
pub use report::{FeedReport, FeedState, LegReport, RerequestReport, StreamReport};
pub use request::{Fec, FeedOptions, FeedRequest, Legs, MOST_LEGS, path_class};
pub use set::{Feeds, Leg, Members, lock};
