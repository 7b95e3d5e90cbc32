//! The socket options of this crate as the kernel's headers lay them out (`linux/in.h`, RFC 3678), for both families.
//!
//! The set is closed: an [`Opt`] can only be one of the constants here, and its type says which value it takes. None of
//! these values holds a pointer, so that the kernel touches no memory but the value itself.
//!
//! The structures are written byte by byte at the offsets of the C types. Some have a tail of variable length, and none
//! then has padding that was never written.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::SourceFilter;
use crate::errno::Errno;
use crate::state::State;

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

/// A socket option by level, number and name. `V` says which value it takes.
#[derive(Debug)]
pub(crate) struct Opt<V> {
    level: Level,
    number: c_int,
    pub(crate) name: &'static str,
    value: PhantomData<V>,
}

impl<V> Clone for Opt<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Opt<V> {}

/// The level at which the kernel looks an option up.
#[derive(Clone, Copy, Debug)]
enum Level {
    Socket,
    Ip,
    Ipv6,
    /// `IPPROTO_IP` or `IPPROTO_IPV6`, by the family of the group.
    OfGroup,
}

/// The value is `struct group_req`.
#[derive(Debug)]
pub(crate) enum Group {}
/// The value is `struct group_source_req`.
#[derive(Debug)]
pub(crate) enum GroupSource {}
/// The value is `struct group_filter`, with its sources.
#[derive(Debug)]
pub(crate) enum GroupSources {}
/// The value is `struct ip_mreqn`.
#[derive(Debug)]
pub(crate) enum IpGroup {}
/// The value is `struct ip_mreq_source`.
#[derive(Debug)]
pub(crate) enum IpSource {}
/// The value is `struct ip_msfilter`, with its sources.
#[derive(Debug)]
pub(crate) enum IpSources {}
/// The value is `struct ipv6_mreq`.
#[derive(Debug)]
pub(crate) enum Ipv6Group {}
/// The value is an int that is 0 or 1.
#[derive(Debug)]
pub(crate) enum Flag {}
/// The value is an array of 32-bit counters.
#[derive(Debug)]
enum Counters {}

macro_rules! options {
    ($($visibility:vis $value:ident at $level:ident: $($name:ident)*;)*) => { $($(
        $visibility const $name: Opt<$value> =
            Opt { level: Level::$level, number: libc::$name, name: stringify!($name), value: PhantomData };
    )*)* };
}
options! {
    pub(crate) Group at OfGroup: MCAST_JOIN_GROUP MCAST_LEAVE_GROUP;
    pub(crate) GroupSource at OfGroup:
        MCAST_JOIN_SOURCE_GROUP MCAST_LEAVE_SOURCE_GROUP MCAST_BLOCK_SOURCE MCAST_UNBLOCK_SOURCE;
    pub(crate) GroupSources at OfGroup: MCAST_MSFILTER;
    pub(crate) IpGroup at Ip: IP_ADD_MEMBERSHIP IP_DROP_MEMBERSHIP;
    pub(crate) IpSource at Ip:
        IP_ADD_SOURCE_MEMBERSHIP IP_DROP_SOURCE_MEMBERSHIP IP_BLOCK_SOURCE IP_UNBLOCK_SOURCE;
    pub(crate) IpSources at Ip: IP_MSFILTER;
    pub(crate) Ipv6Group at Ipv6: IPV6_ADD_MEMBERSHIP IPV6_DROP_MEMBERSHIP;
    pub(crate) Flag at Socket: SO_TIMESTAMPNS;
    pub(crate) Flag at Ip: IP_PKTINFO;
    pub(crate) Flag at Ipv6: IPV6_RECVPKTINFO;
    Counters at Socket: SO_MEMINFO;
}

impl<V> Opt<V> {
    /// Level and number; `is_ipv6` is the family of the group.
    fn at(self, is_ipv6: bool) -> (c_int, c_int) {
        let level = match (self.level, is_ipv6) {
            (Level::Socket, _) => libc::SOL_SOCKET,
            (Level::Ip, _) | (Level::OfGroup, false) => libc::IPPROTO_IP,
            (Level::Ipv6, _) | (Level::OfGroup, true) => libc::IPPROTO_IPV6,
        };
        (level, self.number)
    }
}

/// `setsockopt` with the bytes of `value`.
fn set<V>(fd: BorrowedFd<'_>, option: Opt<V>, is_ipv6: bool, value: &[u8]) -> Result<(), Errno> {
    let (level, number) = option.at(is_ipv6);
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` has `length` readable bytes for the duration of the call (the borrow). The kernel only reads
    // them: the option is one of the constants above, whose values hold no pointer. `fd` is open (BorrowedFd).
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, number, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// `getsockopt` into `value`; returns how many bytes the kernel has.
fn get<V>(fd: BorrowedFd<'_>, option: Opt<V>, is_ipv6: bool, value: &mut [u8]) -> Result<usize, Errno> {
    let (level, number) = option.at(is_ipv6);
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` has `length` writable bytes, borrowed for the call. The kernel writes at most `length` of them,
    // and the new length into a local: the option is one of the constants above, whose values hold no pointer. `fd` is
    // open (BorrowedFd).
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, number, value.as_mut_ptr().cast(), &mut length) };
    if result == 0 { Ok((length as usize).min(value.len())) } else { Err(Errno::last()) }
}

/// Switches a flag on.
pub(crate) fn switch_on(fd: BorrowedFd<'_>, option: Opt<Flag>) -> Result<(), Errno> {
    set(fd, option, false, &1_i32.to_ne_bytes())
}

/// `SO_MEMINFO`, of which the count of dropped datagrams is returned; `ENOPROTOOPT` before Linux 4.12.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    const DROPS: usize = 4 * libc::SK_MEMINFO_DROPS as usize;
    let mut counters = [0; DROPS + 4];
    let length = get(fd, SO_MEMINFO, false, &mut counters)?;
    if length < counters.len() {
        return Err(Errno::NOPROTOOPT);
    }
    Ok(number(&counters, DROPS))
}

/// `MCAST_JOIN_GROUP`, `MCAST_LEAVE_GROUP`: `struct group_req`.
pub(crate) fn mcast_group(fd: BorrowedFd<'_>, option: Opt<Group>, interface: u32, group: IpAddr) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::group_req>()];
    put(&mut request, offset_of!(libc::group_req, gr_interface), &interface.to_ne_bytes());
    put(&mut request, offset_of!(libc::group_req, gr_group), &storage(group));
    set(fd, option, group.is_ipv6(), &request)
}

/// `MCAST_JOIN_SOURCE_GROUP` and the three options like it: `struct group_source_req`.
pub(crate) fn mcast_source(
    fd: BorrowedFd<'_>,
    option: Opt<GroupSource>,
    interface: u32,
    group: IpAddr,
    source: IpAddr,
) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::group_source_req>()];
    put(&mut request, offset_of!(libc::group_source_req, gsr_interface), &interface.to_ne_bytes());
    put(&mut request, offset_of!(libc::group_source_req, gsr_group), &storage(group));
    put(&mut request, offset_of!(libc::group_source_req, gsr_source), &storage(source));
    set(fd, option, group.is_ipv6(), &request)
}

/// `MCAST_MSFILTER`, set.
pub(crate) fn set_mcast_filter(
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
    set(fd, MCAST_MSFILTER, group.is_ipv6(), &request)
}

/// `MCAST_MSFILTER`, get: the filter that the kernel holds for this socket, interface and group. Linux can hold an
/// INCLUDE filter without a source; it is returned as such, and is not the same as no membership.
pub(crate) fn mcast_filter(fd: BorrowedFd<'_>, interface: u32, group: IpAddr, expected: usize) -> Result<State, Errno> {
    let mut room = expected + 1;
    loop {
        let mut reply = group_filter(interface, group, room)?;
        match get(fd, MCAST_MSFILTER, group.is_ipv6(), &mut reply) {
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
pub(crate) fn ip_group(fd: BorrowedFd<'_>, option: Opt<IpGroup>, interface: u32, group: Ipv4Addr) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ip_mreqn>()];
    put(&mut request, offset_of!(libc::ip_mreqn, imr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ip_mreqn, imr_ifindex), &interface.to_ne_bytes());
    set(fd, option, false, &request)
}

/// `IP_ADD_SOURCE_MEMBERSHIP` and the three options like it: `struct ip_mreq_source`, by interface address.
pub(crate) fn ip_source(
    fd: BorrowedFd<'_>,
    option: Opt<IpSource>,
    interface: Ipv4Addr,
    group: Ipv4Addr,
    source: Ipv4Addr,
) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ip_mreq_source>()];
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_interface), &interface.octets());
    put(&mut request, offset_of!(libc::ip_mreq_source, imr_sourceaddr), &source.octets());
    set(fd, option, false, &request)
}

/// `IP_MSFILTER`, set: `struct ip_msfilter` (group, interface address, mode, count, sources), which libc lacks.
pub(crate) fn set_ip_filter(
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
    set(fd, IP_MSFILTER, false, &request)
}

/// `IP_MSFILTER`, get.
pub(crate) fn ip_filter(
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
        match get(fd, IP_MSFILTER, false, &mut reply) {
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
pub(crate) fn ipv6_group(
    fd: BorrowedFd<'_>,
    option: Opt<Ipv6Group>,
    interface: u32,
    group: Ipv6Addr,
) -> Result<(), Errno> {
    let mut request = [0; size_of::<libc::ipv6_mreq>()];
    put(&mut request, offset_of!(libc::ipv6_mreq, ipv6mr_multiaddr), &group.octets());
    put(&mut request, offset_of!(libc::ipv6_mreq, ipv6mr_interface), &interface.to_ne_bytes());
    set(fd, option, true, &request)
}

/// The first IPv4 address of an interface, by an AF_INET socket (`SIOCGIFADDR`); `EADDRNOTAVAIL` if the interface has
/// none.
pub(crate) fn interface_address(fd: BorrowedFd<'_>, index: u32) -> Result<Ipv4Addr, Errno> {
    let name = rustix::net::netdevice::index_to_name_inlined(fd, index).map_err(Errno::from)?;
    // SAFETY: ifreq is integers, arrays and a union of such; all zeroes are valid, and end the name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCGIFADDR reads the name and writes a sockaddr into the union of the ifreq it is given, which is a
    // local; `fd` is open (BorrowedFd).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFADDR as _, &raw mut request) };
    if result != 0 {
        return Err(Errno::last());
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

/// A `sockaddr_in` or `sockaddr_in6` in a `sockaddr_storage`. Port, flow label and scope are 0: the request names the
/// interface itself.
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
