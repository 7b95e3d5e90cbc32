//! A socket that is joined and never read: with a join to another source than the one that sends, the kernel drops everything
//! itself.

use std::sync::Arc;

use anyhow::Result;

use super::look::Shared;
use super::{Arguments, Counts, Running, recvmmsg};

pub fn start(arguments: &Arguments) -> Result<Running> {
    let socket = recvmmsg::joined(arguments)?;
    let books = |_: &mut Counts| {};
    Ok(Running {
        shared: Arc::new(Shared::new()),
        books: Box::new(books),
        end: Box::new(move || drop(socket)),
        got: "joined".to_owned(),
    })
}
