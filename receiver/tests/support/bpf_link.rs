//! What another administrator can do to a program that a bpf_link holds: `bpftool link detach`, without bpftool.
#![allow(unsafe_code)] // bpf(2); aya has no call to detach a link by its id.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::fdinfo::{number, of_this_process};

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Takes a program of this process off its interface, as `bpftool link detach id N` does: the descriptor of the link
/// stays open, and says nothing.
pub fn detach(program: u32) {
    let link = link_of(program).unwrap_or_else(|| panic!("no bpf_link of program {program} in this process"));
    let descriptor = i32::try_from(bpf(BPF_LINK_GET_FD_BY_ID, link).expect("open the link")).expect("a descriptor");
    // SAFETY: bpf(2) just made it, and nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    bpf(BPF_LINK_DETACH, u32::try_from(descriptor.as_raw_fd()).expect("a descriptor")).expect("detach the link");
}

/// The id of the link by which a program is attached, from `/proc/self/fdinfo`.
fn link_of(program: u32) -> Option<u32> {
    of_this_process().find_map(|info| {
        // A link that is detached already keeps its program, but names no interface.
        let attached = number(&info, "prog_id:") == Some(program.into()) && number(&info, "ifindex:") != Some(0);
        attached.then(|| number(&info, "link_id:")?.try_into().ok()).flatten()
    })
}

/// bpf(2) with an attribute whose first field is all that the command reads.
fn bpf(command: libc::c_long, first: u32) -> io::Result<libc::c_long> {
    let attribute = [first, 0, 0, 0];
    // SAFETY: the kernel only reads the attribute, whose length it is given and which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
