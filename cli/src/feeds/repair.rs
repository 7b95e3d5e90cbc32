//! What fills gaps beside the legs: answers of a re-request server (MoldUDP64), and parity (ST 2022-1).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use receiver_feed::Bytes;
use receiver_feed::arbiter::StreamId;
use receiver_feed::fec::FecDecoder;
use receiver_feed::protocol::{Rerequest, StreamKey};
use receiver_feed::rerequest::{RerequestConfig, Rerequester};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::report::{FecReport, RerequestReport};

/// How long a thread that waits for answers sleeps at most: the end of the run wakes it up earlier.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The requests of a feed for what is missing.
pub struct Requests {
    /// Which ranges are asked for, and when.
    pub rerequester: Rerequester,
    socket: Arc<UdpSocket>,
    server: SocketAddr,
    /// Requests that could not be sent.
    failed: u64,
    /// Answers, and the sequence numbers that they filled.
    pub answers: u64,
    pub filled: u64,
}

impl Requests {
    /// To a server. Only what it sends counts as an answer.
    ///
    /// # Errors
    /// There is no socket or no route.
    pub fn open(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((unspecified(server.ip()), 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(LONGEST_WAIT))?;
        let rerequester = Rerequester::new(RerequestConfig::default());
        Ok(Self { rerequester, socket: Arc::new(socket), server, failed: 0, answers: 0, filled: 0 })
    }

    /// The server.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Where the answers arrive.
    pub fn answers_at(&self) -> Answers {
        Answers(Arc::clone(&self.socket))
    }

    /// Sends the requests that are due. `key` is that of a stream.
    pub fn send(&mut self, now_ns: u64, key: impl Fn(StreamId) -> Option<StreamKey>) {
        let Self { rerequester, socket, failed, .. } = self;
        rerequester.poll(now_ns, |request| {
            let Some(stream) = key(request.stream) else { return };
            let bytes = Rerequest { stream, first: request.first, count: request.count }.to_bytes();
            // It is asked for again if nothing comes.
            *failed += u64::from(send(&**socket, &bytes, SendFlags::DONTWAIT).is_err());
        });
    }

    /// The counts so far.
    pub fn report(&self) -> RerequestReport {
        let found = self.rerequester.statistics();
        RerequestReport {
            requests: found.requests,
            requested: found.requested,
            given_up: found.given_up,
            refused: found.refused,
            failed: self.failed,
            answers: self.answers,
            filled: self.filled,
        }
    }
}

/// The unspecified address of the version of another one.
pub fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Where the answers to requests arrive.
#[derive(Clone)]
pub struct Answers(Arc<UdpSocket>);

impl Answers {
    /// Waits for the next answer. Returns its length; 0 if there was none for a while.
    pub fn wait(&self, buffer: &mut [u8]) -> usize {
        match self.0.recv(buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => {
                // Such as a port that is closed: it may open.
                std::thread::sleep(Duration::from_millis(10));
                0
            }
        }
    }

    /// Wakes the thread up that waits.
    pub fn wake(&self) {
        // It wakes up by itself as well.
        let _ = shutdown(&*self.0, Shutdown::Read);
    }
}

/// The parity of a feed.
#[derive(Default)]
pub struct Parity {
    decoder: FecDecoder,
    /// Packets that were made again, and that the arbiter has not taken yet.
    recovered: Vec<Bytes>,
}

impl Parity {
    /// A media packet of a leg.
    pub fn media(&mut self, payload: &[u8]) {
        let Self { decoder, recovered } = self;
        decoder.media(payload, |packet| recovered.push(packet));
    }

    /// A parity packet.
    pub fn parity(&mut self, payload: &[u8]) {
        let Self { decoder, recovered } = self;
        // The decoder counts what is malformed.
        let _ = decoder.parity(payload, |packet| recovered.push(packet));
    }

    /// The next packet that was made again.
    pub fn next(&mut self) -> Option<Bytes> {
        self.recovered.pop()
    }

    /// The counts so far.
    pub fn report(&self) -> FecReport {
        let found = self.decoder.statistics();
        FecReport {
            columns: found.columns,
            rows: found.rows,
            recovered: found.recovered,
            unused: found.unused,
            malformed: found.malformed,
        }
    }
}
