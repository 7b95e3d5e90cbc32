//! The senders: one thread in the senders' namespace that sends a packet of each stream in every round. The numbers of
//! the packets show what was sent before a moment and what after it, whatever the time was.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use crate::plan::Plan;
use crate::stream::{FEED, Family, Packet, SECOND_LEG, SOURCES, STREAMS, parts, port};

/// The time between two rounds: 500 rounds of 10 packets a second.
const ROUND: Duration = Duration::from_millis(2);
/// The UDP port of the senders.
const PORT: u16 = 4_000;

#[derive(Default)]
struct Shared {
    /// For each stream, the number of the packet that is sent next.
    next: [AtomicU64; STREAMS],
    /// The numbers as they were at the beginning of each round.
    rounds: Mutex<Vec<[u64; STREAMS]>>,
    stop: AtomicBool,
}

/// The running senders. Dropping this value stops them.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts them.
    pub fn start(namespace: &Namespace, plan: &Plan) -> Result<Self> {
        let (family, episode, is_feed) = (plan.family, plan.seed, plan.feed);
        let open = || (0..SOURCES).map(|source| socket(family.source(source))).collect::<Result<Vec<_>>>();
        let sockets = namespace.run(open)??;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            let mut round = 0;
            while !own.stop.load(Ordering::Acquire) {
                send_round(&own, &sockets, family, Round { episode, is_feed, number: round });
                round += 1;
                std::thread::sleep(ROUND);
            }
        });
        Ok(Self { shared, thread: Some(thread.context("cannot start the senders")?) })
    }

    /// The number of a stream's packet that is sent next, or now.
    pub fn next(&self, stream: usize) -> u64 {
        self.shared.next[stream].load(Ordering::Acquire)
    }

    /// The first packet of a stream that is surely sent after this moment.
    pub fn after_now(&self, stream: usize) -> u64 {
        self.next(stream) + 1
    }

    /// The number of a stream's packet that was sent next when this round began.
    pub fn at_round(&self, stream: usize, round: u64) -> u64 {
        let rounds = self.shared.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(round).ok().and_then(|round| rounds.get(round)).map_or(0, |numbers| numbers[stream])
    }

    /// Stops the senders. Returns the number of packets of each stream.
    pub fn stop(&mut self) -> [u64; STREAMS] {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::array::from_fn(|stream| self.next(stream))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy)]
struct Round {
    episode: u64,
    is_feed: bool,
    number: u64,
}

/// A packet that cannot be sent, as its interface is gone, is not numbered: the next round tries again. The second leg
/// of a feed sends what the first one has sent.
fn send_round(shared: &Shared, sockets: &[UdpSocket], family: Family, round: Round) {
    let numbers = std::array::from_fn(|stream| shared.next[stream].load(Ordering::Relaxed));
    shared.rounds.lock().unwrap_or_else(PoisonError::into_inner).push(numbers);
    let mut payload = Vec::new();
    for number in 0..STREAMS {
        let (group, source) = parts(number);
        let stream = if round.is_feed && number == SECOND_LEG { FEED } else { number };
        let is_rtp = round.is_feed && stream == FEED;
        let packet = Packet { stream, sequence: numbers[stream], round: round.number, is_rtp };
        packet.write(round.episode, &mut payload);
        if sockets[source].send_to(&payload, SocketAddr::new(family.group(group), port(group))).is_ok() {
            shared.next[stream].store(numbers[stream] + 1, Ordering::Release);
        }
    }
}

fn socket(source: IpAddr) -> Result<UdpSocket> {
    let address = SocketAddr::new(source, PORT);
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        match source {
            IpAddr::V4(_) => socket.set_multicast_loop_v4(false)?,
            IpAddr::V6(_) => socket.set_multicast_loop_v6(false)?,
        }
        socket.bind(&address.into())?;
        Ok::<_, std::io::Error>(socket.into())
    };
    open().with_context(|| format!("cannot open a sender at {address}"))
}
