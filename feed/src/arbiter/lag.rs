//! Who had a datagram first, and by how much: a sample of recent arrivals.

use super::event::LegId;

/// Arrivals remembered. One in eight datagrams is, so this covers about a thousand.
const SLOTS: usize = 128;

#[derive(Clone, Copy, Debug)]
struct Arrival {
    sequence: u64,
    arrived_ns: u64,
    /// `None` once a second leg had it.
    leg: Option<LegId>,
}

/// First arrivals by the sequence number that a datagram begins with.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    slots: Box<[Arrival; SLOTS]>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { slots: Box::new([Arrival { sequence: 0, arrived_ns: 0, leg: None }; SLOTS]) }
    }
}

/// The slot of one in eight sequence numbers, the same on each leg.
#[inline]
fn slot(sequence: u64) -> Option<usize> {
    let hash = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 61 == 0).then_some((hash >> 54) as usize % SLOTS)
}

impl Arrivals {
    #[inline]
    pub(super) fn first(&mut self, sequence: u64, leg: LegId, arrived_ns: u64) {
        if let Some(slot) = slot(sequence) {
            self.slots[slot] = Arrival { sequence, arrived_ns, leg: Some(leg) };
        }
    }

    /// Returns the leg that had it first, and by how much. Once per datagram: a third leg is not compared.
    #[inline]
    pub(super) fn again(&mut self, sequence: u64, leg: LegId, arrived_ns: u64) -> Option<(LegId, u64)> {
        let arrival = &mut self.slots[slot(sequence)?];
        if arrival.sequence != sequence {
            return None;
        }
        let first = arrival.leg.filter(|first| *first != leg)?;
        arrival.leg = None;
        Some((first, arrived_ns.saturating_sub(arrival.arrived_ns)))
    }
}
