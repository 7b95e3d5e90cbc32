//! The JSON form. Names stay as they are, since other programs read them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::conditions::Conditions;
use crate::rows::Row;
use crate::tables::throughput::Throughput;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Document {
    pub conditions: Conditions,
    pub rows: Vec<Value>,
    pub tables: BTreeMap<&'static str, Value>,
    pub targets: Vec<Value>,
}

impl Document {
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A row of the main table.
pub fn row(table: &Throughput, row: &Row, more: Map<String, Value>) -> Option<Value> {
    if let Some(reason) = table.missing.get(row.name) {
        return Some(json!({ "name": row.name, "about": row.about, "not_available": reason }));
    }
    let medians = table.medians(row.name)?;
    let mut value = json!({
        "name": row.name,
        "about": row.about,
        "got": table.got.get(row.name),
        "measures": match row.measures {
            crate::rows::Measures::Delivered => "delivered",
            crate::rows::Measures::Dropped => "dropped",
        },
        "packets_per_second": medians.packets_per_second.round(),
        "offered_per_second": medians.offered_per_second.round(),
        "ratio": medians.ratio.map(|ratio| ratio.median),
        "ratio_between": medians.ratio.map(|ratio| [ratio.low, ratio.high]),
        "loss": medians.loss_share,
        "loss_by_cause": medians.loss,
        "unaccounted": medians.unaccounted,
        "generator_bound": medians.generator_bound,
        "cpu_nanoseconds_per_packet": medians.cpu_nanoseconds,
        "rounds": table.rates(row.name),
    });
    if let Some(object) = value.as_object_mut() {
        object.extend(more);
    }
    Some(value)
}
