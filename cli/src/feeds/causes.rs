//! What each cause of the ledger means to a sequence number that is missing.

use receiver_feed::attribution::LossCause;

/// What a count of the ledger means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A wanted datagram was dropped here, before its feed saw it.
    Dropped(LossCause),
    /// A datagram was dropped; it may have been of another program.
    Possible,
    /// A datagram was dropped: the socket's buffer was full, or the checksum was wrong.
    SocketOrDamaged,
    /// The checksum of a datagram was wrong; it may have been of another program.
    Damaged,
    /// The interface dropped a frame. Some drivers count what XDP dropped as well.
    Interface,
    /// The interface received a frame.
    Frames,
    /// A datagram was delivered.
    Delivered,
    /// The XDP program dropped a frame, and no feed misses it: it was copied, not wanted, or damaged.
    Filtered,
    /// No datagram was lost in this host before its feed saw it.
    Nothing,
}

use Meaning::{Damaged, Delivered, Dropped, Filtered, Frames, Interface, Nothing, Possible, SocketOrDamaged};

const RING: Meaning = Dropped(LossCause::Ring);
const SOCKET: Meaning = Dropped(LossCause::Socket);
const CONSUMER: Meaning = Dropped(LossCause::Consumer);

/// Each cause of the ledger. What was damaged was lost in the network, and this host has dropped nothing. What could
/// not be kept (`not_kept`) was seen by its feed, which counts it.
const MEANINGS: [(&str, Meaning); 84] = [
    ("redirected", Nothing),
    ("dropped_not_included", Filtered),
    ("dropped_blocked", Filtered),
    ("dropped_malformed", Filtered),
    ("passed_no_socket", Nothing),
    ("passed_other_group", Nothing),
    ("passed_unicast", Nothing),
    ("passed_fragment", Nothing),
    ("passed_options", Nothing),
    ("passed_extension_header", Nothing),
    ("passed_membership", Nothing),
    ("passed_other_protocol", Nothing),
    ("passed_vlan", Nothing),
    ("passed_not_ip", Nothing),
    ("passed_split_headers", Nothing),
    ("passed_shared", Nothing),
    ("dropped_martian", Filtered),
    ("passed_unicast_mac", Nothing),
    ("passed_zero_length", Nothing),
    ("passed_partial_checksum", Nothing),
    ("mapped", Filtered),
    ("dropped_ring_full", RING),
    ("dropped_ring_busy", RING),
    ("passed_too_long", Nothing),
    ("xsk_rx_dropped", RING),
    ("xsk_rx_ring_full", RING),
    ("xsk_rx_invalid_descs", RING),
    ("xsk_rx_fill_ring_empty_descs", Nothing),
    ("xsk_in_ring", Nothing),
    ("xsk_leased", Nothing),
    ("xsk_refused_descs", RING),
    ("ring_not_copied", RING),
    ("xsk_further_descs", Nothing),
    ("xsk_unbound", RING),
    ("kernel_received", Nothing),
    ("kernel_dropped", SocketOrDamaged),
    ("kernel_other_interface", Nothing),
    ("kernel_unidentified", SOCKET),
    ("kernel_truncated", SOCKET),
    ("kernel_left_behind", Nothing),
    ("kernel_receive_errors", Nothing),
    ("link_outages", Nothing),
    ("link_outage_milliseconds", Nothing),
    ("link_recovery_milliseconds", Nothing),
    ("link_missed_estimate", Nothing),
    ("link_ipv4_outages", Nothing),
    ("link_ipv4_outage_milliseconds", Nothing),
    ("link_ipv6_outages", Nothing),
    ("link_ipv6_outage_milliseconds", Nothing),
    ("tap_frames", Nothing),
    ("tap_in_ring", Nothing),
    ("tap_ring_full", Nothing),
    ("tap_ring_busy", Nothing),
    ("tap_closed", Nothing),
    ("tap_not_copied", Nothing),
    ("host_udp_checksum", Damaged),
    ("host_udp_buffer_full", Nothing),
    ("host_udp_errors", Nothing),
    ("host_udp_ignored_multicast", Nothing),
    ("host_ip_checksum", Nothing),
    ("host_ip_header", Nothing),
    ("host_ip_discarded", Possible),
    ("host_reverse_path", Possible),
    ("host_mld_queries", Nothing),
    ("interface_frames", Frames),
    ("interface_multicast", Nothing),
    ("interface_dropped", Interface),
    ("interface_other_host", Nothing),
    ("xdp_taken", Nothing),
    ("xdp_delivered", Delivered),
    ("kernel_taken", Nothing),
    ("kernel_delivered", Delivered),
    ("held", Nothing),
    ("copied", Nothing),
    ("checksum_partial", Nothing),
    ("checksum_absent", Nothing),
    ("unstamped", Nothing),
    ("revoked", Nothing),
    ("ip_checksum", Nothing),
    ("udp_checksum", Nothing),
    ("malformed", Nothing),
    ("undelivered_at_stop", CONSUMER),
    ("not_kept", Nothing),
    ("untagged", Nothing),
];

/// What a cause of the ledger means.
pub fn meaning(cause: &str) -> Meaning {
    MEANINGS.iter().find(|(name, _)| *name == cause).map_or(Nothing, |(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::{Kind, explain};

    #[test]
    fn each_cause_of_the_ledger_has_one_meaning() {
        let ledger = receiver::Ledger::default();
        let names: Vec<&str> = ledger.causes().map(|(name, _)| name).collect();
        assert_eq!(names, MEANINGS.map(|(name, _)| name), "in the ledger's order");
    }

    /// What the summary calls lost is lost at a place, but for what its feed counts itself.
    #[test]
    fn what_is_lost_was_lost_somewhere() {
        for (name, meaning) in MEANINGS {
            let is_lost = explain(name).is_some_and(|(kind, _)| kind == Kind::Lost);
            let has_place = matches!(meaning, Dropped(_) | SocketOrDamaged);
            assert!(!is_lost || has_place || name == "not_kept", "{name}");
        }
    }
}
