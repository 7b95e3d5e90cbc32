//! The kernel's tables of memberships and of UDP sockets. The files stay open: they belong to the network namespace in
//! which they were opened, so any thread can read them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;

use super::udp_table::{self, UdpSocket};
use crate::stats::host_counters::contents;
use receiver_membership::tables::members_on;

/// The files of one network namespace.
#[derive(Debug)]
pub(crate) struct Tables {
    igmp: File,
    udp: File,
    /// `None` in a kernel without IPv6.
    igmp6: Option<File>,
    udp6: Option<File>,
}

impl Tables {
    /// Opens them in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/thread-self/net/{name}"));
        let optional = |name: &str| match open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        Ok(Self { igmp: open("igmp")?, udp: open("udp")?, igmp6: optional("igmp6")?, udp6: optional("udp6")? })
    }

    /// The number of members of each group on an interface: sockets of all programs, and the kernel.
    pub fn members_on(&self, interface: u32) -> io::Result<HashMap<IpAddr, u64>> {
        Ok(members_on(interface, &contents(&self.igmp)?, &whole(self.igmp6.as_ref())?))
    }

    /// The UDP sockets of the namespace for which `wanted` returns true.
    pub fn udp_sockets(&self, wanted: impl Fn(&UdpSocket) -> bool) -> io::Result<Vec<UdpSocket>> {
        let mut sockets = Vec::new();
        for text in [contents(&self.udp)?, whole(self.udp6.as_ref())?] {
            sockets.extend(udp_table::parse(&text).filter(&wanted));
        }
        Ok(sockets)
    }
}

fn whole(file: Option<&File>) -> io::Result<String> {
    file.map_or_else(|| Ok(String::new()), contents)
}
