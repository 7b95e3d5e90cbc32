//! The samples of one family of metrics, as the encoder takes them.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder};

use super::kind::Kind;

/// Takes the samples of one family.
pub struct Samples<'a> {
    metric: MetricEncoder<'a>,
    kind: Kind,
    labels: &'static [&'static str],
}

impl<'a> Samples<'a> {
    /// Of a family of this kind, with these labels.
    pub fn new(metric: MetricEncoder<'a>, kind: Kind, labels: &'static [&'static str]) -> Self {
        Self { metric, kind, labels }
    }

    /// Adds a sample with these values of the family's labels, in their order.
    ///
    /// # Errors
    /// As of writing to a string.
    pub fn add(&mut self, values: &[&str], value: u64) -> fmt::Result {
        let labels = Labels { names: self.labels, values };
        match self.kind {
            Kind::Counter => self.metric.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&value, None),
            // A gauge takes signed values.
            Kind::Gauge => self.metric.encode_family(&labels)?.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
            Kind::Info => self.metric.encode_info(&labels),
        }
    }

    /// As [`Samples::add`], for a value that need not be whole, such as a time in seconds.
    ///
    /// # Errors
    /// As of writing to a string.
    pub fn add_float(&mut self, values: &[&str], value: f64) -> fmt::Result {
        let labels = Labels { names: self.labels, values };
        let mut metric = self.metric.encode_family(&labels)?;
        match self.kind {
            Kind::Counter => metric.encode_counter::<NoLabels, _, f64>(&value, None),
            Kind::Gauge | Kind::Info => metric.encode_gauge(&value),
        }
    }

    /// As [`Samples::add_float`], without a sample where there is no value.
    ///
    /// # Errors
    /// As of writing to a string.
    pub fn add_known(&mut self, values: &[&str], value: Option<f64>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.add_float(values, value))
    }
}

type NoLabels = [(&'static str, &'static str); 0];

#[derive(Debug)]
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        debug_assert_eq!(self.names.len(), self.values.len(), "{:?}", self.names);
        self.names.iter().zip(self.values).try_for_each(|(name, value)| (*name, *value).encode(encoder.encode_label()))
    }
}
