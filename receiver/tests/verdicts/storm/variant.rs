//! The ways in which the program is loaded, and what the host expects of each.

use receiver_common::Verdict;
use receiver_common::wire::{MAX_HEADERS_LEN, Window};
use rustix::thread::CapabilitySet;

use crate::bench::{Config, XDP_CAPABILITIES};
use crate::oracle::{Filter, Rules};
use crate::table::Tags;

/// So few that many entries are not in their home bucket.
const MAX_FLOWS: u32 = 512;

/// One way to load the program.
#[derive(Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    pub tags: Tags,
    pub pass_partial: bool,
    /// Frames in two buffers, for the entry that takes them.
    pub split: bool,
    /// Without CAP_PERFMON the program checks lengths in another way.
    pub capabilities: CapabilitySet,
}

const PLAIN: Variant = Variant {
    name: "untagged",
    tags: Tags::None,
    pass_partial: false,
    split: false,
    capabilities: CapabilitySet::all(),
};

pub const VARIANTS: [Variant; 6] = [
    PLAIN,
    Variant { name: "untagged, without CAP_PERFMON", capabilities: XDP_CAPABILITIES, ..PLAIN },
    Variant { name: "one tag", tags: Tags::One, ..PLAIN },
    Variant { name: "two tags, without CAP_PERFMON", tags: Tags::Two, capabilities: XDP_CAPABILITIES, ..PLAIN },
    Variant { name: "generic", pass_partial: true, ..PLAIN },
    Variant { name: "two buffers", split: true, capabilities: XDP_CAPABILITIES, ..PLAIN },
];

impl Variant {
    pub fn config(&self) -> Config {
        Config { vlan: self.tags.vlan(), pass_partial: self.pass_partial, max_flows: MAX_FLOWS, ..Config::default() }
    }

    /// The verdict of a frame whose first buffer has this number of bytes, and the slot that counts its source.
    pub fn expect(&self, filter: &Filter, frame: &[u8], first: usize, socket: bool) -> (Verdict, Option<u32>) {
        let rules = Rules { tags: self.tags.wire(), socket, pass_partial: self.pass_partial };
        if !self.split {
            return filter.judge_by(frame, rules);
        }
        match filter.judge_by(&Buffers { frame, first }, rules) {
            // Headers may lie in the next buffer, where the kernel finds them.
            (Verdict::DroppedMalformed, _) if first < MAX_HEADERS_LEN.min(frame.len()) => {
                (Verdict::PassedSplitHeaders, None)
            }
            other => other,
        }
    }
}

/// A frame of which the program sees the first buffer alone, and the length of all.
struct Buffers<'a> {
    frame: &'a [u8],
    first: usize,
}

impl Window for Buffers<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.frame[..self.first].get(offset..)?.first_chunk()
    }

    fn has(&self, len: usize) -> bool {
        len <= self.frame.len()
    }
}
