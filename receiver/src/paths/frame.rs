//! Packets in frames of packet memory, whoever wrote them there: AF_XDP or the XDP program itself.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use receiver_common::{STAMP_SIZE, Stamp};

use crate::api::origin::{ReceiveTime, TimeOrigin};
use crate::api::vlan::Vlan;
use crate::engine::clock::Clock;
use crate::engine::shared::{QueueShared, Shared};
use crate::paths::parse::parse;
use crate::paths::payload::Payload;
use crate::paths::{Found, Packet};
use crate::stats::queue_counters::{DropReason, QueueCounters};
use receiver_xsk::Received;

/// Packets that are taken from the ring at a time.
pub(super) const BATCH: usize = 64;

/// How the frames of a queue are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameOptions {
    pub verify_checksums: bool,
    /// The XDP program writes the time before each frame.
    pub stamp: bool,
    pub vlan: Option<Vlan>,
    /// Frames that are never leased out, so that there are always some for new packets.
    pub reserve: u32,
}

/// The part of a queue's path that does not depend on who fills its frames.
pub(super) struct FrameQueue {
    pub shared: Arc<Shared>,
    /// The queue's number among [`Shared::queues`].
    pub number: usize,
    pub options: FrameOptions,
    clock: Clock,
}

impl FrameQueue {
    /// For queue `number` of [`Shared::queues`].
    pub fn new(shared: Arc<Shared>, number: usize, options: FrameOptions) -> Self {
        Self { shared, number, options, clock: Clock::default() }
    }

    #[inline]
    pub fn shared(&self) -> &QueueShared {
        &self.shared.queues[self.number]
    }

    #[inline]
    pub fn batch(&self) -> FrameBatch<'_> {
        FrameBatch::new(self.options, &self.shared().path.counters, &self.clock)
    }

    /// How many of `frame_count` frames may still be leased, if `leased` are.
    #[inline]
    pub fn leases(&self, frame_count: u32, leased: u32) -> u32 {
        frame_count.saturating_sub(self.options.reserve).saturating_sub(leased)
    }
}

/// A frame in the worker's hands.
pub(crate) struct FramePacket<'a> {
    frame: Received<'a>,
    batch: &'a FrameBatch<'a>,
}

/// What the frames of a batch share.
pub(crate) struct FrameBatch<'a> {
    options: FrameOptions,
    counters: &'a QueueCounters,
    clock: &'a Clock,
    /// Read once a batch, after the ring's index. So no packet of the batch came later.
    time: Cell<Option<ReceiveTime>>,
}

impl<'a> FrameBatch<'a> {
    #[inline]
    fn new(options: FrameOptions, counters: &'a QueueCounters, clock: &'a Clock) -> Self {
        Self { options, counters, clock, time: Cell::new(None) }
    }
}

impl<'a> FramePacket<'a> {
    #[inline]
    pub(super) fn new(frame: Received<'a>, batch: &'a FrameBatch<'a>) -> Self {
        Self { frame, batch }
    }
}

impl<'a> Packet<'a> for FramePacket<'a> {
    #[inline]
    fn inspect(&mut self) -> Result<Found, DropReason> {
        let FrameBatch { options, counters, clock, time } = self.batch;
        let stamp = if options.stamp { take_stamp(&mut self.frame, counters) } else { None };
        let time = stamp.or_else(|| time.get()).unwrap_or_else(|| {
            let now = clock.now();
            time.set(Some(now));
            now
        });
        let tags = options.vlan.map(Vlan::tags).unwrap_or_default();
        let parsed = parse(self.frame.bytes(), tags, options.verify_checksums, counters)?;
        Ok(Found { key: parsed.key, source_port: parsed.source_port, payload: parsed.payload, time })
    }

    #[inline]
    fn into_payload(self, payload: Range<usize>) -> Payload<'a> {
        Payload::Frame(self.frame, payload)
    }
}

/// The time that the XDP program wrote before the frame. It is wiped, so that it is never read twice.
#[inline]
fn take_stamp(frame: &mut Received<'_>, counters: &QueueCounters) -> Option<ReceiveTime> {
    if let Some(bytes) = frame.metadata::<STAMP_SIZE>() {
        let (magic, time) = bytes.split_at_mut(8);
        if *magic == Stamp::MAGIC.to_ne_bytes() {
            magic.fill(0);
            let nanoseconds = u64::from_ne_bytes(*time.first_chunk()?);
            return Some(ReceiveTime { nanoseconds, origin: TimeOrigin::Xdp });
        }
    }
    counters.unstamped.add(1);
    None
}
