//! The reference of all ratios: a UDP socket with a source-specific join, read 64 datagrams at a time.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::observer::{Observer, Shared, with_observer};
use super::{Arguments, Counts, Running, consumer};

const BATCH: usize = 64;
const PAYLOAD: usize = 2048;
/// More than the kernel allows, which reduces it to `net.core.rmem_max`.
const BUFFER: usize = 64 << 20;

pub fn start(arguments: &Arguments) -> Result<Running> {
    let socket = Arc::new(joined(arguments)?);
    let got = format!("buffer of {} KiB", socket.recv_buffer_size().unwrap_or(0) >> 10);
    let shared = Arc::new(Shared::new());
    let thread = {
        let (socket, shared, arguments) = (Arc::clone(&socket), Arc::clone(&shared), arguments.clone());
        consumer(arguments.cpu, move || with_observer!(arguments, |observer| consume(&socket, observer, &shared)))?
    };
    let add_counts = move |counts: &mut Counts| {
        let mut ready = [PollFd::new(&*socket, PollFlags::IN)];
        counts.waiting = u64::from(poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0));
        let dropped = drops(&socket);
        if dropped > 0 {
            counts.loss.insert("socket_buffer_full".to_owned(), dropped);
        }
    };
    let end = move || {
        let _ = thread.join();
    };
    Ok(Running { shared, add_counts: Box::new(add_counts), end: Box::new(end), got })
}

/// Opens a socket with a source-specific join, like any program, with the largest buffer that the system allows.
pub fn joined(arguments: &Arguments) -> Result<Socket> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let _ = socket.set_recv_buffer_size(BUFFER);
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.bind(&SocketAddr::from((arguments.group, arguments.port)).into())?;
        // Joins on the interface of the route to the group.
        socket.join_ssm_v4(&arguments.source, &arguments.group, &Ipv4Addr::UNSPECIFIED)?;
        Ok(socket)
    };
    open().with_context(|| format!("joining {}@{}", arguments.source, arguments.group))
}

/// The datagrams that the kernel dropped because the socket's buffer was full (SO_MEMINFO).
pub fn drops(socket: &Socket) -> u64 {
    let mut info = [0u32; 16];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the array lives during the call, and the length is its size.
    let asked = unsafe {
        let to = info.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut length)
    };
    if asked == 0 { info[libc::SK_MEMINFO_DROPS as usize].into() } else { 0 }
}

fn consume<E: Observer>(socket: &Socket, mut observer: E, shared: &Shared) {
    let mut buffers = vec![[0u8; PAYLOAD]; BATCH];
    // SAFETY: all zeros is an address without a family.
    let mut names: Vec<libc::sockaddr_in> = vec![unsafe { std::mem::zeroed() }; BATCH];
    let mut parts: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: PAYLOAD })
        .collect();
    let name_len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .zip(&mut names)
        .map(|(part, name)| {
            // SAFETY: all zeros is an empty message header.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            if E::SOURCES {
                message.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                message.msg_hdr.msg_namelen = name_len;
            }
            message
        })
        .collect();
    while !shared.stop.load(Ordering::Relaxed) {
        // SAFETY: headers, names, parts and buffers live during the call, and each part is as long as its buffer.
        let received = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, timeout)
        };
        let received = usize::try_from(received).unwrap_or(0);
        for (nth, message) in messages[..received].iter().enumerate() {
            // SAFETY: the kernel wrote this number of bytes into the buffer, which lives longer, and the address into
            // the name.
            let (payload, source) = unsafe {
                let part = parts.as_ptr().add(nth);
                let length = (message.msg_len as usize).min(PAYLOAD);
                let payload = std::slice::from_raw_parts((*part).iov_base.cast::<u8>(), length);
                (payload, (*names.as_ptr().add(nth)).sin_addr.s_addr)
            };
            observer.observe(shared, || IpAddr::from(source.to_ne_bytes()), payload);
        }
        shared.add(received as u64);
    }
}
