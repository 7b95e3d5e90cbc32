//! One leg's packets between their making and their leaving: delay, reordering, duplication. Pure.

use std::collections::VecDeque;

use crate::impair::{Fate, Impairment};
use crate::random::{Purpose, Random};

/// The most packets of a leg that wait.
pub(super) const CAPACITY: usize = 1 << 17;
/// Empty buffers that are kept.
const SPARE: usize = 1 << 10;

/// A packet that waits for its time.
#[derive(Debug)]
struct Waiting {
    due_ns: u64,
    bytes: Vec<u8>,
}

/// A packet that waits for others to overtake it.
#[derive(Debug)]
struct Held {
    stream: usize,
    left: u32,
    bytes: Vec<u8>,
}

/// The packets of one leg.
#[derive(Debug)]
pub(super) struct Queue {
    delay_ns: u64,
    jitter_ns: u64,
    jitter: Random,
    drawn: u64,
    reorder_by: u32,
    last_due_ns: u64,
    waiting: VecDeque<Waiting>,
    held: Vec<Held>,
    spare: Vec<Vec<u8>>,
}

impl Queue {
    pub(super) fn new(seed: u64, leg: usize, impairment: &Impairment) -> Self {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            delay_ns: nanoseconds(impairment.delay),
            jitter_ns: nanoseconds(impairment.jitter),
            jitter: Random::new(seed, Purpose::Jitter, leg as u64),
            drawn: 0,
            reorder_by: impairment.reorder_by,
            last_due_ns: 0,
            waiting: VecDeque::new(),
            held: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// How many more packets may wait.
    pub(super) fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.waiting.len() + self.held.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty()
    }

    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a packet that was made now. One that is lost is not handed in.
    pub(super) fn push(&mut self, now_ns: u64, stream: usize, fate: Fate, bytes: Vec<u8>) {
        match fate {
            Fate::Lost => self.recycle(bytes),
            Fate::HeldBack => self.held.push(Held { stream, left: self.reorder_by, bytes }),
            Fate::Sent => {
                self.enqueue(now_ns, bytes);
                self.overtake(now_ns, stream, 1);
            }
            Fate::Twice => {
                let mut copy = self.buffer();
                copy.extend_from_slice(&bytes);
                self.enqueue(now_ns, bytes);
                self.enqueue(self.last_due_ns, copy);
                self.overtake(now_ns, stream, 1);
            }
        }
    }

    /// Takes a packet that overtakes none, such as a heartbeat.
    pub(super) fn push_aside(&mut self, now_ns: u64, bytes: Vec<u8>) {
        self.enqueue(now_ns, bytes);
    }

    /// Nothing of the stream follows: what was held back follows the last packet.
    pub(super) fn end(&mut self, now_ns: u64, stream: usize) {
        self.overtake(now_ns, stream, u32::MAX);
    }

    /// The time at which the next packet leaves.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.waiting.front().map(|packet| packet.due_ns)
    }

    /// The first packets whose time has come, up to `most`.
    pub(super) fn due(&self, now_ns: u64, most: usize) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().take(most).take_while(move |packet| packet.due_ns <= now_ns).map(|packet| &packet.bytes[..])
    }

    /// The first `packets` have left.
    pub(super) fn left(&mut self, packets: usize) {
        for _ in 0..packets {
            if let Some(packet) = self.waiting.pop_front() {
                self.recycle(packet.bytes);
            }
        }
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn enqueue(&mut self, now_ns: u64, bytes: Vec<u8>) {
        let jitter_ns = if self.jitter_ns == 0 { 0 } else { self.jitter.below(self.drawn, self.jitter_ns + 1) };
        self.drawn += 1;
        let due_ns = now_ns.saturating_add(self.delay_ns).saturating_add(jitter_ns).max(self.last_due_ns);
        self.last_due_ns = due_ns;
        self.waiting.push_back(Waiting { due_ns, bytes });
    }

    /// `packets` packets of the stream were put in the queue.
    fn overtake(&mut self, now_ns: u64, stream: usize, packets: u32) {
        let mut at = 0;
        while let Some(held) = self.held.get_mut(at) {
            if held.stream == stream {
                held.left = held.left.saturating_sub(packets);
                if held.left == 0 {
                    let held = self.held.remove(at);
                    self.enqueue(now_ns, held.bytes);
                    continue;
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn queue(change: impl FnOnce(&mut Impairment)) -> Queue {
        let mut impairment = Impairment::default();
        change(&mut impairment);
        Queue::new(1, 0, &impairment)
    }

    fn all(queue: &mut Queue, now_ns: u64) -> Vec<u8> {
        let due: Vec<u8> = queue.due(now_ns, usize::MAX).map(|packet| packet[0]).collect();
        queue.left(due.len());
        due
    }

    #[test]
    fn packets_leave_late_and_in_order() {
        let mut queue = queue(|impairment| {
            (impairment.delay, impairment.jitter) = (Duration::from_nanos(1000), Duration::from_nanos(500));
        });
        for number in 0..100u8 {
            queue.push(u64::from(number) * 10, 0, Fate::Sent, vec![number]);
        }
        assert_eq!(all(&mut queue, 999), [0; 0]);
        let first = queue.due_ns().expect("a packet waits");
        assert!((1000..=1500).contains(&first), "{first}");
        let mut seen = Vec::new();
        for now_ns in 1000..=2490 {
            seen.extend(all(&mut queue, now_ns));
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }

    #[test]
    fn held_back_packets_follow_later_ones_of_their_stream() {
        let mut queue = queue(|impairment| impairment.reorder_by = 2);
        for (number, stream, fate) in [
            (0, 0, Fate::Sent),
            (1, 0, Fate::HeldBack),
            (2, 0, Fate::HeldBack),
            (3, 1, Fate::Sent),
            (4, 0, Fate::Twice),
            (5, 0, Fate::Sent),
            (6, 0, Fate::HeldBack),
            (7, 0, Fate::Sent),
        ] {
            queue.push(0, stream, fate, vec![number]);
        }
        assert_eq!(all(&mut queue, 0), [0, 3, 4, 4, 5, 1, 2, 7]);
        assert!(!queue.is_empty());
        queue.end(0, 0);
        assert_eq!(all(&mut queue, 0), [6]);
    }
}
