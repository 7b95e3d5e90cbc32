//! `--summary FILE`: the JSON summary in a file, which may be a FIFO that nobody reads.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::json::JsonView;
use super::traits::View;
use crate::figures::{Facts, Figures};
use crate::files;
use crate::outlet::{Outlet, PAYLOAD_LIMIT, Units};

/// Writes the file at the end, and nothing before.
pub struct SummaryFile(pub PathBuf);

impl View for SummaryFile {
    fn start(&mut self, _: &Facts) -> anyhow::Result<()> {
        Ok(())
    }

    fn interval(&mut self, _: &Facts, _: &Figures) -> anyhow::Result<()> {
        Ok(())
    }

    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        let (path, name) = (self.0.clone(), files::shown(&self.0));
        let outlet = Outlet::new(&name, move || File::create(path), || ());
        let dropped = Arc::default();
        let written = JsonView(Units::new(&outlet, PAYLOAD_LIMIT, &dropped)).summary(facts, figures);
        outlet.finish()?;
        written.context("cannot write the summary")?;
        match dropped.dropped() {
            0 => Ok(()),
            _ => Err(anyhow!("cannot write the summary to {name}: its reader does not read")),
        }
    }
}
