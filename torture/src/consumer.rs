//! The consumer: a Unix socket to which the receiver passes payloads. It checks each payload, and remembers which
//! packets have come.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::stream::{Packet, STREAMS};

/// The most faults that are kept as text.
const MOST_FAULTS: usize = 8;
/// The time that a slow consumer takes for each packet.
const SLOWNESS: Duration = Duration::from_millis(1);
/// The time for which the thread waits for a packet.
const WAIT: Duration = Duration::from_millis(20);

const READ: u8 = 0;
const STALL: u8 = 1;
const CLOSE: u8 = 2;
const SLOW: u8 = 3;
const STOP: u8 = 4;

/// What came of a stream.
#[derive(Clone, Default)]
pub struct Arrived {
    /// A bit for each packet.
    bits: Vec<u64>,
    /// The highest number that came.
    pub highest: Option<u64>,
}

impl Arrived {
    /// Returns true if this packet came.
    pub fn has(&self, sequence: u64) -> bool {
        self.bits.get((sequence / 64) as usize).is_some_and(|word| word & (1 << (sequence % 64)) != 0)
    }

    /// As this value, with one packet more.
    #[cfg(test)]
    pub fn with(&self, sequence: u64) -> Self {
        let mut this = self.clone();
        this.add(sequence);
        this
    }

    /// Records a packet. Returns true if it had come before.
    pub fn add(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let was_there = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        self.highest = self.highest.max(Some(sequence));
        was_there
    }
}

/// All that came.
#[derive(Clone, Default)]
pub struct Received {
    /// Of each stream.
    pub streams: [Arrived; STREAMS],
    /// Packets, wrong ones and duplicates included.
    pub packets: u64,
    /// Packets that came before.
    pub duplicates: u64,
    /// Payloads that nobody sent like this.
    pub wrong: u64,
    /// The first faults.
    pub faults: Vec<String>,
    /// The latest round of which something came.
    pub round: u64,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    command: AtomicU8,
    /// How often the socket was opened again.
    opened: AtomicU64,
}

/// The running consumer. Dropping this value ends it.
pub struct Consumer {
    shared: Arc<Shared>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Opens the socket and reads from it. It overlooks every `blind`-th packet, unless that is 0.
    pub fn start(path: &Path, episode: u64, blind: u64) -> Result<Self> {
        let socket = open(path).with_context(|| format!("cannot open the socket {}", path.display()))?;
        let shared = Arc::new(Shared::default());
        let (own, own_path) = (Arc::clone(&shared), path.to_owned());
        let thread = std::thread::Builder::new().name("consumer".into()).spawn(move || {
            let (mut socket, mut payload, mut room) = (Some(socket), vec![0; 4_096], Vec::new());
            let mut count = 0_u64;
            loop {
                match own.command.load(Ordering::Acquire) {
                    STOP => return,
                    command @ (READ | SLOW) => {
                        if command == SLOW {
                            std::thread::sleep(SLOWNESS);
                        }
                        if socket.is_none() {
                            socket = open(&own_path).ok();
                            own.opened.fetch_add(1, Ordering::Release);
                        }
                        match socket.as_ref().map(|socket| socket.recv(&mut payload)) {
                            Some(Ok(length)) => {
                                count += 1;
                                if blind == 0 || !count.is_multiple_of(blind) {
                                    own.take(episode, &payload[..length], &mut room);
                                }
                            }
                            Some(Err(_)) => {}
                            None => std::thread::sleep(WAIT),
                        }
                    }
                    command => {
                        if command == CLOSE && socket.take().is_some() {
                            let _ = std::fs::remove_file(&own_path);
                        }
                        std::thread::sleep(WAIT);
                    }
                }
            }
        });
        Ok(Self { shared, path: path.to_owned(), thread: Some(thread.context("cannot start the consumer")?) })
    }

    /// What came until now.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received()
    }

    /// Reads nothing for this time.
    pub fn stall(&self, time: Duration) {
        self.shared.command.store(STALL, Ordering::Release);
        std::thread::sleep(time);
        self.shared.command.store(READ, Ordering::Release);
    }

    /// Reads slowly for this time.
    pub fn slow_down(&self, time: Duration) {
        self.shared.command.store(SLOW, Ordering::Release);
        std::thread::sleep(time);
        self.shared.command.store(READ, Ordering::Release);
    }

    /// Closes the socket, and opens it again after this time.
    pub fn close_for(&self, time: Duration) {
        let before = self.shared.opened.load(Ordering::Acquire);
        self.shared.command.store(CLOSE, Ordering::Release);
        std::thread::sleep(time);
        self.shared.command.store(READ, Ordering::Release);
        while self.shared.opened.load(Ordering::Acquire) == before {
            std::thread::sleep(WAIT);
        }
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, episode: u64, payload: &[u8], room: &mut Vec<u8>) {
        let read = Packet::read(episode, payload, room);
        let mut received = self.received();
        received.packets += 1;
        let fault = match read {
            Ok(packet) => {
                received.round = received.round.max(packet.round);
                let again = received.streams[packet.stream].add(packet.sequence);
                received.duplicates += u64::from(again);
                again.then(|| format!("packet {} of stream {} came twice", packet.sequence, packet.stream))
            }
            Err(fault) => {
                received.wrong += 1;
                Some(fault)
            }
        };
        if received.faults.len() < MOST_FAULTS {
            received.faults.extend(fault);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.command.store(STOP, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> std::io::Result<UnixDatagram> {
    let _ = std::fs::remove_file(path);
    let socket = UnixDatagram::bind(path)?;
    socket.set_read_timeout(Some(WAIT))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_remembered() {
        let mut arrived = Arrived::default();
        assert!(!arrived.add(0) && !arrived.add(130) && arrived.add(130));
        assert!(arrived.has(0) && arrived.has(130) && !arrived.has(64) && !arrived.has(9_999));
        assert_eq!(arrived.highest, Some(130));
    }
}
