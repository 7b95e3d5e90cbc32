//! Who had a datagram first, and by how much: a sample of the recent arrivals of all streams.

use super::event::{LegId, StreamId};

/// Arrivals remembered, of all streams together. One in eight datagrams is, so this covers about 32,000.
const SLOTS: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Arrival {
    sequence: u64,
    arrived_ns: u64,
    stream: StreamId,
    /// The low bits of the numbering's number.
    epoch: u16,
    /// `None` once a second leg had it.
    leg: Option<LegId>,
}

/// A datagram, by the sequence number that it begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampled {
    pub(super) stream: StreamId,
    pub(super) epoch: u32,
    pub(super) sequence: u64,
}

impl Sampled {
    /// The slot of one in eight datagrams, the same on each leg.
    #[inline]
    fn slot(self) -> Option<usize> {
        let hash = self.sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stream = u64::from(self.stream.0).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        (hash >> 61 == 0).then_some(((hash << 3 ^ stream) >> 52) as usize % SLOTS)
    }
}

/// First arrivals, by stream and sequence number.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    slots: Box<[Arrival]>,
}

impl Default for Arrivals {
    fn default() -> Self {
        let none = Arrival { sequence: 0, arrived_ns: 0, stream: StreamId(0), epoch: 0, leg: None };
        Self { slots: vec![none; SLOTS].into_boxed_slice() }
    }
}

impl Arrivals {
    #[inline]
    pub(super) fn first(&mut self, sampled: Sampled, leg: LegId, arrived_ns: u64) {
        if let Some(slot) = sampled.slot() {
            let Sampled { stream, epoch, sequence } = sampled;
            self.slots[slot] = Arrival { sequence, arrived_ns, stream, epoch: epoch as u16, leg: Some(leg) };
        }
    }

    /// Returns the leg that had it first, and by how much. Once per datagram: a third leg is not compared.
    #[inline]
    pub(super) fn again(&mut self, sampled: Sampled, leg: LegId, arrived_ns: u64) -> Option<(LegId, u64)> {
        let arrival = &mut self.slots[sampled.slot()?];
        let Sampled { stream, epoch, sequence } = sampled;
        if (arrival.stream, arrival.epoch, arrival.sequence) != (stream, epoch as u16, sequence) {
            return None;
        }
        let first = arrival.leg.filter(|first| *first != leg)?;
        arrival.leg = None;
        Some((first, arrived_ns.saturating_sub(arrival.arrived_ns)))
    }
}

const _: () = assert!(size_of::<Arrival>() == 24);
