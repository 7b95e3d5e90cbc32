//! Requests to rtnetlink over a socket that is kept: it stays in the network namespace that it was opened in, whichever
//! thread asks.

use std::io;
use std::sync::Mutex;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::engine::lock::lock;

/// Answers that are skipped because they belong to a request that failed before its answer was read.
const MOST_STALE: u32 = 16;

#[derive(Debug)]
pub(crate) struct Netlink(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(Mutex::new(State { socket, sequence: 0 })))
    }

    /// Sends one request and returns its answer; a refusal is the kernel's error number.
    pub fn ask(&self, request: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let mut state = lock(&self.0);
        state.sequence = state.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = state.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        state.socket.send(&buffer, 0)?;
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        for _ in 0..MOST_STALE {
            let (answer, _) = state.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| invalid(error.to_string()))?;
            if answer.header.sequence_number != state.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(answer) => Ok(answer),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                other => Err(invalid(format!("unexpected answer {other:?}"))),
            };
        }
        Err(invalid("netlink answers other requests only".into()))
    }
}
