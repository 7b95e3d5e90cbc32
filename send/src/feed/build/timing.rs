//! Times that follow from a packet's position at a rate.

/// Packets per second of one stream: `rate / streams`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Timing {
    pub(in super::super) rate: u64,
    pub(in super::super) streams: u32,
}

impl Timing {
    /// Ticks of a clock before the packet at `position`.
    pub(super) fn ticks(&self, position: u64, hertz: u64) -> u64 {
        self.ticks_of_part(position.into(), 1, hertz)
    }

    /// Ticks before part `position`, where each packet has `parts`.
    pub(super) fn ticks_of_part(&self, position: u128, parts: u64, hertz: u64) -> u64 {
        let whole = position * u128::from(hertz) * u128::from(self.streams);
        (whole / (u128::from(self.rate.max(1)) * u128::from(parts))) as u64
    }
}
