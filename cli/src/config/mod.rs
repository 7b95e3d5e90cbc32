//! The configuration file of `receiver run`: what it may hold, how it joins the command line, and what a new version of
//! it changes while the run goes on.

mod command;
mod example;
mod fault;
mod feed;
mod file;
mod keys;
mod merge;
mod reload;
mod schema;

pub use command::{ConfigArgs, run};
pub use fault::{ConfigError, Faults};
pub use feed::{FeedEntry, positive_time};
pub use file::{File, SinkEntry};
pub use merge::{Configured, Source, with_values};
pub use reload::{
    Current, Effective, Plan, ReloadReport, Step, Wanted, changed_feeds, changed_options, merge_sinks, plan,
};
