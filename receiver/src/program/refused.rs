//! Errors of the loader and the kernel as errors of this library.

use aya::programs::loaded_programs;
use receiver_host::{Lack, XDP_PROGRAM, is_permission_error, reasons};

use super::operation;
use super::verifier::{complaint, log_of};
use crate::api::error::Error;
use crate::engine::others::Holder;

pub(super) fn occupied(interface: &str, program: u32) -> Error {
    Error::XdpOccupied { name: interface.to_owned(), program, holder: Box::new(Holder::of(program, name_of(program))) }
}

/// The name of a program that is loaded, by its id. Needs CAP_SYS_ADMIN.
pub(crate) fn name_of(id: u32) -> Option<String> {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    program.name_as_str().map(ToOwned::to_owned)
}

pub(super) fn foreign(interface: &str) -> Error {
    Error::Program {
        name: interface.to_owned(),
        doing: operation::FIND,
        reason: "the compiled object does not fit this library; rebuild it with `cargo xtask build-ebpf`".into(),
    }
}

/// The error for a failed operation: a lack of privilege, a refusal by the verifier, or the chain of reasons in one
/// line.
pub(super) fn refused(interface: &str, doing: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
    let log = log_of(error);
    let not_permitted =
        |doing, lack| Error::NotPermitted { doing, name: interface.to_owned(), lack, needed: &XDP_PROGRAM };
    // The verifier returns EACCES, too, but no privilege would help then.
    if log.is_none() && is_permission_error(error) {
        let doing = if doing == operation::LOAD { "loading an XDP program" } else { "steering XDP" };
        return not_permitted(doing, Lack::of(&XDP_PROGRAM));
    }
    if let Some(log) = log {
        tracing::debug!("the verifier's log of the XDP program for {interface}:\n{log}");
        if !receiver_host::is_full_speed() {
            return not_permitted("loading an XDP program", Lack::Perfmon);
        }
        return Error::Verifier { name: interface.to_owned(), reason: complaint(&log) };
    }
    Error::Program { name: interface.to_owned(), doing, reason: reasons(error) }
}
