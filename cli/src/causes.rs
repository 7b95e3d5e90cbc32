//! The causes of the ledger for which a frame was not delivered, each with a short explanation.

/// What a cause means for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A wanted datagram was lost.
    Lost,
    /// A datagram was damaged, or could not be judged.
    Bad,
    /// The frame was dropped on request.
    Unwanted,
}

impl Kind {
    /// Its word in the dashboard.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Bad => "bad",
            Self::Unwanted => "unwanted",
        }
    }
}

/// Each cause: its name in the ledger, its kind, and what it means.
const CAUSES: [(&str, Kind, &str); 23] = [
    ("dropped_not_included", Kind::Unwanted, "not one of the wanted sources"),
    ("dropped_blocked", Kind::Unwanted, "the source is blocked"),
    ("dropped_malformed", Kind::Bad, "XDP: wrong lengths in headers"),
    ("dropped_martian", Kind::Bad, "impossible source address"),
    ("dropped_ring_full", Kind::Lost, "mapped ring: consumer too slow"),
    ("dropped_ring_busy", Kind::Lost, "mapped ring: CPUs collided"),
    ("xsk_rx_dropped", Kind::Lost, "no free frame for the packet"),
    ("xsk_rx_ring_full", Kind::Lost, "the worker is too slow"),
    ("xsk_rx_invalid_descs", Kind::Bad, "kernel refused a free frame"),
    ("xsk_refused_descs", Kind::Bad, "worker refused a descriptor"),
    ("xsk_unbound", Kind::Lost, "the device had gone"),
    ("ring_not_copied", Kind::Lost, "XDP could not copy the packet"),
    ("kernel_dropped", Kind::Lost, "socket full, or bad checksum"),
    ("kernel_unidentified", Kind::Bad, "addresses were not reported"),
    ("kernel_truncated", Kind::Bad, "longer than the buffer"),
    ("kernel_left_behind", Kind::Unwanted, "queued when it was left"),
    ("revoked", Kind::Unwanted, "source was left or blocked"),
    ("ip_checksum", Kind::Bad, "wrong IPv4 header checksum"),
    ("udp_checksum", Kind::Bad, "wrong UDP checksum"),
    ("malformed", Kind::Bad, "worker: wrong header lengths"),
    ("undelivered_at_stop", Kind::Lost, "not delivered before the stop"),
    ("not_kept", Kind::Lost, "copies held: see --copy-limit"),
    ("untagged", Kind::Unwanted, "without the wanted VLAN tag"),
];

/// The kind and the explanation of a cause, if it is one of those.
pub fn explain(cause: &str) -> Option<(Kind, &'static str)> {
    CAUSES.iter().find(|(name, ..)| *name == cause).map(|&(_, kind, text)| (kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drop_is_explained_in_a_few_words() {
        for (cause, _, text) in CAUSES {
            assert!(text.len() <= 30, "{cause}: {text}");
        }
        assert_eq!(explain("redirected"), None);
    }

    /// The verdicts that drop, and the reasons of the workers, which the ledger has last.
    #[test]
    fn no_drop_of_the_ledger_is_missing() {
        let ledger = receiver::Ledger::default();
        let dropped = ledger.causes().filter(|(name, _)| name.starts_with("dropped_"));
        let by_workers = ledger.causes().skip_while(|(name, _)| *name != "unstamped").skip(1);
        let all: Vec<&str> = dropped.chain(by_workers).map(|(name, _)| name).collect();
        assert!(all.contains(&"dropped_martian") && all.contains(&"revoked"), "{all:?}");
        for name in all {
            assert!(explain(name).is_some(), "{name} has no explanation");
        }
    }

    #[test]
    fn each_cause_is_one_of_the_ledger() {
        let ledger = receiver::Ledger::default();
        for (name, ..) in CAUSES {
            assert!(ledger.count(name).is_some(), "{name}");
        }
    }
}
