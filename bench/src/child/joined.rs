//! A socket that is joined and never read. If it joins another source than the one that sends, the kernel drops
//! everything.

use std::sync::Arc;

use anyhow::Result;

use super::observer::Shared;
use super::{Arguments, Counts, Running, recvmmsg};

pub fn start(arguments: &Arguments) -> Result<Running> {
    let socket = recvmmsg::joined(arguments)?;
    let add_counts = |_: &mut Counts| {};
    Ok(Running {
        shared: Arc::new(Shared::new()),
        add_counts: Box::new(add_counts),
        end: Box::new(move || drop(socket)),
        got: "joined".to_owned(),
    })
}
