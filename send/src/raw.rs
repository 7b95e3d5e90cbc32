//! The socket calls for which no library of the workspace has a safe form: the address of an `AF_PACKET` socket, and
//! the options PACKET_QDISC_BYPASS and IP(V6)_RECVERR. All `unsafe` code of this crate is in this file.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, sockaddr, sockaddr_ll, socklen_t};
use socket2::{Domain, Socket, Type};

/// A socket that sends complete frames on one interface, and receives nothing. Needs CAP_NET_RAW.
pub(super) fn packet_socket(index: u32, bypass_qdisc: bool) -> io::Result<Socket> {
    // Protocol 0: no frame is ever queued to it.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    if bypass_qdisc {
        switch_on(&socket, Flag::BypassQdisc)?;
    }
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a whole `sockaddr_ll`, whose size is what is passed, and which lives through the call;
    // the kernel only reads it. The descriptor is open: `socket` owns it.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast::<sockaddr>(), size_of::<sockaddr_ll>() as socklen_t)
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Makes a UDP socket report that the device's queue was full. Without this option the kernel answers that the packet
/// was sent when it was dropped (`udp_send_skb`), and no count could be exact.
pub(super) fn report_full_queue(socket: impl AsFd, v6: bool) -> io::Result<()> {
    switch_on(socket, if v6 { Flag::ReportErrorsV6 } else { Flag::ReportErrorsV4 })
}

/// The options of this file, which take an int.
#[derive(Clone, Copy)]
enum Flag {
    BypassQdisc,
    ReportErrorsV4,
    ReportErrorsV6,
}

fn switch_on(socket: impl AsFd, flag: Flag) -> io::Result<()> {
    let (level, name) = match flag {
        Flag::BypassQdisc => (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS),
        Flag::ReportErrorsV4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
        Flag::ReportErrorsV6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let value: c_int = 1;
    // SAFETY: the pointer is to a whole `c_int`, whose size is passed, and which lives through the call. The kernel
    // only reads it, since each of these options takes an int. The descriptor is open: it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
