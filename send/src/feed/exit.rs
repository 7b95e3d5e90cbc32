//! How one leg's packets leave: through a UDP socket, or as complete frames.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::{MMsgHdr, SendAncillaryBuffer};
use socket2::Socket;

use super::config::{FeedConfig, Leg};
use super::frame::Headers;
use super::queue::Queue;
use crate::config::SendConfig;
use crate::error::SendError;
use crate::flow::open_socket;
use crate::frame::FrameSpec;
use crate::handover::{Stuck, failure, hand_over};
use crate::link::Link;
use crate::report::Way;
use crate::sender::{FIRST_PRIVATE_PORT, open_packet_socket, plan};

/// The most packets of one call.
const BATCH: usize = 64;

/// Where a leg's packets go.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) source: SocketAddr,
    socket: Socket,
    /// Of complete frames.
    headers: Option<Headers>,
    /// Packets that the kernel took, and bytes of their payloads.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Exit {
    /// Opens the sockets of a leg whose longest payload has `size` bytes.
    pub(super) fn open(config: &FeedConfig, link: &Link, leg: &Leg, size: usize) -> Result<Self, SendError> {
        let source = match leg.source {
            Some(source) => source,
            None => link.default_source(leg.group)?,
        };
        let mut send = SendConfig::new(&*config.interface, leg.group, leg.port);
        (send.traffic.size, send.traffic.ttl) = (size, config.ttl);
        (send.vlan, send.spoof) = (config.vlan.clone(), config.spoof);
        let Some(why) = plan(&send, link, source)?.raw else {
            let (source, socket) = open_socket(&send, link, source, config.source_port.unwrap_or(0))?;
            return Ok(Self { source, socket, headers: None, packets: 0, bytes: 0 });
        };
        let source_port = config.source_port.unwrap_or(FIRST_PRIVATE_PORT);
        let spec = FrameSpec {
            source_mac: link.mac.unwrap_or_default(),
            source,
            group: leg.group,
            source_port,
            port: leg.port,
            ttl: config.ttl,
            vlan: &config.vlan,
            size,
        };
        let (headers, socket) = (Some(Headers::new(&spec)), open_packet_socket(link, config.bypass_qdisc, &why)?);
        Ok(Self { source: SocketAddr::new(source, source_port), socket, headers, packets: 0, bytes: 0 })
    }

    pub(super) fn way(&self) -> Way {
        if self.headers.is_some() { Way::Raw } else { Way::Socket }
    }

    /// Bytes to leave free before a payload.
    pub(super) fn headroom(&self) -> usize {
        self.headers.as_ref().map_or(0, Headers::len)
    }

    /// Completes a packet whose payload is written.
    pub(super) fn complete(&self, packet: &mut [u8]) {
        if let Some(headers) = &self.headers {
            headers.write(packet);
        }
    }

    /// Sends what is due. Returns false if it was stopped.
    pub(super) fn send(
        &mut self,
        queue: &mut Queue,
        now_ns: u64,
        interface: &str,
        retries: &mut u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, SendError> {
        loop {
            let parts: Vec<[IoSlice<'_>; 1]> = queue.due(now_ns, BATCH).map(|packet| [IoSlice::new(packet)]).collect();
            if parts.is_empty() {
                return Ok(true);
            }
            let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = parts.iter().map(|_| Default::default()).collect();
            let mut messages: Vec<MMsgHdr<'_>> =
                parts.iter().zip(&mut controls).map(|(part, control)| MMsgHdr::new(part, control)).collect();
            let mut taken = 0;
            let result = hand_over(self.socket.as_fd(), &mut messages, retries, stop, |_, to| taken = to);
            let (all, headroom) = (parts.len(), self.headroom());
            let bytes: usize = parts[..taken].iter().map(|part| part[0].len() - headroom).sum();
            (self.packets, self.bytes) = (self.packets + taken as u64, self.bytes + bytes as u64);
            queue.left(taken);
            match result {
                Ok(()) if all < BATCH => return Ok(true),
                Ok(()) => {}
                Err(Stuck::Stopped) => return Ok(false),
                Err(Stuck::Failed(errno)) => {
                    return Err(failure(interface, self.source.ip(), self.packets, errno.into()));
                }
            }
        }
    }
}
