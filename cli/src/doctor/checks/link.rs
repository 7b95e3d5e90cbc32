//! The link: up, with a carrier, with multicast and addresses, and with both IP versions that are wanted.

use receiver_host::{LinkState, Netlink};
use receiver_membership::in_sysctl;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

/// IPv6 needs an MTU of 1,280 (RFC 8200, section 5).
const IPV6_MTU: u32 = 1280;

#[derive(Clone)]
struct Facts {
    interface: String,
    loopback: bool,
    up: bool,
    carrier: bool,
    multicast: bool,
    mtu: u32,
    /// IPv4 and IPv6: wanted, and there.
    ipv4: (bool, bool),
    ipv6: (bool, bool),
    ipv6_disabled: bool,
    /// An IPv4 address, and an IPv6 link-local address.
    addresses: (bool, bool),
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let interface = &subject.interface;
    let families = LinkState::read(subject.joined_on.index).ok().flatten().map(|state| state.families);
    let families = families.unwrap_or_default();
    let addresses = Netlink::open().and_then(|netlink| netlink.addresses(subject.joined_on.index)).unwrap_or_default();
    let has = |test: fn(&receiver_host::InterfaceAddress) -> bool| addresses.iter().any(test);
    judge(&Facts {
        interface: interface.name.clone(),
        loopback: interface.loopback,
        up: interface.up,
        carrier: interface.carrier,
        multicast: interface.multicast,
        mtu: interface.mtu,
        ipv4: (subject.wants(false), families.ipv4),
        ipv6: (subject.wants(true) && !subject.subscriptions.is_empty(), families.ipv6),
        ipv6_disabled: families.ipv6_disabled,
        addresses: (
            has(|one| one.address.is_ipv4()),
            has(|one| match one.address {
                std::net::IpAddr::V6(address) => address.is_unicast_link_local() && !one.tentative,
                std::net::IpAddr::V4(_) => false,
            }),
        ),
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let name = &facts.interface;
    if facts.loopback {
        return vec![Line::fail(format!(
            "{name} is the loopback interface, which no multicast from a network reaches"
        ))];
    }
    if !facts.up {
        return vec![Line::fail(format!("{name} is down")).remedy(format!("ip link set {name} up"))];
    }
    let mut lines = Vec::new();
    if !facts.carrier {
        let text = format!("{name} has no carrier: the cable, the switch port or the other end is missing");
        lines.push(Line::fail(text).remedy(format!("ethtool {name}")));
    }
    if !facts.multicast {
        let text = format!("{name} does not do multicast");
        lines.push(Line::fail(text).remedy(format!("ip link set {name} multicast on")));
    }
    let sysctl = in_sysctl(name);
    match facts.ipv6 {
        (true, false) if facts.mtu < IPV6_MTU => {
            let text = format!("the MTU of {name}, {}, is below 1280, so that it has no IPv6", facts.mtu);
            lines.push(Line::fail(text).remedy(format!("ip link set {name} mtu 1500")));
        }
        (true, there) if !there || facts.ipv6_disabled => {
            let text = format!("IPv6 is disabled on {name}");
            lines.push(Line::fail(text).remedy(format!("sysctl -w net.ipv6.conf.{sysctl}.disable_ipv6=0")));
        }
        (true, _) if !facts.addresses.1 => {
            let text = format!(
                "{name} has no IPv6 link-local address, so that MLD reports leave from ::, which \
                                routers ignore"
            );
            let remedy = format!(
                "sysctl -w net.ipv6.conf.{sysctl}.addr_gen_mode=0 && ip link set {name} down && ip \
                                  link set {name} up"
            );
            lines.push(Line::fail(text).remedy(remedy));
        }
        _ => {}
    }
    match facts.ipv4 {
        (true, false) => lines.push(
            Line::fail(format!("{name} has no IPv4: its MTU, {}, is too small", facts.mtu))
                .remedy(format!("ip link set {name} mtu 1500")),
        ),
        (true, true) if !facts.addresses.0 => lines.push(Line::warn(format!(
            "{name} has no IPv4 address: IGMP reports leave from 0.0.0.0, which some switches ignore"
        ))),
        _ => {}
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!("{name} is up, with a carrier and an MTU of {}", facts.mtu)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Warn};

    fn healthy() -> Facts {
        Facts {
            interface: "eth1.7".to_owned(),
            loopback: false,
            up: true,
            carrier: true,
            multicast: true,
            mtu: 1500,
            ipv4: (true, true),
            ipv6: (true, true),
            ipv6_disabled: false,
            addresses: (true, true),
        }
    }

    #[test]
    fn each_fault_has_its_remedy() {
        assert_eq!(outcomes(&judge(&healthy())), [Ok]);
        let faults = [
            (Facts { up: false, ..healthy() }, "ip link set eth1.7 up"),
            (Facts { carrier: false, ..healthy() }, "ethtool eth1.7"),
            (Facts { multicast: false, ..healthy() }, "ip link set eth1.7 multicast on"),
            (Facts { mtu: 1000, ipv6: (true, false), ..healthy() }, "ip link set eth1.7 mtu 1500"),
            (Facts { ipv6: (true, false), ..healthy() }, "sysctl -w net.ipv6.conf.eth1/7.disable_ipv6=0"),
            (Facts { ipv6_disabled: true, ..healthy() }, "sysctl -w net.ipv6.conf.eth1/7.disable_ipv6=0"),
            (Facts { mtu: 60, ipv4: (true, false), ..healthy() }, "ip link set eth1.7 mtu 1500"),
        ];
        for (facts, remedy) in faults {
            let lines = judge(&facts);
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some(remedy)));
        }
        assert_eq!(outcomes(&judge(&Facts { loopback: true, ..healthy() })), [Fail]);
    }

    #[test]
    fn addresses_of_reports() {
        assert_eq!(outcomes(&judge(&Facts { addresses: (false, true), ..healthy() })), [Warn]);
        assert_eq!(outcomes(&judge(&Facts { addresses: (true, false), ..healthy() })), [Fail]);
        let unwanted = Facts { addresses: (true, false), ipv6: (false, false), ..healthy() };
        assert_eq!(outcomes(&judge(&unwanted)), [Ok]);
    }
}
