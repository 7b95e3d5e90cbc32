//! `-`: the payloads to standard output.

use std::ffi::OsStr;

use super::traits::{Context, Sink, Target};
use super::written::{Written, payload};
use crate::outlet::Outlet;

struct StandardOutput;

/// Takes `-`.
pub fn parse(text: &OsStr) -> Option<Box<dyn Target>> {
    if text == "-" { Some(Box::new(StandardOutput)) } else { None }
}

impl Target for StandardOutput {
    fn takes_stdout(&self) -> bool {
        true
    }

    fn open(&self, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
        Ok(Box::new(Written::new(Outlet::stdout(context.on_failure()), payload)))
    }
}
