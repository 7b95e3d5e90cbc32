//! The membership options as the kernel's headers lay them out (`linux/in.h`, RFC 3678), for both families.
//!
//! The structures are written byte by byte at the offsets of the C types: some have a tail of variable length, and none
//! then has padding that was never written.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::state::State;
use crate::SourceFilter;
use crate::udp::{get_option, set_option};

const STORAGE: usize = size_of::<libc::sockaddr_storage>();
const MCAST_EXCLUDE: u32 = libc::MCAST_EXCLUDE as u32;
const MCAST_INCLUDE: u32 = libc::MCAST_INCLUDE as u32;

/// `struct group_filter` without its list of sources, which libc lacks.
#[repr(C)]
struct GroupFilter {
    interface: u32,
    group: libc::sockaddr_storage,
    mode: u32,
    sources: u32,
}

/// A socket option by number and name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt {
    number: c_int,
    pub(super) name: &'static str,
}

macro_rules! options {
    ($($name:ident)*) => { $(pub(super) const $name: Opt = Opt { number: libc::$name, name: stringify!($name) };)* };
}
options! {
    MCAST_JOIN_GROUP MCAST_LEAVE_GROUP MCAST_JOIN_SOURCE_GROUP MCAST_LEAVE_SOURCE_GROUP
    MCAST_BLOCK_SOURCE MCAST_UNBLOCK_SOURCE MCAST_MSFILTER
    IP_ADD_MEMBERSHIP IP_DROP_MEMBERSHIP IP_ADD_SOURCE_MEMBERSHIP IP_DROP_SOURCE_MEMBERSHIP
    IP_BLOCK_SOURCE IP_UNBLOCK_SOURCE IP_MSFILTER
    IPV6_ADD_MEMBERSHIP IPV6_DROP_MEMBERSHIP
}

/// `MCAST_JOIN_GROUP`, `MCAST_LEAVE_GROUP`: `struct group_req`.
pub(super) fn mcast_group(fd: BorrowedFd<'_>, option: Opt, interface: u32, group: IpAddr) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::group_req>()];
    put(&mut request, offset_of!(libc::group_req, gr_interface), &interface.to_ne_bytes());
    put(&mut request, offset_of!(libc::group_req, gr_group), &storage(group));
    set_option(fd, level(group), option.number, &request)
}

/// `MCAST_JOIN_SOURCE_GROUP` and its three sisters: `struct group_source_req`.
pub(super) fn mcast_source(
    fd: BorrowedFd<'_>,
    option: Opt,
    interface: u32,
    group: IpAddr,
    source: IpAddr,
) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::group_source_req>()];
    put(&mut request, offset_of!(libc::group_source_req, gsr_interface), &interface.to_ne_bytes());
    put(&mut request, offset_of!(libc::group_source_req, gsr_group), &storage(group));
    put(&mut request, offset_of!(libc::group_source_req, gsr_source), &storage(source));
    set_option(fd, level(group), option.number, &request)
}

/// `MCAST_MSFILTER`, set.
pub(super) fn set_mcast_filter(
    fd: BorrowedFd<'_>,
    interface: u32,
    group: IpAddr,
    filter: &SourceFilter,
) -> Result<(), Errno> {
    let sources = filter.sources();
    let mut request = group_filter(interface, group, sources.len())?;
    put(&mut request, offset_of!(GroupFilter, mode), &mode(filter).to_ne_bytes());
    for (i, &source) in sources.iter().enumerate() {
        put(&mut request, TAIL + i * STORAGE, &storage(source));
    }
    set_option(fd, level(group), libc::MCAST_MSFILTER, &request)
}

/// `MCAST_MSFILTER`, get: what the kernel holds for this socket, interface and group. An INCLUDE filter of nothing,
/// which Linux can hold ("deaf"), is given as such, and is not the same as no membership.
pub(super) fn mcast_filter(fd: BorrowedFd<'_>, interface: u32, group: IpAddr, expected: usize) -> Result<State, Errno> {
    let mut room = expected + 1;
    loop {
        let mut reply = group_filter(interface, group, room)?;
        match get_option(fd, level(group), libc::MCAST_MSFILTER, &mut reply) {
            Ok(_) => {}
            Err(Errno::ADDRNOTAVAIL) => return Ok(State::NotMember),
            Err(error) => return Err(error),
        }
        let count = number(&reply, offset_of!(GroupFilter, sources)) as usize;
        if count > room {
            room = count;
            continue;
        }
        let sources: BTreeSet<IpAddr> = (0..count).filter_map(|i| address(&reply, TAIL + i * STORAGE)).collect();
        return state(number(&reply, offset_of!(GroupFilter, mode)), sources);
    }
}

/// `IP_ADD_MEMBERSHIP`, `IP_DROP_MEMBERSHIP`: `struct ip_mreqn`, by index.
pub(super) fn ip_group(fd: BorrowedFd<'_>, option: Opt, interface: u32, group: Ipv4Addr) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ip_mreqn>()];
    put(&mut request, offset_of!(libc::ip_mreqn, imr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ip_mreqn, imr_ifindex), &interface.to_ne_bytes());
    set_option(fd, libc::IPPROTO_IP, option.number, &request)
}

/// `IP_ADD_SOURCE_MEMBERSHIP` and its three sisters: `struct ip_mreq_source`, by interface address.
pub(super) fn ip_source(
    fd: BorrowedFd<'_>,
    option: Opt,
    interface: Ipv4Addr,
    group: Ipv4Addr,
    source: Ipv4Addr,
) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ip_mreq_source>()];
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_interface), &interface.octets());
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_sourceaddr), &source.octets());
    set_option(fd, libc::IPPROTO_IP, option.number, &request)
}

/// `IP_MSFILTER`, set: `struct ip_msfilter` (group, interface address, mode, count, sources), which libc lacks.
pub(super) fn set_ip_filter(
    fd: BorrowedFd<'_>,
    interface: Ipv4Addr,
    group: Ipv4Addr,
    filter: &SourceFilter,
) -> Result<(), Errno> {
    let sources = filter.sources();
    let mut request = Vec::with_capacity(16 + 4 * sources.len());
    request.extend(group.octets());
    request.extend(interface.octets());
    request.extend(mode(filter).to_ne_bytes());
    request.extend(count(sources.len())?.to_ne_bytes());
    for source in sources {
        if let IpAddr::V4(source) = source {
            request.extend(source.octets());
        }
    }
    set_option(fd, libc::IPPROTO_IP, libc::IP_MSFILTER, &request)
}

/// `IP_MSFILTER`, get.
pub(super) fn ip_filter(
    fd: BorrowedFd<'_>,
    interface: Ipv4Addr,
    group: Ipv4Addr,
    expected: usize,
) -> Result<State, Errno> {
    let mut room = expected + 1;
    loop {
        let mut reply = vec![0; 16 + 4 * room];
        put(&mut reply, 0, &group.octets());
        put(&mut reply, 4, &interface.octets());
        put(&mut reply, 12, &count(room)?.to_ne_bytes());
        match get_option(fd, libc::IPPROTO_IP, libc::IP_MSFILTER, &mut reply) {
            Ok(_) => {}
            Err(Errno::ADDRNOTAVAIL) => return Ok(State::NotMember),
            Err(error) => return Err(error),
        }
        let count = number(&reply, 12) as usize;
        if count > room {
            room = count;
            continue;
        }
        let sources =
            reply[16..].chunks_exact(4).take(count).map(|s| Ipv4Addr::new(s[0], s[1], s[2], s[3]).into()).collect();
        return state(number(&reply, 8), sources);
    }
}

/// `IPV6_ADD_MEMBERSHIP`, `IPV6_DROP_MEMBERSHIP`: `struct ipv6_mreq`.
pub(super) fn ipv6_group(fd: BorrowedFd<'_>, option: Opt, interface: u32, group: Ipv6Addr) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ipv6_mreq>()];
    put(&mut request, offset_of!(libc::ipv6_mreq, ipv6mr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ipv6_mreq, ipv6mr_interface), &interface.to_ne_bytes());
    set_option(fd, libc::IPPROTO_IPV6, option.number, &request)
}

/// The first IPv4 address of an interface, asked of an AF_INET socket (`SIOCGIFADDR`); `EADDRNOTAVAIL` where it has
/// none.
pub(super) fn interface_address(fd: BorrowedFd<'_>, index: u32) -> Result<Ipv4Addr, Errno> {
    let name = rustix::net::netdevice::index_to_name_inlined(fd, index)?;
    // SAFETY: ifreq is integers, arrays and a union of such; all zeroes are valid, and end the name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCGIFADDR reads the name and writes a sockaddr into the union of the ifreq it is given, which is a
    // local; `fd` is open (BorrowedFd).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFADDR as _, &raw mut request) };
    if result != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: the call succeeded, so that the kernel filled in the address; any bytes are a valid sockaddr.
    let address = unsafe { request.ifr_ifru.ifru_addr };
    if c_int::from(address.sa_family) != libc::AF_INET {
        return Err(Errno::ADDRNOTAVAIL);
    }
    let [_, _, a, b, c, d, ..] = address.sa_data.map(|byte| byte as u8);
    Ok(Ipv4Addr::new(a, b, c, d))
}

/// Where the list of sources begins.
const TAIL: usize = offset_of!(GroupFilter, sources) + 4;

fn group_filter(interface: u32, group: IpAddr, sources: usize) -> Result<Vec<u8>, Errno> {
    let mut request = vec![0; TAIL + sources * STORAGE];
    put(&mut request, offset_of!(GroupFilter, interface), &interface.to_ne_bytes());
    put(&mut request, offset_of!(GroupFilter, group), &storage(group));
    put(&mut request, offset_of!(GroupFilter, sources), &count(sources)?.to_ne_bytes());
    Ok(request)
}

fn level(group: IpAddr) -> c_int {
    if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 }
}

fn mode(filter: &SourceFilter) -> u32 {
    if filter.is_exclude() { MCAST_EXCLUDE } else { MCAST_INCLUDE }
}

fn state(mode: u32, sources: BTreeSet<IpAddr>) -> Result<State, Errno> {
    match mode {
        MCAST_INCLUDE => Ok(State::Include(sources)),
        MCAST_EXCLUDE => Ok(State::Exclude(sources)),
        _ => Err(Errno::PROTO),
    }
}

/// A `sockaddr_in` or `sockaddr_in6` in a `sockaddr_storage`; port, flow label and scope are 0, for the interface is
/// named beside it.
fn storage(address: IpAddr) -> [u8; STORAGE] {
    let mut storage = [0; STORAGE];
    match address {
        IpAddr::V4(address) => {
            put(&mut storage, 0, &(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
            put(&mut storage, offset_of!(libc::sockaddr_in, sin_addr), &address.octets());
        }
        IpAddr::V6(address) => {
            put(&mut storage, 0, &(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
            put(&mut storage, offset_of!(libc::sockaddr_in6, sin6_addr), &address.octets());
        }
    }
    storage
}

fn address(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    let storage = bytes.get(offset..offset + STORAGE)?;
    match c_int::from(libc::sa_family_t::from_ne_bytes(*storage.first_chunk()?)) {
        libc::AF_INET => {
            let octets: [u8; 4] = *storage[offset_of!(libc::sockaddr_in, sin_addr)..].first_chunk()?;
            Some(octets.into())
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *storage[offset_of!(libc::sockaddr_in6, sin6_addr)..].first_chunk()?;
            Some(octets.into())
        }
        _ => None,
    }
}

fn count(sources: usize) -> Result<u32, Errno> {
    u32::try_from(sources).map_err(|_| Errno::NOBUFS)
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}
