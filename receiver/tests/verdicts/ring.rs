//! A mapped ring as the simplest consumer sees it: raw words, each access where the protocol has it.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use receiver::internals::Program;
use receiver_common::mapped::{ASLEEP, Control, FrameHeader, PACKET_OFFSET};
use receiver_xsk::Mapping;

/// The ring of queue 0, whose entries and frames begin at 0.
pub struct Ring {
    control: Mapping,
    entries: Mapping,
    frames: Mapping,
    frame_size: usize,
    slots: u64,
    pub position: u64,
}

impl Ring {
    /// Opens the ring: entry `i` names frame `i`.
    pub fn open(program: &Program, slots: u32) -> Self {
        let rings = program.rings().expect("a program with rings");
        let map = |fd, length| Mapping::of_fd(fd, length, 0).expect("a mapped array");
        let ring = Self {
            control: map(rings.control(), size_of::<Control>()),
            entries: map(rings.entries(), slots as usize * 8),
            frames: map(rings.frames(), slots as usize * rings.frame_size()),
            frame_size: rings.frame_size(),
            slots: slots.into(),
            position: 0,
        };
        (0..slots).for_each(|slot| ring.set_entry(slot, slot.into()));
        ring.set_open(true);
        ring
    }

    /// Words of the control element, by their place.
    fn control(&self, word: usize) -> &AtomicU64 {
        assert!(word < size_of::<Control>() / 8);
        word_at(&self.control, word * 8)
    }

    pub fn set_open(&self, open: bool) {
        // `first_entry` is 0, and both are halves of one word.
        self.control(2).store(u64::from(u32::from(open)).to_le(), Ordering::SeqCst);
    }

    pub fn set_entry(&self, slot: u32, frame: u64) {
        word_at(&self.entries, slot as usize * 8).store(frame, Ordering::Relaxed);
    }

    /// The next position of the program.
    pub fn next(&self) -> u64 {
        self.control(0).load(Ordering::SeqCst) & !ASLEEP
    }

    pub fn set_asleep(&self) {
        self.control(0).fetch_or(ASLEEP, Ordering::SeqCst);
    }

    pub fn is_asleep(&self) -> bool {
        self.control(0).load(Ordering::SeqCst) & ASLEEP != 0
    }

    /// Moves an unused ring on, as if `position` packets had come.
    pub fn begin_at(&mut self, position: u64) {
        for word in [0, 1, 8] {
            self.control(word).store(position, Ordering::SeqCst);
        }
        self.position = position;
    }

    /// Takes the next packet, and gives its slot back after `each` has seen header and packet. Returns false if none is
    /// there.
    pub fn take(&mut self, each: impl FnOnce(&FrameHeader, &[u8])) -> bool {
        let at = (self.position % self.slots) as usize * self.frame_size;
        if word_at(&self.frames, at).load(Ordering::Acquire) != self.position + 1 {
            return false;
        }
        let frame = self.frames.start();
        // SAFETY: the frame lies within the mapping, and the program writes to it only once its slot is given back.
        let (header, packet) = unsafe {
            let header = frame.add(at).cast::<FrameHeader>().read();
            let packet = NonNull::slice_from_raw_parts(frame.add(at + PACKET_OFFSET), header.length as usize);
            (header, packet.as_ref())
        };
        each(&header, packet);
        self.position += 1;
        self.control(8).store(self.position, Ordering::Release);
        true
    }
}

fn word_at(memory: &Mapping, at: usize) -> &AtomicU64 {
    assert!(at + 8 <= memory.length() && at.is_multiple_of(8));
    // SAFETY: checked to lie within the mapping; this process and the program only use it as whole words.
    unsafe { memory.start().add(at).cast::<AtomicU64>().as_ref() }
}
