//! The few socket calls for which no crate here has a safe form: the address of an `AF_PACKET` socket, and the options
//! PACKET_QDISC_BYPASS and IP(V6)_RECVERR. All `unsafe` of the sender is in this file.
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
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
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

/// Makes a UDP socket tell when the queue of the device was full. Without this option the kernel answers that the packet
/// was sent when it was dropped (`udp_send_skb`), and no count could be exact.
pub(super) fn report_full_queue(socket: impl AsFd, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
    }
}

fn set_option(socket: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a whole `c_int`, whose size is what is passed, and which lives through the call; the
    // kernel only reads it. The descriptor is open: it is borrowed.
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
