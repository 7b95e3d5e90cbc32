//! The ceiling: an XDP program that drops every frame at once. What it dropped, the interface counts.

use std::sync::Arc;

use anyhow::Result;
use receiver::Interface;

use super::look::Shared;
use super::{Arguments, Running};
use crate::baseline::Baseline;

pub fn start(arguments: &Arguments) -> Result<Running> {
    let interface = Interface::lookup(&arguments.interface)?;
    let mut baseline = Baseline::load(crate::baseline::DROP_ALL)?;
    baseline.attach(interface.index)?;
    Ok(Running {
        shared: Arc::new(Shared::new()),
        books: Box::new(|_| {}),
        end: Box::new(move || drop(baseline)),
        got: "native".to_owned(),
    })
}
