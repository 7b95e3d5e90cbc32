//! Warnings of changes of the link that the receiver cannot undo.

use receiver_common::mapped::LARGE_FRAME_SIZE;
use receiver_host::Families;

use crate::engine::mode_selection::ring_mtu;

/// What another number of receive queues means for a receiver with sockets or mapped rings, as `end` names them, on the
/// queues `served`; `None` without any.
pub(super) fn queues(name: &str, before: u32, now: u32, served: &[u32], end: &str) -> Option<String> {
    let there = served.iter().filter(|&&queue| queue < now).count();
    if served.is_empty() {
        return None;
    }
    let change = format!("{name} has {now} receive queues now, {before} before");
    let article = if end.starts_with('A') { "an" } else { "a" };
    Some(match (served.len() - there, now as usize - there) {
        (0, 0) => format!("{change}; each has its {end}"),
        (0, others) => format!(
            "{change}; {others} have no {end}, and what comes there takes the slower kernel path: start the \
             receiver anew to serve them, or steer the streams (`ethtool -X`, `ethtool -N`)"
        ),
        (gone, _) => format!(
            "{change}; {gone} of those that had {article} {end} are gone, and their streams come by the other \
             queues: start the receiver anew to serve them as they are"
        ),
    })
}

/// The smallest MTU for IPv6 (RFC 8200, section 5), and for IPv4 in Linux (RFC 791).
const IPV6_MTU: u32 = 1280;
const IPV4_MTU: u32 = 68;

/// Why an IP version is away, and what to do; `None` if it is there.
pub(super) fn family(name: &str, ipv6: bool, mtu: u32, families: Families) -> Option<String> {
    let (version, there, least) =
        if ipv6 { ("IPv6", families.ipv6, IPV6_MTU) } else { ("IPv4", families.ipv4, IPV4_MTU) };
    let effect = format!("Its {version} groups are not joined, so that routers and switches stop sending them");
    if !there && mtu < least {
        return Some(format!(
            "{name} does no {version}, because its MTU, {mtu}, is below {least}. {effect}. Raise it (ip link set \
             {name} mtu {least}): the receiver joins them again"
        ));
    }
    if !there {
        return Some(format!(
            "{name} does no {version}: the kernel has shut it down on this interface. {effect}. The receiver joins \
             them again when it is back"
        ));
    }
    (ipv6 && families.ipv6_disabled).then(|| {
        format!(
            "{name} does no IPv6, because net.ipv6.conf.{name}.disable_ipv6 is 1. Its IPv6 groups are not reported, \
             so that routers and switches stop sending them. Set it to 0: the kernel then reports them again"
        )
    })
}

/// Another program or user detached the receiver's program.
pub(super) fn detached(name: &str) -> String {
    format!(
        "{name}: another program or user detached the receiver's XDP program. The receiver attaches it again; until \
         then its streams take the slower kernel path"
    )
}

/// The program was detached again soon after it had been attached again.
pub(super) fn detached_again(name: &str) -> String {
    format!(
        "{name}: the receiver's XDP program was detached again soon after it had been attached. From now on the \
         receiver waits longer each time, up to 30 s, before it attaches it; meanwhile its streams take the slower \
         kernel path. Find what detaches it (`bpftool link` and `bpftool net` list XDP programs) and stop that, or \
         use mode socket"
    )
}

/// Packets may be too long for one buffer, and the sockets or the driver do not support several.
pub(super) fn too_long(name: &str, mtu: u32, fits: u32) -> String {
    format!(
        "{name} has an MTU of {mtu} now. This receiver takes packets of one buffer here, which is sure to hold those \
         of an MTU of up to {fits}; longer ones may be dropped, and are counted as xsk_rx_dropped or by the driver. \
         Lower the MTU (ip link set {name} mtu {fits}), or start the receiver anew: mode copy, generic or socket \
         takes them where zero-copy does not, XDP over several buffers needs Linux 6.6 and a driver that has it"
    )
}

/// Packets may be too long for the frames of the mapped rings, which hold those of an MTU of up to `fits`.
pub(super) fn beyond_frames(name: &str, mtu: u32, fits: u32) -> String {
    let remedy = match mtu <= ring_mtu(LARGE_FRAME_SIZE) {
        true => format!("Start the receiver anew for larger frames, or lower the MTU (ip link set {name} mtu {fits})"),
        false => format!("Lower the MTU (ip link set {name} mtu {fits}), or use mode copy"),
    };
    format!(
        "{name} has an MTU of {mtu} now. The frames of the mapped rings hold packets of an MTU of up to {fits}; longer \
         ones take the slower kernel path and are counted as passed_too_long. {remedy}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_number_of_queues_is_told_with_what_it_means() {
        let warning =
            |before, now, served: &[u32]| queues("eth7", before, now, served, "AF_XDP socket").unwrap_or_default();
        assert!(warning(1, 4, &[0]).starts_with("eth7 has 4 receive queues now, 1 before; 3 have no AF_XDP socket"));
        assert!(warning(4, 2, &[0, 1]).ends_with("each has its AF_XDP socket"));
        assert!(warning(4, 2, &[0, 3]).contains("1 of those that had an AF_XDP socket are gone"));
        let rings = queues("eth7", 4, 2, &[0, 3], "mapped ring").unwrap_or_default();
        assert!(rings.contains("1 of those that had a mapped ring are gone"), "{rings}");
        assert_eq!(queues("eth7", 4, 2, &[], "AF_XDP socket"), None, "mode socket has nothing to do with queues");
    }

    #[test]
    fn packets_that_are_too_long_are_told_with_what_fits() {
        let message = too_long("eth7", 9000, 1770);
        for part in ["eth7 has an MTU of 9000 now", "xsk_rx_dropped", "ip link set eth7 mtu 1770", "Linux 6.6"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn packets_that_are_longer_than_a_frame_are_told_with_their_path() {
        let message = beyond_frames("eth7", 9000, 1994);
        for part in ["eth7 has an MTU of 9000 now", "kernel path", "Start the receiver anew", "mtu 1994"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let message = beyond_frames("eth7", 16_000, 10_186);
        assert!(!message.contains("anew") && message.contains("ip link set eth7 mtu 10186"), "{message}");
    }

    #[test]
    fn a_detached_program_is_told_with_what_the_receiver_does() {
        assert!(
            detached("eth7")
                .starts_with("eth7: another program or user detached the receiver's XDP program. The receiver")
        );
        let again = detached_again("eth7");
        assert!(
            again.contains("up to 30 s") && again.contains("`bpftool link`") && again.contains("mode socket"),
            "{again}"
        );
    }

    #[test]
    fn a_family_that_is_away_is_told_with_its_reason() {
        let both = Families { ipv4: true, ipv6: true, ipv6_disabled: false };
        assert_eq!((family("eth7", false, 1500, both), family("eth7", true, 1500, both)), (None, None));
        let none = Families::default();
        let message = family("eth7", true, 1200, none).unwrap_or_default();
        assert!(message.starts_with("eth7 does no IPv6, because its MTU, 1200, is below 1280."), "{message}");
        assert!(family("eth7", false, 60, none).is_some_and(|message| message.contains("is below 68")));
        assert!(family("eth7", true, 1500, none).is_some_and(|message| message.contains("shut it down")));
        let disabled = Families { ipv6_disabled: true, ..both };
        assert!(family("eth7", true, 1500, disabled).is_some_and(|message| message.contains("disable_ipv6 is 1")));
        assert_eq!(family("eth7", false, 1500, disabled), None);
    }
}
