//! The decision: parses a frame, looks up its subscription, and redirects wanted frames.

use aya_ebpf::helpers::{bpf_ktime_get_tai_ns, bpf_xdp_adjust_meta};
use aya_ebpf::programs::XdpContext;
use receiver_common::martian::{is_martian_v4, is_martian_v6};
use receiver_common::partial::{is_partial_v4, is_partial_v6};
use receiver_common::table::{FlowEntry, GroupEntry};
use receiver_common::wire::{self, Network, UdpV6, VlanTags};
use receiver_common::{AnyAddress, FlowKeyV6, GroupKeyV6, OtherPort, Port, STAMP_SIZE, Stamp, Verdict, mapped_v4};

use crate::mapped;
use crate::maps;
use crate::packet::Packet;

/// Decides on a frame. [`Verdict::Redirected`] means that the redirect is already set up.
#[inline(always)]
pub fn judge<const FRAGS: bool>(ctx: &XdpContext) -> Verdict {
    let packet = Packet::<FRAGS>::new(ctx);
    let network = match maps::vlan_tags() {
        None => wire::network(&packet, VlanTags::default()),
        Some(tags) => wire::network(&packet, tags),
    };
    let accepted = match network {
        Ok(Network::V4(offset)) => judge_v4(&packet.network(offset)),
        Ok(Network::V6(offset)) => judge_v6(&packet.network(offset)),
        Err(verdict) => Err(verdict),
    };
    match accepted {
        Ok(()) if !wire::is_for_host(&packet, maps::own_mac()) => Verdict::PassedUnicastMac,
        Ok(()) => redirect(ctx),
        // The missing part may lie in the next buffer, where the kernel finds it.
        Err(Verdict::DroppedMalformed) if packet.has_split_headers() => Verdict::PassedSplitHeaders,
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn judge_v4<const FRAGS: bool>(packet: &Packet<FRAGS>) -> Result<(), Verdict> {
    let datagram = wire::udp_v4(packet, 0)?;
    let key = GroupEntry::key_of_packet(datagram.destination);
    if !datagram.udp.lengths_agree {
        return Err(malformed_v4(key));
    }
    let hash = GroupEntry::hash(key);
    let Some(group) = maps::group_v4(key, hash) else {
        return Err(other_group_v4(datagram.destination, hash));
    };
    let source = FlowEntry::source(datagram.source);
    match maps::flow_v4(FlowEntry::key_under(source, group), FlowEntry::hash(source, hash)) {
        Some(flow) if FlowEntry::is_accept(flow) => {}
        None if GroupEntry::is_exclude(group) => {
            if is_martian_v4(datagram.source, datagram.group) {
                return Err(Verdict::DroppedMartian);
            }
        }
        flow => {
            let dropped = if flow.is_some() { Verdict::DroppedBlocked } else { Verdict::DroppedNotIncluded };
            return Err(maps::unwanted(GroupEntry::slot(group), mapped_v4(datagram.source), dropped));
        }
    }
    if maps::pass_partial() && is_partial_v4(&datagram) { Err(Verdict::PassedPartialChecksum) } else { Ok(()) }
}

/// Decides on a datagram whose lengths contradict each other: it is dropped if its group has a subscription. Not
/// inlined, to keep it off the common path; [`maps`] explains the plain name.
#[inline(never)]
#[unsafe(no_mangle)]
fn malformed_v4(key: u64) -> Verdict {
    match maps::group_v4(key, GroupEntry::hash(key)) {
        Some(_) => Verdict::DroppedMalformed,
        None => Verdict::PassedOtherGroup,
    }
}

/// Records a datagram without a subscription. Not inlined, to keep it off the common path; [`maps`] explains the plain
/// name.
#[inline(never)]
#[unsafe(no_mangle)]
fn other_group_v4(destination: u64, hash: u64) -> Verdict {
    let destination = u64::from_le(destination);
    maps::note_other(
        hash,
        OtherPort { group: mapped_v4((destination as u32).to_le()), port: (destination >> 48).to_le() },
    );
    Verdict::PassedOtherGroup
}

#[inline(always)]
fn judge_v6<const FRAGS: bool>(packet: &Packet<FRAGS>) -> Result<(), Verdict> {
    let datagram = wire::udp_v6(packet, 0)?;
    let port = Port::from_wire(datagram.udp.destination_port);
    let flow = FlowKeyV6 { source: datagram.source, group: datagram.group, port };
    if let Some(action) = maps::flow_v6(flow) {
        return decide(action.is_accept(), action.slot(), &datagram, Verdict::DroppedBlocked);
    }
    match maps::group_v6(GroupKeyV6 { group: datagram.group, port }) {
        Some(action) if action.is_exclude() && datagram.udp.lengths_agree && is_martian_v6(datagram.source) => {
            Err(Verdict::DroppedMartian)
        }
        Some(action) => decide(action.is_exclude(), action.slot(), &datagram, Verdict::DroppedNotIncluded),
        None => {
            let group = two_words(datagram.group);
            let port = u64::from(datagram.udp.destination_port);
            let hash = GroupEntry::hash(group[0] ^ group[1] ^ port.rotate_left(20));
            maps::note_other(hash, OtherPort { group, port: port.to_le() });
            Err(Verdict::PassedOtherGroup)
        }
    }
}

/// Decides by the source's own entry or by its group's. `dropped` is the verdict for an unwanted source.
#[inline(always)]
fn decide(accept: bool, slot: u32, datagram: &UdpV6, dropped: Verdict) -> Result<(), Verdict> {
    if !datagram.udp.lengths_agree {
        return Err(Verdict::DroppedMalformed);
    }
    if !accept {
        return Err(maps::unwanted(slot, two_words(datagram.source), dropped));
    }
    if maps::pass_partial() && is_partial_v6(datagram) { Err(Verdict::PassedPartialChecksum) } else { Ok(()) }
}

#[inline(always)]
fn two_words([a, b, c, d]: [u32; 4]) -> AnyAddress {
    let word = |low: u32, high: u32| (u64::from(u32::from_le(low)) | u64::from(u32::from_le(high)) << 32).to_le();
    [word(a, b), word(c, d)]
}

/// Redirects the frame to the AF_XDP socket of its queue. Without a socket the kernel path gets the frame.
#[inline(always)]
fn redirect(ctx: &XdpContext) -> Verdict {
    if mapped::is_on() {
        return mapped::deliver(ctx);
    }
    if maps::stamp() {
        stamp(ctx);
    }
    if maps::redirect(ctx.rx_queue_index()) { Verdict::Redirected } else { Verdict::PassedNoSocket }
}

/// Writes the time before the frame, if the driver leaves room for metadata.
#[inline(always)]
fn stamp(ctx: &XdpContext) {
    // SAFETY: the helper checks the room, and the context comes from the kernel.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(STAMP_SIZE as i32)) } != 0 {
        return;
    }
    let start = ctx.metadata();
    if start + STAMP_SIZE > ctx.metadata_end() {
        return;
    }
    // SAFETY: the check above showed that metadata..metadata+STAMP_SIZE exists, and the program may write there.
    unsafe {
        core::ptr::write_unaligned(start as *mut Stamp, Stamp { magic: Stamp::MAGIC, tai_ns: bpf_ktime_get_tai_ns() });
    }
}
