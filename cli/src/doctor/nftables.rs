//! Follows one packet through the rules of nftables, as `nft -j list ruleset` prints them (libnftables-json(5)). What
//! is not understood makes the answer unclear.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

/// Jumps from chain to chain are followed this deep, as the kernel does.
const DEEPEST: usize = 16;

/// A received packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub interface: String,
    /// `None` for any source.
    pub source: Option<IpAddr>,
    pub group: IpAddr,
    pub payload: Payload,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Udp { port: u16 },
    Igmp,
    MldQuery,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    Dropped(Sentence),
    /// A rule that is not understood decides.
    Unclear(Sentence),
}

/// Where a packet is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The base chain.
    pub chain: ChainName,
    /// True if no rule but the chain's policy drops it.
    pub policy: bool,
}

/// The name of a chain, as commands of nft have it: `inet filter input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainName {
    family: String,
    table: String,
    name: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// All chains and rules.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    chains: Vec<Chain>,
}

#[derive(Clone, Debug)]
struct Chain {
    name: ChainName,
    /// The hook and the priority of a base chain.
    hook: Option<(String, i64)>,
    device: Option<String>,
    drops: bool,
    /// The expressions of each rule.
    rules: Vec<Vec<Value>>,
}

/// Whether a packet fits a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fits {
    No,
    Maybe,
    Yes,
}

/// A condition that is fully understood.
fn is(yes: bool) -> Fits {
    if yes { Fits::Yes } else { Fits::No }
}

/// How a chain ends for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    /// To the chain that jumped here.
    Return,
    /// The end of the rules, or a rule that may have ended it.
    Through,
}

impl Ruleset {
    /// Reads the output of nft. `None` if it has another form.
    pub fn of_json(value: &Value) -> Option<Self> {
        let mut this = Self::default();
        for object in value["nftables"].as_array()? {
            let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
            if let Some(chain) = object.get("chain") {
                let name = ChainName {
                    family: text(&chain["family"]),
                    table: text(&chain["table"]),
                    name: text(&chain["name"]),
                };
                let hook = chain["hook"].as_str().map(|hook| (hook.to_owned(), chain["prio"].as_i64().unwrap_or(0)));
                let device = chain["dev"].as_str().map(ToOwned::to_owned);
                let drops = chain["policy"] == "drop";
                this.chains.push(Chain { name, hook, device, drops, rules: Vec::new() });
            } else if let Some(rule) = object.get("rule") {
                let is_its = |chain: &&mut Chain| {
                    let ChainName { family, table, name } = &chain.name;
                    rule["family"] == **family && rule["table"] == **table && rule["chain"] == **name
                };
                let chain = this.chains.iter_mut().find(is_its)?;
                chain.rules.push(rule["expr"].as_array().cloned().unwrap_or_default());
            }
        }
        Some(this)
    }

    /// What becomes of a packet that is received: the first base chain that drops it, or that may.
    pub fn fate(&self, packet: &Packet) -> Fate {
        let mut fate = Fate::Accepted;
        for hook in ["ingress", "prerouting", "input"] {
            let mut chains: Vec<&Chain> = self.chains.iter().filter(|chain| chain.is_at(hook, packet)).collect();
            chains.sort_by_key(|chain| chain.hook.as_ref().map_or(0, |(_, priority)| *priority));
            for chain in chains {
                let mut unclear = false;
                let end = self.walk(chain, packet, &mut unclear, 0);
                let policy = end == End::Through || end == End::Return;
                let drops = end == End::Drop || policy && chain.drops;
                let sentence = Sentence { chain: chain.name.clone(), policy };
                match (drops, unclear) {
                    (true, false) => return Fate::Dropped(sentence),
                    (_, true) if fate == Fate::Accepted => fate = Fate::Unclear(sentence),
                    _ => {}
                }
            }
        }
        fate
    }

    /// Follows the rules of a chain. `unclear` becomes true if a rule that may apply could have changed the end.
    fn walk(&self, chain: &Chain, packet: &Packet, unclear: &mut bool, depth: usize) -> End {
        for rule in &chain.rules {
            let mut fits = Fits::Yes;
            for expression in rule {
                let verdict = match condition(expression, packet) {
                    Some(condition) => {
                        fits = fits.min(condition);
                        None
                    }
                    None => verdict(expression, packet, &mut fits),
                };
                if fits == Fits::No {
                    break;
                }
                let Some((kind, target)) = verdict else { continue };
                let end = match (kind.as_str(), target) {
                    ("accept", _) => End::Accept,
                    ("drop" | "reject", _) => End::Drop,
                    ("return", _) => End::Return,
                    ("jump" | "goto", Some(target)) if depth < DEEPEST => {
                        let next = self.chains.iter().find(|one| {
                            one.name.name == target
                                && one.name.table == chain.name.table
                                && one.name.family == chain.name.family
                        });
                        let inner = next.map_or(End::Through, |next| self.walk(next, packet, unclear, depth + 1));
                        match (inner, kind.as_str()) {
                            (End::Return | End::Through, "jump") => End::Through,
                            (End::Return | End::Through, _) => End::Return,
                            (end, _) => end,
                        }
                    }
                    _ => End::Through,
                };
                match (end, fits) {
                    (End::Through, _) => {}
                    (end, Fits::Yes) => return end,
                    // A rule that may accept counts too if the packet is dropped later on.
                    _ => *unclear = true,
                }
            }
        }
        End::Through
    }
}

impl Chain {
    fn is_at(&self, hook: &str, packet: &Packet) -> bool {
        let family = match self.name.family.as_str() {
            "ip" => packet.group.is_ipv4(),
            "ip6" => packet.group.is_ipv6(),
            "inet" => true,
            "netdev" => self.device.as_deref().is_none_or(|device| device == packet.interface),
            _ => false,
        };
        family && self.hook.as_ref().is_some_and(|(own, _)| own == hook)
    }
}

/// The verdict of an expression, and the chain that it names. `None` for counters, logs and the like. A verdict map
/// that may apply lowers `fits`.
fn verdict(expression: &Value, packet: &Packet, fits: &mut Fits) -> Option<(String, Option<String>)> {
    let of = |value: &Value| {
        let (kind, inner) = value.as_object()?.iter().next()?;
        let target = inner["target"].as_str().map(ToOwned::to_owned);
        ["accept", "drop", "reject", "return", "jump", "goto"].contains(&kind.as_str()).then(|| (kind.clone(), target))
    };
    if let Some(map) = expression.get("vmap") {
        let Some(pairs) = map["data"]["set"].as_array() else {
            *fits = (*fits).min(Fits::Maybe);
            return Some(("drop".to_owned(), None));
        };
        for pair in pairs {
            match compare(&map["key"], &pair[0], packet) {
                Fits::No => {}
                found => {
                    *fits = (*fits).min(found);
                    return of(&pair[1]);
                }
            }
        }
        return None;
    }
    of(expression)
}

/// Whether the packet fits a condition; `None` if the expression is none.
fn condition(expression: &Value, packet: &Packet) -> Option<Fits> {
    let (kind, inner) = expression.as_object()?.iter().next()?;
    match kind.as_str() {
        "match" => {
            let found = compare(&inner["left"], &inner["right"], packet);
            Some(match inner["op"].as_str() {
                Some("==" | "in") => found,
                Some("!=") => match found {
                    Fits::No => Fits::Yes,
                    Fits::Maybe => Fits::Maybe,
                    Fits::Yes => Fits::No,
                },
                _ => Fits::Maybe,
            })
        }
        "accept" | "drop" | "reject" | "return" | "jump" | "goto" | "vmap" => None,
        "counter" | "log" | "mangle" | "notrack" | "comment" => None,
        // Limits, quotas, and what iptables brings along.
        _ => Some(Fits::Maybe),
    }
}

/// Whether a field of the packet has a value.
fn compare(field: &Value, value: &Value, packet: &Packet) -> Fits {
    let any = |test: &dyn Fn(&Value) -> Fits| each(value).iter().map(|value| test(value)).max().unwrap_or(Fits::No);
    let protocols: &[&str] = match packet.payload {
        Payload::Udp { .. } => &["udp", "17"],
        Payload::Igmp => &["igmp", "2"],
        Payload::MldQuery => &["ipv6-icmp", "icmpv6", "58"],
    };
    let is_protocol = |value: &Value| is(protocols.contains(&text(value).as_str()));
    if let Some(key) = field["meta"]["key"].as_str() {
        return match key {
            "iifname" | "iif" => any(&|value| {
                let name = text(value);
                match name.strip_suffix('*') {
                    Some(prefix) => is(packet.interface.starts_with(prefix)),
                    None => is(packet.interface == name),
                }
            }),
            "l4proto" => any(&is_protocol),
            "nfproto" => any(&|value| is((text(value) == "ipv4") == packet.group.is_ipv4())),
            "protocol" => any(&|value| is((text(value) == "ip") == packet.group.is_ipv4())),
            "pkttype" => any(&|value| is(text(value) == "multicast")),
            _ => Fits::Maybe,
        };
    }
    if field["ct"]["key"] == "state" {
        // Nobody answers to a group: the state of such a packet is always that of the first one.
        return any(&|value| is(["new", "untracked"].contains(&text(value).as_str())));
    }
    let (Some(protocol), Some(name)) = (field["payload"]["protocol"].as_str(), field["payload"]["field"].as_str())
    else {
        return Fits::Maybe;
    };
    match (protocol, name, packet.payload) {
        ("ip" | "ip6", ..) if (protocol == "ip") != packet.group.is_ipv4() => Fits::No,
        ("ip" | "ip6", "daddr", _) => any(&|value| within(packet.group, value)),
        ("ip" | "ip6", "saddr", _) => match packet.source {
            Some(source) => any(&|value| within(source, value)),
            None => Fits::Maybe,
        },
        ("ip", "protocol", _) | ("ip6", "nexthdr", _) => any(&is_protocol),
        ("udp" | "th", "dport", Payload::Udp { port }) => any(&|value| is_port(port, value)),
        ("icmpv6", "type", Payload::MldQuery) => {
            any(&|value| is(["mld-listener-query", "130"].contains(&text(value).as_str())))
        }
        ("tcp" | "sctp" | "dccp" | "udplite" | "icmp" | "esp" | "ah", ..) => Fits::No,
        ("udp", _, Payload::Igmp | Payload::MldQuery) => Fits::No,
        ("igmp" | "icmpv6", _, Payload::Udp { .. }) => Fits::No,
        _ => Fits::Maybe,
    }
}

/// The values of a set, or the one value.
fn each(value: &Value) -> Vec<&Value> {
    match (value["set"].as_array(), value.as_array()) {
        (Some(values), _) | (None, Some(values)) => values.iter().collect(),
        _ => vec![value],
    }
}

/// A word or a number as text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Whether an address is a value, or within a prefix or a range.
fn within(address: IpAddr, value: &Value) -> Fits {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let parsed = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    if let (Some(of), Some(length)) = (parsed(&value["prefix"]["addr"]), value["prefix"]["len"].as_u64()) {
        let differs = bits(address) ^ bits(of);
        return is(differs.checked_shr(128 - length.min(128) as u32).unwrap_or(0) == 0);
    }
    if let (Some(first), Some(last)) = (parsed(&value["range"][0]), parsed(&value["range"][1])) {
        return is((bits(first)..=bits(last)).contains(&bits(address)));
    }
    parsed(value).map_or(Fits::Maybe, |one| is(one == address))
}

fn is_port(port: u16, value: &Value) -> Fits {
    if let (Some(first), Some(last)) = (value["range"][0].as_u64(), value["range"][1].as_u64()) {
        return is((first..=last).contains(&u64::from(port)));
    }
    value.as_u64().map_or(Fits::Maybe, |one| is(one == u64::from(port)))
}

impl Packet {
    /// The conditions of a rule for this packet in a chain.
    pub fn as_match(&self, chain: &ChainName) -> String {
        let interface = match chain.family.as_str() {
            // A chain of a device sees that device alone.
            "netdev" => String::new(),
            _ => format!("iifname \"{}\" ", self.interface),
        };
        let ip = if self.group.is_ipv4() { "ip" } else { "ip6" };
        let payload = match self.payload {
            Payload::Udp { port } => format!("{ip} daddr {} udp dport {port}", self.group),
            Payload::Igmp => "ip protocol igmp".to_owned(),
            Payload::MldQuery => "icmpv6 type mld-listener-query".to_owned(),
        };
        format!("{interface}{payload}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn packet() -> Packet {
        Packet {
            interface: "eth1".to_owned(),
            source: Some([10, 0, 0, 1].into()),
            group: [232, 1, 1, 1].into(),
            payload: Payload::Udp { port: 5000 },
        }
    }

    fn fate(policy: &str, rules: &[Value]) -> &'static str {
        let mut all = vec![
            json!({"chain": {"family": "inet", "table": "t", "name": "c", "hook": "input", "prio": 0,
                "policy": policy}}),
            json!({"chain": {"family": "inet", "table": "t", "name": "more"}}),
            json!({"rule": {"family": "inet", "table": "t", "chain": "more", "expr": [{"drop": null}]}}),
        ];
        all.extend(
            rules.iter().map(|expr| json!({"rule": {"family": "inet", "table": "t", "chain": "c", "expr": expr}})),
        );
        match Ruleset::of_json(&json!({ "nftables": all })).expect("rules").fate(&packet()) {
            Fate::Accepted => "accepted",
            Fate::Dropped(Sentence { policy: true, .. }) => "dropped by the policy",
            Fate::Dropped(_) => "dropped",
            Fate::Unclear(_) => "unclear",
        }
    }

    fn rule(protocol: &str, field: &str, op: &str, right: Value, verdict: &str) -> Value {
        let left = json!({"payload": {"protocol": protocol, "field": field}});
        json!([{"match": {"op": op, "left": left, "right": right}}, {"counter": {"packets": 0}}, {verdict: null}])
    }

    #[test]
    fn conditions() {
        for (protocol, field, right, fits) in [
            ("ip", "daddr", json!("232.1.1.1"), true),
            ("ip", "daddr", json!("232.1.1.2"), false),
            ("ip", "daddr", json!({"prefix": {"addr": "224.0.0.0", "len": 4}}), true),
            ("ip", "daddr", json!({"prefix": {"addr": "10.0.0.0", "len": 8}}), false),
            ("ip", "saddr", json!({"range": ["10.0.0.0", "10.0.0.9"]}), true),
            ("ip", "saddr", json!({"set": ["10.0.0.2", "10.0.0.1"]}), true),
            ("ip6", "daddr", json!("ff02::1"), false),
            ("ip", "protocol", json!("udp"), true),
            ("udp", "dport", json!(5000), true),
            ("udp", "dport", json!({"set": [53, {"range": [4000, 6000]}]}), true),
            ("udp", "dport", json!(5001), false),
            ("tcp", "dport", json!(5000), false),
            ("icmpv6", "type", json!("mld-listener-query"), false),
        ] {
            let of = |op: &str| fate("accept", &[rule(protocol, field, op, right.clone(), "drop")]);
            let (same, other) = if fits { ("dropped", "accepted") } else { ("accepted", "dropped") };
            assert_eq!((of("=="), of("!=")), (same, other), "{protocol} {field} {right}");
        }
    }

    #[test]
    fn the_first_verdict_and_then_the_policy_decide() {
        let mine = || rule("ip", "daddr", "==", json!("232.1.1.1"), "accept");
        assert_eq!(fate("accept", &[]), "accepted");
        assert_eq!(fate("drop", &[]), "dropped by the policy");
        assert_eq!(fate("drop", &[mine()]), "accepted");
        assert_eq!(fate("accept", &[mine(), json!([{"drop": null}])]), "accepted");
        assert_eq!(fate("accept", &[json!([{"jump": {"target": "more"}}])]), "dropped");
        assert_eq!(fate("accept", &[json!([{"jump": {"target": "no-such"}}])]), "accepted");
        let state = |states: Value| json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}});
        assert_eq!(
            fate("drop", &[json!([state(json!(["established", "related"])), {"accept": null}])]),
            "dropped by the policy"
        );
        assert_eq!(fate("drop", &[json!([state(json!(["new"])), {"accept": null}])]), "accepted");
        let map = json!({"vmap": {"key": {"meta": {"key": "iifname"}},
            "data": {"set": [["eth0", {"accept": null}], ["eth1", {"drop": null}]]}}});
        assert_eq!(fate("accept", &[json!([map])]), "dropped");
    }

    #[test]
    fn what_is_not_understood_makes_it_unclear() {
        let limit = json!({"limit": {"rate": 5, "per": "second"}});
        assert_eq!(fate("accept", &[json!([limit, {"drop": null}])]), "unclear");
        assert_eq!(fate("drop", &[json!([limit, {"accept": null}])]), "unclear");
        assert_eq!(fate("accept", &[rule("ip", "daddr", "==", json!("@groups"), "drop")]), "unclear");
        assert!(Ruleset::of_json(&json!({})).is_none());
    }

    #[test]
    fn other_families_and_devices() {
        let of = |family: &str, hook: &str, device: Value| {
            let chain = json!({"family": family, "table": "t", "name": "c", "hook": hook, "prio": 0, "policy": "drop",
                "dev": device});
            Ruleset::of_json(&json!({"nftables": [{"chain": chain}]})).expect("rules").fate(&packet()) != Fate::Accepted
        };
        assert!(of("ip", "prerouting", Value::Null) && of("netdev", "ingress", json!("eth1")));
        for (family, hook, device) in [
            ("ip6", "input", Value::Null),
            ("netdev", "ingress", json!("eth2")),
            ("inet", "output", Value::Null),
            ("bridge", "input", Value::Null),
        ] {
            assert!(!of(family, hook, device), "{family} {hook}");
        }
    }
}
