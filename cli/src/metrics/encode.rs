//! Writes a scrape as text: OpenMetrics 1.0, or the older format of Prometheus.

use std::fmt::{self, Debug, Formatter};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::families::families;
use super::family::Family;
use super::kind::Kind;
use super::samples::Samples;
use super::scrape::Scrape;

/// A format of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which ends with `# EOF`.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, for clients that do not ask for OpenMetrics.
    Text,
}

impl Format {
    /// The header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }

    /// The format for a client with this header `Accept`. One that asks for text, such as a browser, and not for
    /// OpenMetrics, gets text.
    pub fn accepted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        if accept.contains("text/") && !accept.contains("application/openmetrics-text") {
            Self::Text
        } else {
            Self::OpenMetrics
        }
    }
}

/// The text of all metrics.
///
/// # Errors
/// None that is known: a string takes everything.
pub fn encode(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let mut out = String::with_capacity(16_384 + 800 * scrape.series.len());
    registry.register_collector(Box::new(Collected(scrape)));
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Text => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

struct Collected(Scrape);

impl Debug for Collected {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in families() {
            let (name, unit) = without_unit(family);
            let metric = encoder.encode_descriptor(name, family.help, unit.as_ref(), metric_type(family.kind))?;
            (family.read)(&self.0, &mut Samples::new(metric, family.kind, family.labels))?;
        }
        Ok(())
    }
}

/// The name without its unit, which the encoder adds.
fn without_unit(family: &Family) -> (&'static str, Option<Unit>) {
    for (suffix, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
        if let Some(name) = family.name.strip_suffix(suffix) {
            return (name, Some(unit));
        }
    }
    (family.name, None)
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Info => MetricType::Info,
    }
}
