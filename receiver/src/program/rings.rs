//! The maps of the mapped rings (`receiver_common::mapped`), and what wakes their consumers.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use receiver_common::mapped::{FRAME_SIZE, LARGE_FRAME_SIZE};
use receiver_common::names;
use receiver_xsk::MappedQueue;

use super::map::{array, map};
use crate::api::error::Error;

/// How large the mapped rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingShape {
    /// Receive queues that can have a ring: the highest one's number plus 1.
    pub queues: u32,
    /// Slots of each ring, a power of two.
    pub slots: u32,
    /// Frames of all rings together.
    pub frames: u32,
    /// Bytes of a frame: [`FRAME_SIZE`] or [`LARGE_FRAME_SIZE`].
    pub frame_size: usize,
    /// Entries of all rings together.
    pub entries: u32,
    /// If true, the kernel gets each packet too.
    pub share: bool,
}

impl RingShape {
    fn has_large_frames(&self) -> bool {
        self.frame_size == LARGE_FRAME_SIZE
    }
}

/// What the rings need of the program: its globals, for as long as the loader needs them.
pub(super) struct RingGlobals {
    mapped: u32,
    large_frames: u32,
    slots: u32,
    share: u32,
}

impl RingGlobals {
    pub(super) fn of(shape: Option<&RingShape>) -> Self {
        Self {
            mapped: shape.is_some().into(),
            large_frames: shape.is_some_and(RingShape::has_large_frames).into(),
            slots: shape.map_or(1, |shape| shape.slots),
            share: shape.is_some_and(|shape| shape.share).into(),
        }
    }

    /// Sets the globals, and the sizes of the maps: one element each where there are no rings.
    pub(super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>, shape: Option<&RingShape>) {
        loader
            .override_global(names::MAPPED, &self.mapped, true)
            .override_global(names::LARGE_FRAMES, &self.large_frames, true)
            .override_global(names::RING_SLOTS, &self.slots, true)
            .override_global(names::SHARE, &self.share, true);
        let frames = |size| shape.filter(|shape| shape.frame_size == size).map_or(1, |shape| shape.frames);
        loader
            .map_max_entries(names::RING_CONTROL, shape.map_or(1, |shape| shape.queues))
            .map_max_entries(names::RING_ENTRIES, shape.map_or(1, |shape| shape.entries))
            .map_max_entries(names::RING_FRAMES, frames(FRAME_SIZE))
            .map_max_entries(names::RING_LARGE_FRAMES, frames(LARGE_FRAME_SIZE))
            .map_max_entries(names::RING_WAKERS, shape.map_or(1, |shape| shape.queues));
    }
}

/// The maps of all mapped rings.
pub struct Rings {
    control: MapData,
    entries: MapData,
    frames: MapData,
    frame_size: usize,
    wakers: ArrayOfMaps<MapData, MapData>,
}

impl Rings {
    pub(super) fn take(ebpf: &mut Ebpf, interface: &str, shape: &RingShape) -> Result<Self, Error> {
        let frames = if shape.has_large_frames() { names::RING_LARGE_FRAMES } else { names::RING_FRAMES };
        Ok(Self {
            control: array(ebpf, names::RING_CONTROL, interface)?,
            entries: array(ebpf, names::RING_ENTRIES, interface)?,
            frames: array(ebpf, frames, interface)?,
            frame_size: shape.frame_size,
            wakers: map(ebpf, names::RING_WAKERS, interface)?,
        })
    }

    /// The array of `Control`, to be mapped.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.fd().as_fd()
    }

    /// The array of entries, to be mapped.
    pub fn entries(&self) -> BorrowedFd<'_> {
        self.entries.fd().as_fd()
    }

    /// The array of frames, to be mapped.
    pub fn frames(&self) -> BorrowedFd<'_> {
        self.frames.fd().as_fd()
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// Makes what wakes the consumer of a queue's ring.
    pub(super) fn make_waker(&mut self, queue: u32) -> Result<Waker, MapError> {
        let size = rustix::param::page_size() as u32;
        let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, size, 0);
        let waker = MapData::create(shape, "ring_waker", None)?;
        self.wakers.set(queue, &waker, 0)?;
        Ok(Waker(RingBuf::try_from(Map::RingBuf(waker))?))
    }
}

/// A mapped ring, and what wakes its consumer.
pub(crate) struct Ring {
    pub queue: MappedQueue,
    pub waker: Waker,
}

/// What wakes the consumer of a ring: its descriptor is readable while a record is in it.
pub struct Waker(RingBuf<MapData>);

impl Waker {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Takes all records out. Returns how many there were.
    pub fn drain(&mut self) -> usize {
        std::iter::from_fn(|| self.0.next().map(drop)).count()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
