//! The same decision on the host: the shared parser over slices, and the plainest filter there could be.

use std::collections::HashMap;
use std::net::IpAddr;

use receiver::internals::Program;
use receiver_common::wire::{self, Network, Udp, VlanTags, Window};
use receiver_common::{Action, FlowAction, GroupAction, Port, Verdict};

use crate::frames::pseudo;
use crate::table::{
    ANY_PORT, BLOCKED_V4, BLOCKED_V6, GROUP_ANY_V4, GROUP_ANY_V6, GROUP_V4, GROUP_V6, OWN_MAC, PORT, SLOT_ANY_V4,
    SLOT_ANY_V6, SLOT_V4, SLOT_V6, UNBLOCKED_V4, UNBLOCKED_V6, WANTED_V4, WANTED_V6,
};

/// The XDP action that goes with a verdict (`enum xdp_action`).
pub fn action(verdict: Verdict) -> u32 {
    match verdict.action() {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Redirect => 4,
        // Unless packets are shared with the kernel: see `mapped`.
        Action::Map => 1,
    }
}

/// What the maps hold.
#[derive(Clone, Default)]
pub struct Filter {
    pub flows: HashMap<(IpAddr, IpAddr, u16), FlowAction>,
    pub groups: HashMap<(IpAddr, u16), GroupAction>,
}

/// What a verdict depends on besides the frame and the filter.
#[derive(Clone, Copy)]
pub struct Rules {
    pub tags: VlanTags,
    /// The queue has an AF_XDP socket.
    pub socket: bool,
    pub pass_partial: bool,
}

impl Filter {
    /// The filter that the table's verdicts are for: one INCLUDE and one EXCLUDE group of each family.
    pub fn of_the_table() -> Self {
        let mut filter = Self::default();
        for (source, group, slot) in [(ip(WANTED_V4), ip(GROUP_V4), SLOT_V4), (ip(WANTED_V6), ip(GROUP_V6), SLOT_V6)] {
            filter.groups.insert((group, PORT), GroupAction::include(slot));
            filter.flows.insert((source, group, PORT), FlowAction::accept(slot));
        }
        for (source, group, slot) in
            [(ip(BLOCKED_V4), ip(GROUP_ANY_V4), SLOT_ANY_V4), (ip(BLOCKED_V6), ip(GROUP_ANY_V6), SLOT_ANY_V6)]
        {
            filter.groups.insert((group, ANY_PORT), GroupAction::exclude(slot));
            filter.flows.insert((source, group, ANY_PORT), FlowAction::block(slot));
        }
        filter
    }

    /// Puts it into the program; the unblocked sources are blocked first, and unblocked again.
    pub fn install(&self, program: &mut Program) {
        for (&(group, port), &action) in &self.groups {
            program.set_group(group, port, action).expect("a group");
        }
        for (&(source, group, port), &action) in &self.flows {
            program.set_flow(source, group, port, action).expect("a flow");
        }
        for (source, group, slot) in
            [(ip(UNBLOCKED_V4), ip(GROUP_ANY_V4), SLOT_ANY_V4), (ip(UNBLOCKED_V6), ip(GROUP_ANY_V6), SLOT_ANY_V6)]
        {
            program.set_flow(source, group, ANY_PORT, FlowAction::block(slot)).expect("a blocked flow");
            program.remove_flow(source, group, ANY_PORT);
        }
    }

    /// The verdict, and the slot that counts a drop because of the source.
    pub fn judge(&self, frame: &[u8], tags: VlanTags, socket: bool) -> (Verdict, Option<u32>) {
        self.judge_by(frame, Rules { tags, socket, pass_partial: false })
    }

    /// As [`Filter::judge`]. Of [`Verdict::PassedShared`] the slot counts what passed.
    pub fn judge_by<W: Window + ?Sized>(&self, frame: &W, rules: Rules) -> (Verdict, Option<u32>) {
        let Datagram { source, group: address, udp } = match read(frame, rules.tags) {
            Ok(datagram) => datagram,
            Err(verdict) => return (verdict, None),
        };
        let port = Port::from_wire(udp.destination_port).to_host();
        let flow = self.flows.get(&(source, address, port));
        let group = self.groups.get(&(address, port));
        if flow.is_none() && group.is_none() {
            return (Verdict::PassedOtherGroup, None);
        }
        if !udp.lengths_agree {
            return (Verdict::DroppedMalformed, None);
        }
        if flow.is_none() && group.is_some_and(|group| group.is_exclude) && is_martian(source, address) {
            return (Verdict::DroppedMartian, None);
        }
        let mac: &[u8; 6] = frame.bytes(0).expect("an Ethernet header");
        let for_host = mac[0] & 1 == 1 || *mac == OWN_MAC;
        let unwanted = match (flow, group) {
            (Some(flow), _) if !flow.is_accept => Some((Verdict::DroppedBlocked, flow.slot)),
            (None, Some(group)) if !group.is_exclude => Some((Verdict::DroppedNotIncluded, group.slot)),
            _ => None,
        };
        match unwanted {
            Some((_, slot)) if group.is_some_and(|group| group.is_shared) => (Verdict::PassedShared, Some(slot)),
            Some((verdict, slot)) => (verdict, Some(slot)),
            None if rules.pass_partial && is_partial(source, address, udp) => (Verdict::PassedPartialChecksum, None),
            None if !for_host => (Verdict::PassedUnicastMac, None),
            None if rules.socket => (Verdict::Redirected, None),
            None => (Verdict::PassedNoSocket, None),
        }
    }
}

/// What the parser finds.
struct Datagram {
    source: IpAddr,
    group: IpAddr,
    udp: Udp,
}

/// Returns true if the checksum field holds the sum of the pseudo header (RFC 768; RFC 8200, section 8.1).
fn is_partial(source: IpAddr, group: IpAddr, udp: Udp) -> bool {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    pseudo(&[octets(source), octets(group)].concat(), udp.len) == u16::from_be(udp.checksum)
}

/// Returns true if Linux drops what this source sends to a group, whoever has joined it.
fn is_martian(source: IpAddr, group: IpAddr) -> bool {
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => {
            let of_the_link = group.octets()[..3] == [224, 0, 0];
            let unspecified = source.is_unspecified() && !of_the_link;
            unspecified || source.is_loopback() || source.is_multicast() || source.is_broadcast()
        }
        (source, _) => source.is_loopback() || source.is_multicast(),
    }
}

fn read<W: Window + ?Sized>(frame: &W, tags: VlanTags) -> Result<Datagram, Verdict> {
    match wire::network(frame, tags)? {
        Network::V4(offset) => {
            let datagram = wire::udp_v4(frame, offset)?;
            let (source, group) = (ip(datagram.source.to_ne_bytes()), ip(datagram.group.to_ne_bytes()));
            Ok(Datagram { source, group, udp: datagram.udp })
        }
        Network::V6(offset) => {
            let datagram = wire::udp_v6(frame, offset)?;
            Ok(Datagram { source: words(datagram.source), group: words(datagram.group), udp: datagram.udp })
        }
    }
}

fn words(words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    ip(bytes)
}

fn ip(bytes: impl Into<IpAddr>) -> IpAddr {
    bytes.into()
}

/// Spoils frames, the same way for the same seed.
pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of the frames with up to three changes; at least 14 bytes, as BPF_PROG_TEST_RUN asks for.
    pub fn mutated(&mut self, frames: &[&[u8]]) -> Vec<u8> {
        let mut frame = frames[self.below(frames.len())].to_vec();
        for _ in 0..self.below(4) {
            // Where the headers are, most changes matter.
            let at = 12 + self.below(frame.len().min(80) - 12);
            match self.below(6) {
                0 => frame[at] = self.next() as u8,
                1 => frame[at] ^= 1 << self.below(8),
                2 => frame[at] = [0, 4, 6, 8, 17, 0x45, 0x60, 0xff][self.below(8)],
                3 => frame.truncate(at.max(14)),
                4 => drop(frame.splice(at..at, [0; 4])),
                _ => frame.resize(frame.len() + self.below(30), 0),
            }
        }
        frame
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
