//! A bond, a bridge or a VLAN interface in place of the NIC that the frames come in on.

use receiver_host::{Related, Relations};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts<'a> {
    interface: &'a str,
    relations: &'a Relations,
    /// The option `--vlan` as it was given, or nothing.
    vlan: String,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    judge(&Facts { interface: subject.name(), relations: &subject.relations, vlan: subject.vlan_option() })
}

fn judge(facts: &Facts<'_>) -> Vec<Line> {
    let Facts { interface, relations, vlan } = facts;
    let kind = relations.kind.as_str();
    let doctor = |name: &str, options: &str| format!("receiver doctor -i {name}{options}");
    let mut lines = Vec::new();
    match (kind, &relations.lower, relations.members.as_slice()) {
        ("vlan", Some(Related { name, .. }), _) => {
            let id = interface.rsplit('.').next().filter(|id| id.parse::<u16>().is_ok()).unwrap_or("ID");
            let text = format!(
                "{interface} is a VLAN interface: XDP in the driver is on {name}, which has the frames \
                                with their tag"
            );
            lines.push(Line::warn(text).remedy(doctor(name, &format!(" --vlan {id}"))));
        }
        ("macvlan" | "macvtap" | "ipvlan", Some(Related { name, .. }), _) => {
            let text = format!("{interface} is a {kind} interface on {name}: XDP in the driver is on {name} alone");
            lines.push(Line::warn(text).remedy(doctor(name, vlan)));
        }
        ("bond" | "team" | "bridge", _, members) => {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            let text = match names.as_slice() {
                [] => format!("{interface} is a {kind} without a member"),
                names => {
                    format!("{interface} is a {kind} of {}: XDP in the driver is on the members", names.join(", "))
                }
            };
            let line = Line::warn(text);
            lines.push(match names.first() {
                Some(first) => line.remedy(doctor(first, vlan)),
                None => line,
            });
        }
        _ => {}
    }
    if let Some(master) = &relations.master {
        let text = format!(
            "{interface} belongs to the {} {}, which takes its frames: sockets on {interface} receive nothing, and \
             membership reports leave from {}",
            master.kind, master.name, master.name
        );
        lines.push(Line::warn(text).remedy(format!("ip link set {interface} nomaster")));
    }
    if !relations.uppers.is_empty() {
        let names: Vec<&str> = relations.uppers.iter().map(|one| one.name.as_str()).collect();
        let macvlan = relations.uppers.iter().any(|one| one.kind != "vlan");
        let text = format!("{} stand on {interface}", names.join(", "));
        lines.push(match macvlan {
            true => Line::warn(format!(
                "{text}; who receives through them is not seen as a member of a group, and loses its packets to XDP"
            ))
            .remedy(format!("receiver run -i {interface}{vlan} --share SUBSCRIPTION")),
            false => Line::ok(text),
        });
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!("{interface} belongs to no bond or bridge, and stands on no other interface")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Warn};

    /// From the tables of `ip link`: a relation cannot be made outside of its crate but by reading.
    fn related(name: &str, kind: &str) -> Related {
        Related::new(name, kind)
    }

    fn lines(interface: &str, change: impl FnOnce(&mut Relations)) -> Vec<Line> {
        let mut relations = Relations::default();
        change(&mut relations);
        judge(&Facts { interface, relations: &relations, vlan: String::new() })
    }

    #[test]
    fn what_stands_in_between_is_named_with_what_to_examine() {
        assert_eq!(outcomes(&lines("eth1", |_| {})), [Ok]);
        let vlan = lines("eth1.7", |it| (it.kind, it.lower) = ("vlan".into(), Some(related("eth1", ""))));
        assert_eq!(
            (outcomes(&vlan), vlan[0].remedy.as_deref()),
            (vec![Warn], Some("receiver doctor -i eth1 --vlan 7"))
        );
        let bond = lines("bond0", |it| (it.kind, it.members) = ("bond".into(), vec![related("eth1", "")]));
        assert_eq!((outcomes(&bond), bond[0].remedy.as_deref()), (vec![Warn], Some("receiver doctor -i eth1")));
        assert!(bond[0].text.contains("bond of eth1"), "{bond:?}");
        let member = lines("eth1", |it| it.master = Some(related("bond0", "bond")));
        assert_eq!((outcomes(&member), member[0].remedy.as_deref()), (vec![Warn], Some("ip link set eth1 nomaster")));
        let upper = lines("eth1", |it| it.uppers = vec![related("eth1.7", "vlan")]);
        assert_eq!(outcomes(&upper), [Ok]);
        let upper = lines("eth1", |it| it.uppers = vec![related("mac0", "macvlan")]);
        assert!(upper[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("--share")), "{upper:?}");
        let empty = lines("br0", |it| it.kind = "bridge".into());
        assert_eq!((outcomes(&empty), &empty[0].remedy), (vec![Warn], &None));
    }
}
