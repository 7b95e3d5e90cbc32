//! What other administrators do to the XDP program: they detach it, or attach another one.
#![allow(unsafe_code)] // bpf(2); aya has no call to detach a link by its id.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use netlab::Namespace;
use rustix::process::Pid;

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

static FOREIGN: &[u8] = aya::include_bytes_aligned!("../../receiver-ebpf/object/baseline.bpf.o");

/// Detaches the XDP program of a process, as `bpftool link detach` does. Returns false if it has none.
pub fn detach(process: Pid) -> Result<bool> {
    let Some(link) = xdp_link(process)? else { return Ok(false) };
    let descriptor = bpf(BPF_LINK_GET_FD_BY_ID, link).context("cannot open the link of the XDP program")?;
    // SAFETY: bpf(2) just made it, and nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    bpf(BPF_LINK_DETACH, descriptor.as_raw_fd() as u32).context("cannot detach the XDP program")?;
    Ok(true)
}

/// A program of somebody else that drops all frames. Dropping this value detaches it.
pub struct Foreign(#[allow(dead_code)] Ebpf);

impl Foreign {
    /// Loads and attaches it. `None` if the kernel refuses it.
    pub fn attach(namespace: &Namespace, interface: &str, is_generic: bool) -> Result<Option<Self>> {
        let index = namespace.interface_index(interface)?;
        let mut ebpf = Ebpf::load(FOREIGN).context("cannot load the foreign program")?;
        let program: &mut Xdp =
            ebpf.program_mut("drop_all").context("the object has no program drop_all")?.try_into()?;
        program.load()?;
        let mode = if is_generic { XdpMode::Skb } else { XdpMode::Driver };
        // The receiver may be faster, and a program for one buffer does not go with a large MTU.
        let attached = namespace.run(|| program.attach_to_if_index(index, mode))?;
        Ok(attached.is_ok().then_some(Self(ebpf)))
    }
}

/// The id of the link by which a process has attached a program, from its fdinfo.
fn xdp_link(process: Pid) -> Result<Option<u32>> {
    let folder = format!("/proc/{}/fdinfo", process.as_raw_nonzero());
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // The descriptor may be closed by now.
        let Ok(text) = entry.and_then(|entry| fs::read_to_string(entry.path())) else {
            continue;
        };
        let number = |label: &str| -> Option<u32> {
            text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
        };
        // A link that is detached already names no interface.
        if let (Some(link), Some(1..)) = (number("link_id:"), number("ifindex:")) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// bpf(2) with an attribute whose first field is all that the command reads.
fn bpf(command: libc::c_long, first: u32) -> io::Result<libc::c_long> {
    let attribute = [first, 0, 0, 0];
    // SAFETY: the kernel only reads the attribute, whose length it is given and which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
