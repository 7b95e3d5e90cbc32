//! Other programs on this host: which of them holds an interface or a queue ([`holder`], [`process`]).

mod holder;
mod process;

pub use holder::Holder;
pub use process::Process;
pub(crate) use process::{holders_of_xdp_sockets, list};
