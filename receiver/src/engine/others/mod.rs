//! Other programs on this host: which of them holds an interface or a queue ([`holder`], [`process`]); which use the
//! groups of this receiver ([`sharing`], by the kernel's [`tables`]), and what becomes of the frames that they may want
//! ([`policy`]).

mod holder;
mod policy;
mod process;
pub(crate) mod sharing;
mod tables;
mod udp_table;

pub use holder::Holder;
pub use policy::DropUnwanted;
pub use process::Process;
pub(crate) use process::{holders_of_sockets, holders_of_xdp_sockets, list};
pub(crate) use tables::Tables;
