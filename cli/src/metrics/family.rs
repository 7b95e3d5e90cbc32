//! What a metric is.

use std::fmt;

use super::kind::Kind;
use super::samples::Samples;
use super::scrape::Scrape;

/// One metric, or one for each value of its labels.
pub struct Family {
    /// Its name without the suffix that its type demands.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
    /// Adds its samples.
    pub read: fn(&Scrape, &mut Samples<'_>) -> fmt::Result,
}
