//! The upper bound: an XDP program that drops every frame at once. The interface counts the drops.

use std::sync::Arc;

use anyhow::Result;
use receiver::Interface;

use super::observer::Shared;
use super::{Arguments, Running};
use crate::baseline::Baseline;

pub fn start(arguments: &Arguments) -> Result<Running> {
    let interface = Interface::lookup(&arguments.interface)?;
    let mut baseline = Baseline::load(crate::baseline::DROP_ALL)?;
    baseline.attach(interface.index)?;
    Ok(Running {
        shared: Arc::new(Shared::new()),
        add_counts: Box::new(|_| {}),
        end: Box::new(move || drop(baseline)),
        got: "native".to_owned(),
    })
}
