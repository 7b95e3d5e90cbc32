//! Other programs on this host: those that hold an interface or a queue ([`holder`], [`process`]), those that use the
//! groups of this receiver ([`sharing`], by the kernel's [`tables`]), and the policy for frames that they may want
//! ([`policy`]).

mod holder;
mod policy;
mod process;
pub(crate) mod sharing;
mod tables;
pub(crate) mod udp_table;

pub use holder::Holder;
pub use policy::DropUnwanted;
pub use process::Process;
pub(crate) use process::{holders_of_sockets, holders_of_xdp_sockets, list};
pub(crate) use tables::Tables;
