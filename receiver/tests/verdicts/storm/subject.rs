//! A filter by seed, and frames for it: those of the table and of the filter's own flows, with changes.

use std::net::IpAddr;

use receiver_common::{FlowAction, GroupAction};

use super::variant::Variant;
use crate::frames::{partial, tagged, v4, v6};
use crate::oracle::{Filter, Mutator};
use crate::table::{self, SLOTS, Tags};

/// Groups of the filter besides those of the table.
const GROUPS: u32 = 96;
/// Slots in use; 0 is used by no group.
pub const USED_SLOTS: u32 = SLOTS + GROUPS;

/// The filter, and frames that are not changed yet.
pub struct Subject {
    pub filter: Filter,
    frames: Vec<Vec<u8>>,
}

impl Subject {
    pub fn new(random: &mut Mutator, variant: &Variant) -> Self {
        let mut filter = Filter::of_the_table();
        let mut own = Vec::new();
        for slot in SLOTS..USED_SLOTS {
            let ipv6 = random.below(2) == 1;
            let (group, port) = (group(random, ipv6), random.next() as u16);
            let action = if random.below(2) == 0 { GroupAction::include(slot) } else { GroupAction::exclude(slot) };
            filter.groups.insert((group, port), action.shared(random.below(4) == 0));
            for _ in 0..random.below(5) {
                let source = source(random, ipv6);
                let action = if random.below(2) == 0 { FlowAction::accept(slot) } else { FlowAction::block(slot) };
                filter.flows.insert((source, group, port), action);
                own.push(frame(random, source, group, port));
            }
            for off in [0, 0, 0, 1] {
                let source = source(random, ipv6);
                own.push(frame(random, source, group, port.wrapping_add(off)));
            }
        }
        let tags: &[(u16, u16)] = match (variant.tags, variant.tags.wire()) {
            (Tags::None, _) => &[],
            (Tags::One, wire) => &[(0x8100, wire.outer)],
            (Tags::Two, wire) => &[(0x88a8, wire.outer), (0x8100, wire.inner)],
        };
        let rows = table::named_rows().into_iter().filter(|row| row.tags == variant.tags).map(|row| row.frame);
        Self { filter, frames: rows.chain(own.into_iter().map(|frame| tagged(&frame, tags))).collect() }
    }

    /// One of the frames, with up to three changes.
    pub fn frame(&self, random: &mut Mutator) -> Vec<u8> {
        let frame = &self.frames[random.below(self.frames.len())];
        random.mutated(&[frame])
    }
}

fn group(random: &mut Mutator, ipv6: bool) -> IpAddr {
    let [a, b, c, d, e, f, ..] = random.next().to_ne_bytes();
    if ipv6 {
        let scope = [0x3e, 0x0e, 0x35, 0x15][random.below(4)];
        IpAddr::from([0xff, scope, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f])
    } else {
        IpAddr::from([[232, a, b, c], [239, a, b, c], [224, 1, b, c]][random.below(3)])
    }
}

fn source(random: &mut Mutator, ipv6: bool) -> IpAddr {
    let [a, b, c, d, e, f, ..] = random.next().to_ne_bytes();
    match (ipv6, random.below(8)) {
        (false, 0) => IpAddr::from([[127, 0, 0, 1], [0; 4], [224, 0, 0, 1], [255; 4]][random.below(4)]),
        (false, _) => IpAddr::from([10, a, b, c]),
        (true, 0) => IpAddr::from([[0, 0, 0, 0, 0, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1]][random.below(2)]),
        (true, _) => IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f]),
    }
}

/// A datagram, whose checksum is partial once in four times.
fn frame(random: &mut Mutator, source: IpAddr, group: IpAddr, port: u16) -> Vec<u8> {
    let payload = random.below(60);
    let frame = match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => v4(source.octets(), group.octets(), port, payload),
        (IpAddr::V6(source), IpAddr::V6(group)) => v6(source.octets(), group.octets(), port, payload),
        _ => panic!("{source} and {group} are of two families"),
    };
    if random.below(4) == 0 { partial(frame, 0) } else { frame }
}
