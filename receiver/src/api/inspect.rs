//! What can be known of a host without a receiver: the program on an interface, the programs that use a group, and the
//! known limits of a driver. Nothing is changed.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::engine::others::{Holder, Process, Tables, holders_of_sockets};
use crate::program::{driver, name_of};
use receiver_host::Interface;

/// The processes that have a UDP socket for a group and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupUsers {
    /// Those that `/proc` shows, by id.
    pub processes: Vec<Process>,
    /// Sockets of processes that `/proc` does not show: those of other users need CAP_SYS_PTRACE.
    pub hidden: usize,
}

/// The XDP program that was on the interface when it was looked up, and who holds it. Its name needs CAP_SYS_ADMIN.
pub fn xdp_holder(interface: &Interface) -> Option<Holder> {
    let program = interface.xdp_program?;
    Some(Holder::of(program, name_of(program)))
}

/// The processes with a UDP socket that is bound to the port, and to the group or to any address. The kernel does not
/// report which sockets are members of a group.
///
/// # Errors
/// The tables in `/proc/net` cannot be read.
pub fn group_users(group: IpAddr, port: u16) -> io::Result<GroupUsers> {
    let takes =
        |address: IpAddr| address == group || address.is_unspecified() && (address.is_ipv6() || group.is_ipv4());
    let sockets = Tables::open()?.udp_sockets(|socket| socket.port == port && takes(socket.address))?;
    let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let holders = holders_of_sockets(&inodes);
    let processes: BTreeSet<Process> = holders.values().flatten().cloned().collect();
    let hidden = inodes.iter().filter(|inode| holders.get(inode).is_none_or(Vec::is_empty)).count();
    Ok(GroupUsers { processes: processes.into_iter().collect(), hidden })
}

/// The known limits of a driver, each with what to do about it. `true`: the limit causes no error.
pub fn driver_limits(driver: &str) -> impl Iterator<Item = (String, bool)> + '_ {
    let of = driver::LIMITS.iter().filter(move |limit| limit.driver == driver);
    of.map(|limit| (limit.to_string(), limit.when == driver::When::Running))
}
