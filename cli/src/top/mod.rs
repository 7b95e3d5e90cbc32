//! The dashboard: a run on the whole terminal, with keys. `receiver run --view dashboard` shows its own run
//! ([`inside`]); `receiver top` another one, by its control socket.

mod app;
mod attached;
mod draw;
mod feed;
mod inside;
mod keys;
mod model;
mod stats;
mod terminal;

pub use attached::{TopArgs, run};
pub use inside::DashboardView;
pub use terminal::{give_up, has_keys};
