//! The reverse path filter, against the route to each source.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use receiver_host::Netlink;
use receiver_membership::in_sysctl;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

/// The most sources that are looked up: each costs a system call.
const MOST_CHECKED: usize = 1024;
/// The most sources for which a route is proposed.
const MOST_ROUTES: usize = 4;
/// A group that the kernel has joined on each interface, without a source filter.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

struct Facts {
    interface: String,
    checked: usize,
    refused: Vec<Ipv4Addr>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let sources: BTreeSet<Ipv4Addr> =
        subject.named_sources(MOST_CHECKED).into_iter().map(|(source, _)| source).collect();
    if sources.is_empty() {
        return vec![Line::skipped("no IPv4 source was named, so that no route can be checked")];
    }
    let netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => return vec![Line::skipped(format!("the kernel does not answer by netlink: {error}"))],
    };
    let index = subject.joined_on.index;
    let refused = |source: &&Ipv4Addr| netlink.refuses_source(**source, ALL_HOSTS, index).unwrap_or(false);
    judge(&Facts {
        interface: subject.joined_on.name.clone(),
        checked: sources.len(),
        refused: sources.iter().filter(refused).copied().collect(),
    })
}

fn judge(Facts { interface, checked, refused }: &Facts) -> Vec<Line> {
    if refused.is_empty() {
        let sources = crate::units::count(*checked as u64, "source");
        return vec![Line::ok(format!("the reverse path filter of {interface} accepts {sources}"))];
    }
    let named: Vec<String> = refused.iter().take(MOST_ROUTES).map(Ipv4Addr::to_string).collect();
    let more = match refused.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!(
        "the reverse path filter (rp_filter) of {interface} refuses packets from {}{more}, to which no route leads \
         there: mode socket receives nothing of them, and the modes with XDP lose their fragments",
        named.join(", ")
    );
    let remedy = match more.is_empty() {
        true => {
            let routes = named.iter().map(|source| format!("ip route add {source}/32 dev {interface}"));
            routes.collect::<Vec<_>>().join(" && ")
        }
        false => {
            format!("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{}.rp_filter=0", in_sysctl(interface))
        }
    };
    vec![Line::fail(text).remedy(remedy)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok};

    fn facts(refused: u8) -> Facts {
        let refused = (1..=refused).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
        Facts { interface: "eth1.7".to_owned(), checked: 9, refused }
    }

    #[test]
    fn few_sources_get_routes_and_many_turn_the_filter_off() {
        assert_eq!(outcomes(&judge(&facts(0))), [Ok]);
        let lines = judge(&facts(2));
        let routes = "ip route add 192.0.2.1/32 dev eth1.7 && ip route add 192.0.2.2/32 dev eth1.7";
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some(routes)));
        let lines = judge(&facts(6));
        let sysctl = "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1/7.rp_filter=0";
        assert_eq!(lines[0].remedy.as_deref(), Some(sysctl));
        assert!(lines[0].text.contains("192.0.2.4 and 2 more"), "{lines:?}");
    }
}
