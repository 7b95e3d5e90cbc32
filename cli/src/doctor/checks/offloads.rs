//! What the NIC and the kernel do to packets before XDP or the sockets see them, and the MTU.

use std::collections::BTreeMap;

use receiver_host::ethtool;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

/// The largest MTU whose packets fit the frame of a mapped ring.
const RING_MTU: u32 = 10_186;

#[derive(Clone)]
struct Facts {
    interface: String,
    /// Each feature of `ethtool -k`, by the kernel's name.
    features: BTreeMap<String, bool>,
    /// True if frames carry a VLAN tag that the receiver compares.
    is_tagged: bool,
    mtu: u32,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    judge(&Facts {
        interface: subject.name().to_owned(),
        features: ethtool::features(subject.name()),
        is_tagged: subject.vlan.is_some(),
        mtu: subject.interface.mtu,
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { interface, features, mtu, .. } = facts;
    let is_on = |feature: &str| features.get(feature) == Some(&true);
    let off = |feature: &str| format!("ethtool -K {interface} {feature} off");
    let mut lines = Vec::new();
    if facts.is_tagged && is_on("rx-vlan-hw-parse") {
        let text = format!("{interface} removes VLAN tags (rxvlan) before XDP compares them: no frame matches");
        lines.push(Line::fail(text).remedy(off("rxvlan")));
    }
    if is_on("rx-lro") {
        let text = format!("{interface} joins packets (LRO), with which drivers refuse XDP");
        lines.push(Line::warn(text).remedy(off("lro")));
    }
    if is_on("rx-gro-hw") {
        let text = format!("{interface} joins packets in hardware (rx-gro-hw), with which drivers refuse XDP");
        lines.push(Line::warn(text).remedy(off("rx-gro-hw")));
    }
    for feature in ["rx-gro-list", "rx-udp-gro-forwarding"] {
        if is_on(feature) {
            let text = format!(
                "GRO joins UDP datagrams on {interface} ({feature}): mode generic passes them to the kernel path"
            );
            lines.push(Line::warn(text).remedy(off(feature)));
        }
    }
    if *mtu > RING_MTU {
        let text =
            format!("packets of the MTU of {interface}, {mtu}, are longer than a frame: they take the kernel path");
        lines.push(Line::warn(text).remedy(format!("ip link set {interface} mtu 9000")));
    }
    if lines.is_empty() {
        lines.push(match features.is_empty() {
            true => Line::skipped(format!("{interface} does not report its offloads")),
            false => Line::ok(format!("no offload of {interface} is in the way")),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Skipped, Warn};

    fn with(on: &str, is_tagged: bool, mtu: u32) -> Vec<Line> {
        let all = ["rx-gro", "rx-lro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding", "rx-vlan-hw-parse"];
        let features = all.map(|feature| (feature.to_owned(), feature == on)).into();
        judge(&Facts { interface: "eth1".to_owned(), features, is_tagged, mtu })
    }

    #[test]
    fn each_offload_is_turned_off_by_its_own_command() {
        assert_eq!(outcomes(&with("rx-gro", false, 1500)), [Ok]);
        for (feature, remedy) in [
            ("rx-lro", "ethtool -K eth1 lro off"),
            ("rx-gro-hw", "ethtool -K eth1 rx-gro-hw off"),
            ("rx-gro-list", "ethtool -K eth1 rx-gro-list off"),
            ("rx-udp-gro-forwarding", "ethtool -K eth1 rx-udp-gro-forwarding off"),
        ] {
            let lines = with(feature, true, 1500);
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some(remedy)));
        }
    }

    #[test]
    fn tags_and_lengths() {
        assert_eq!(outcomes(&with("rx-vlan-hw-parse", false, 1500)), [Ok]);
        let lines = with("rx-vlan-hw-parse", true, 1500);
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some("ethtool -K eth1 rxvlan off")));
        assert_eq!(outcomes(&with("", false, 65_535)), [Warn]);
        let silent = Facts { interface: "eth1".to_owned(), features: BTreeMap::new(), is_tagged: true, mtu: 9000 };
        assert_eq!(outcomes(&judge(&silent)), [Skipped]);
    }
}
