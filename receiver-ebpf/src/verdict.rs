//! The decision: parses a frame, looks up its subscription, and redirects wanted frames.

use aya_ebpf::helpers::{bpf_ktime_get_tai_ns, bpf_xdp_adjust_meta};
use aya_ebpf::programs::XdpContext;
use receiver_common::martian::{is_martian_v4, is_martian_v6};
use receiver_common::partial::{is_partial_v4, is_partial_v6};
use receiver_common::table::{v4, v6};
use receiver_common::wire::{self, Network, VlanTags};
use receiver_common::{AnyAddress, GroupAction, OtherPort, STAMP_SIZE, Stamp, Verdict, mapped_v4};

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
    let key = v4::GroupEntry::key_of_packet(datagram.destination);
    if !datagram.udp.lengths_agree {
        return Err(malformed_v4(key));
    }
    let hash = v4::GroupEntry::hash(key);
    let Some(group) = maps::group_v4(key, hash) else {
        return Err(other_group_v4(datagram.destination, hash));
    };
    let source = v4::FlowEntry::source(datagram.source);
    let flow = maps::flow_v4(v4::FlowEntry::key_under(source, group), v4::FlowEntry::hash(source, hash));
    decide(
        flow.map(v4::FlowEntry::is_accept),
        v4::GroupEntry::action(group),
        || is_martian_v4(datagram.source, datagram.group),
        || mapped_v4(datagram.source),
    )?;
    if maps::pass_partial() && is_partial_v4(&datagram) { Err(Verdict::PassedPartialChecksum) } else { Ok(()) }
}

/// Decides on a datagram whose lengths contradict each other: it is dropped if its group has a subscription. Not
/// inlined, to keep it off the common path; [`maps`] explains the plain name.
#[inline(never)]
#[unsafe(no_mangle)]
fn malformed_v4(key: u64) -> Verdict {
    match maps::group_v4(key, v4::GroupEntry::hash(key)) {
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
    let port = datagram.udp.destination_port;
    if !datagram.udp.lengths_agree {
        return Err(malformed_v6(datagram.group[0], datagram.group[1], port));
    }
    let hash = v6::GroupEntry::hash(datagram.group, port);
    let Some(group) = maps::group_v6(v6::GroupEntry::search(datagram.group, port, hash), hash) else {
        return Err(other_group_v6(datagram.group[0], datagram.group[1], port, hash));
    };
    let flow_hash = v6::FlowEntry::hash(datagram.source, hash);
    let flow = maps::flow_v6(v6::FlowEntry::search(datagram.source, flow_hash, group), flow_hash);
    decide(
        flow.map(v6::FlowEntry::is_accept),
        v6::GroupEntry::action(group),
        || is_martian_v6(datagram.source),
        || datagram.source,
    )?;
    if maps::pass_partial() && is_partial_v6(&datagram) { Err(Verdict::PassedPartialChecksum) } else { Ok(()) }
}

/// As [`malformed_v4`].
#[inline(never)]
#[unsafe(no_mangle)]
fn malformed_v6(first: u64, last: u64, port: u16) -> Verdict {
    let hash = v6::GroupEntry::hash([first, last], port);
    match maps::group_v6(v6::GroupEntry::search([first, last], port, hash), hash) {
        Some(_) => Verdict::DroppedMalformed,
        None => Verdict::PassedOtherGroup,
    }
}

/// As [`other_group_v4`].
#[inline(never)]
#[unsafe(no_mangle)]
fn other_group_v6(first: u64, last: u64, port: u16, hash: u64) -> Verdict {
    maps::note_other(hash, OtherPort { group: [first, last], port: u64::from(u16::from_le(port)).to_le() });
    Verdict::PassedOtherGroup
}

/// Decides by the source's own entry, of which `flow` is `Some(true)` if the source is wanted, or by its group's.
#[inline(always)]
fn decide(
    flow: Option<bool>,
    group: GroupAction,
    is_martian: impl FnOnce() -> bool,
    source: impl FnOnce() -> AnyAddress,
) -> Result<(), Verdict> {
    match flow {
        Some(true) => Ok(()),
        None if group.is_exclude => {
            if is_martian() {
                Err(Verdict::DroppedMartian)
            } else {
                Ok(())
            }
        }
        flow => {
            let dropped = if flow.is_some() { Verdict::DroppedBlocked } else { Verdict::DroppedNotIncluded };
            Err(maps::unwanted(group, source(), dropped))
        }
    }
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
