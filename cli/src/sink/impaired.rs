//! What a relay does to datagrams on purpose: loses them, holds them back, or sends them twice, by seed.

use std::time::{Duration, SystemTime};

use receiver_send::impair::{Fate, Fates};

use super::grammar::UdpTarget;

/// A datagram that is held back leaves after this time, even if nothing overtakes it.
const LONGEST: Duration = Duration::from_millis(50);

/// The fates of a relay's datagrams, and those that are held back.
pub struct Impaired {
    fates: Fates,
    reorder_by: u32,
    /// Datagrams that were taken.
    taken: u64,
    held: Vec<Held>,
}

struct Held {
    /// Datagrams that still have to overtake it.
    left: u32,
    until: SystemTime,
    bytes: Vec<u8>,
}

impl Impaired {
    /// `None` if the target asks for nothing.
    pub fn of(target: &UdpTarget) -> Option<Self> {
        let reorder_by = target.impairment.reorder_by;
        let fates = Fates::new(target.seed, 0, &target.impairment);
        target.impairment.changes_packets().then_some(Self { fates, reorder_by, taken: 0, held: Vec::new() })
    }

    /// What happens to the next datagram.
    pub fn fate(&self) -> Fate {
        self.fates.of(self.taken)
    }

    /// The next datagram was lost or sent, or cannot be sent.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// Holds the next datagram back.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.taken += 1;
        let until = SystemTime::now() + LONGEST;
        self.held.push(Held { left: self.reorder_by, until, bytes: bytes.to_vec() });
    }

    /// A datagram was sent: hands out those that enough have overtaken now.
    pub fn overtaken(&mut self) -> Vec<Vec<u8>> {
        self.held.iter_mut().for_each(|held| held.left -= 1);
        self.release(|held| held.left == 0)
    }

    /// Hands out those that have waited for long enough.
    pub fn waited(&mut self) -> Vec<Vec<u8>> {
        let now = SystemTime::now();
        // A clock that was set back must not hold them for longer.
        self.release(|held| held.until.duration_since(now).map_or(true, |left| left.is_zero() || left > LONGEST))
    }

    /// When the first one has waited for long enough.
    pub fn until(&self) -> Option<SystemTime> {
        self.held.first().map(|held| held.until)
    }

    fn release(&mut self, is_over: impl Fn(&Held) -> bool) -> Vec<Vec<u8>> {
        self.held.extract_if(.., |held| is_over(held)).map(|held| held.bytes).collect()
    }
}
