//! The version of IGMP and MLD, and the kernel's limits on memberships.

use receiver::Subscription;
use receiver_membership::Limits;
use receiver_membership::in_sysctl;
use receiver_membership::querier::{Compatibility, Warning, compatibility};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts<'a> {
    interface: &'a str,
    compatibility: Compatibility,
    limits: Limits,
    subscriptions: &'a [Subscription],
    wants: (bool, bool),
}

pub fn check(subject: &Subject) -> Vec<Line> {
    match compatibility(&subject.joined_on) {
        Ok(compatibility) => judge(&Facts {
            interface: &subject.joined_on.name,
            compatibility,
            limits: Limits::read(),
            subscriptions: &subject.subscriptions,
            wants: (subject.wants(false), subject.wants(true)),
        }),
        Err(error) => vec![Line::skipped(format!("/proc/net/igmp cannot be read: {error}"))],
    }
}

fn judge(facts: &Facts<'_>) -> Vec<Line> {
    let Facts { interface, compatibility, limits, subscriptions, wants } = facts;
    let sysctl = in_sysctl(interface);
    let mut lines = Vec::new();
    let lost = "only groups are reported, and joins of sources are not signalled";
    let igmpv3 =
        format!("sysctl -w net.ipv4.conf.{sysctl}.force_igmp_version=0 net.ipv4.conf.all.force_igmp_version=0");
    let mldv2 = format!("sysctl -w net.ipv6.conf.{sysctl}.force_mld_version=2 net.ipv6.conf.all.force_mld_version=0");
    for warning in compatibility.warnings(None) {
        lines.push(match warning {
            Warning::Igmp { .. } if !wants.0 => continue,
            Warning::MldForced { .. } | Warning::MldV1 { .. } if !wants.1 => continue,
            Warning::Igmp { version, forced: true, .. } => {
                let text = format!("{interface} is kept at {version} by force_igmp_version: {lost}");
                Line::fail(text).remedy(&igmpv3)
            }
            Warning::Igmp { version, forced: false, .. } => Line::fail(format!(
                "{interface} is in {version} compatibility mode, because a querier of that version is on the link; \
                 until 260 s after its last query {lost}. Configure the querier for IGMPv3"
            )),
            Warning::MldForced { .. } => {
                let text = format!("{interface} is kept at MLDv1 by force_mld_version: {lost}");
                Line::fail(text).remedy(&mldv2)
            }
            Warning::MldV1 { reports, .. } => {
                let text = format!(
                    "{reports} MLDv1 reports were sent on {interface}, because an MLDv1 querier is or was on the link; \
                     meanwhile {lost}"
                );
                Line::warn(text).remedy(&mldv2)
            }
            other => Line::warn(other.to_string()),
        });
    }
    for (ipv6, limit, name) in
        [(false, limits.igmp_max_msf, "net.ipv4.igmp_max_msf"), (true, limits.mld_max_msf, "net.ipv6.mld_max_msf")]
    {
        let of = subscriptions.iter().filter(|one| one.group().is_ipv6() == ipv6);
        let most = of.map(|one| one.filter().sources().len()).max().unwrap_or(0);
        if let Some(limit) = limit.filter(|&limit| most > limit) {
            let text = format!(
                "a group has {most} sources, and a socket can name {limit} of them, so that it takes several sockets; \
                 blocked sources above the limit are refused"
            );
            lines.push(Line::warn(text).remedy(format!("sysctl -w {name}={most}")));
        }
    }
    if lines.is_empty() {
        let igmp = compatibility.igmp.map_or_else(|| "no IPv4".to_owned(), |version| version.to_string());
        let mld = if compatibility.mld.is_some() { "MLDv2" } else { "no IPv6" };
        lines.push(Line::ok(format!("{igmp} and {mld} on {interface}, and limits that are large enough")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome;

    fn texts(sources: usize, wants: (bool, bool)) -> Vec<Line> {
        let lab = receiver_membership::InterfaceRef::new(1, "lo");
        let compatibility = compatibility(&lab).expect("/proc");
        let many: Vec<String> = (1..=sources).map(|last| format!("10.0.0.{last}")).collect();
        let subscription = format!("{}@232.1.1.1:5000", many.join(",")).parse().expect("a subscription");
        let mut limits = Limits::default();
        limits.igmp_max_msf = Some(10);
        judge(&Facts { interface: "lo", compatibility, limits, subscriptions: &[subscription], wants })
    }

    #[test]
    fn sources_above_the_limit() {
        assert_eq!(outcomes(&texts(10, (true, true))), [Outcome::Ok]);
        let lines = texts(11, (true, true));
        assert_eq!(lines[0].remedy.as_deref(), Some("sysctl -w net.ipv4.igmp_max_msf=11"));
    }
}
