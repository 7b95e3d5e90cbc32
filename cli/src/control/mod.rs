//! The control socket of a run: requests of other programs, which steer the run and read its counters.

mod client;
mod execute;
pub mod place;
mod protocol;
mod reports;
mod server;
mod session;
mod socket;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context;

use crate::event::Event;
use crate::services::Services;
use socket::ControlSocket;

pub use client::{Client, ClientError, Selection};
pub use execute::reply;
pub use protocol::{Kind, Refusal, Request, parse_reply};
pub use server::Control;
pub use session::Session;

/// Opens the control socket of a run with this name, at this path or in the runtime directory, and serves it: with
/// refusals until [`Control::started`]. `None` without both.
///
/// # Errors
/// Another run has the socket, or it cannot be made.
pub fn serve(
    name: Option<&str>,
    path: Option<&Path>,
    events: &Sender<Event>,
    services: &mut Services,
) -> anyhow::Result<Option<Arc<Control>>> {
    let Some(socket) = open(name, path)? else { return Ok(None) };
    let control = Control::new(name.map(str::to_owned), events.clone());
    let server = Arc::clone(&control).server(socket);
    server.and_then(|server| services.add(server)).context("cannot serve the control socket")?;
    Ok(Some(control))
}

fn open(name: Option<&str>, path: Option<&Path>) -> anyhow::Result<Option<ControlSocket>> {
    let owner = name.map_or_else(|| "another run".to_owned(), |name| format!("a run with the name {name}"));
    let path = match (path, name) {
        (Some(path), _) => path.to_owned(),
        (None, Some(name)) => {
            let directory = place::runtime_directory();
            place::make(&directory)?;
            place::socket(&directory, name)
        }
        (None, None) => return Ok(None),
    };
    ControlSocket::open(&path, &owner).map(Some)
}
