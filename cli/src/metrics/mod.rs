//! The metrics of a run, in OpenMetrics over HTTP (`receiver run --metrics`).

mod address;
mod encode;
mod families;
mod family;
mod feed_families;
mod feed_streams;
mod http;
mod kind;
mod samples;
mod scrape;
mod series;
mod sink_families;
#[cfg(test)]
mod tests;

pub use address::MetricsAddress;
pub use http::server;
