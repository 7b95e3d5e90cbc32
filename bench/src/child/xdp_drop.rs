//! The ceiling: an XDP program that drops every frame at once. What it dropped, the interface counts.

use std::sync::Arc;

use anyhow::Result;
use receiver::Interface;

use super::look::Shared;
use super::{Arguments, Running};
use crate::yardstick::Yardstick;

pub fn start(arguments: &Arguments) -> Result<Running> {
    let interface = Interface::lookup(&arguments.interface)?;
    let mut yardstick = Yardstick::load(crate::yardstick::DROP_ALL)?;
    yardstick.attach(interface.index)?;
    Ok(Running {
        shared: Arc::new(Shared::new()),
        books: Box::new(|_| {}),
        end: Box::new(move || drop(yardstick)),
        got: "native".to_owned(),
    })
}
