//! Rules: their text, and what each does to a value.

use std::net::IpAddr;
use std::str::FromStr;

/// The forms of rules, for messages.
const FORMS: &str = "group=A[:PORT]->B[:PORT], source=A[:PORT]->B[:PORT], port=A->B, mac=A->B or vlan=A->B";

/// One rule: `group=232.1.1.1:5000->232.9.9.9:6000`, `source=10.0.0.1->10.0.0.9`, `port=5000->6000`,
/// `mac=02:00:00:00:00:01->02:00:00:00:00:02` (the sender's), or `vlan=100->200`. `*` before the arrow is any value;
/// `none` is no VLAN tag. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteRule {
    text: String,
    pub(super) change: Change,
}

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The text is no rule.
    #[error("the rule {rule} is refused: {reason}; write {remedy}")]
    Rule {
        /// The text.
        rule: String,
        /// What is wrong with it.
        reason: String,
        /// What to write.
        remedy: String,
    },
    /// An earlier rule takes all that it fits.
    #[error("the rule {rule} never applies: the rule {earlier} comes first; remove one of them, or change their order")]
    NeverApplies {
        /// The text.
        rule: String,
        /// The text of the earlier rule.
        earlier: String,
    },
}

/// What a rule changes: `from` is `None` for any value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Group { from: Option<Endpoint>, to: Endpoint },
    Source { from: Option<Endpoint>, to: Endpoint },
    Port { from: Option<u16>, to: u16 },
    Mac { from: Option<[u8; 6]>, to: [u8; 6] },
    Vlan { from: Option<Tag>, to: Tag },
}

/// An address, with a port or for each port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

/// The outermost VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    None,
    Id(u16),
}

impl Change {
    /// The new group, and its port if the rule names one.
    pub(super) fn group(&self, group: IpAddr, ports: Option<(u16, u16)>) -> Option<(IpAddr, Option<u16>)> {
        let Self::Group { from, to } = self else { return None };
        replaced(from.as_ref(), to, group, ports.map(|(_, port)| port))
    }

    /// The new source, and its port if the rule names one.
    pub(super) fn source(&self, source: IpAddr, ports: Option<(u16, u16)>) -> Option<(IpAddr, Option<u16>)> {
        let Self::Source { from, to } = self else { return None };
        replaced(from.as_ref(), to, source, ports.map(|(port, _)| port))
    }

    /// The new port of the group.
    pub(super) fn port(&self, port: u16) -> Option<u16> {
        let Self::Port { from, to } = self else { return None };
        from.is_none_or(|from| from == port).then_some(*to)
    }

    /// The new MAC source.
    pub(super) fn mac(&self, mac: &[u8]) -> Option<[u8; 6]> {
        let Self::Mac { from, to } = self else { return None };
        from.is_none_or(|from| from == mac).then_some(*to)
    }

    /// The new outermost tag.
    pub(super) fn vlan(&self, tag: Tag) -> Option<Tag> {
        let Self::Vlan { from, to } = self else { return None };
        from.is_none_or(|from| from == tag).then_some(*to)
    }

    /// Returns true if this rule takes everything that a later one fits.
    pub(super) fn covers(&self, later: &Self) -> bool {
        fn any_or_same<T: PartialEq>(this: &Option<T>, later: &Option<T>) -> bool {
            this.is_none() || this == later
        }
        match (self, later) {
            (Self::Group { from, to }, Self::Group { from: later, to: other })
            | (Self::Source { from, to }, Self::Source { from: later, to: other }) => match (from, later) {
                (None, _) => to.address.is_ipv4() == other.address.is_ipv4(),
                (Some(from), Some(later)) => from.address == later.address && any_or_same(&from.port, &later.port),
                (Some(_), None) => false,
            },
            (Self::Port { from, .. }, Self::Port { from: later, .. }) => any_or_same(from, later),
            (Self::Mac { from, .. }, Self::Mac { from: later, .. }) => any_or_same(from, later),
            (Self::Vlan { from, .. }, Self::Vlan { from: later, .. }) => any_or_same(from, later),
            _ => false,
        }
    }
}

/// The port of a later fragment may be unknown: a rule that names one does not fit it then.
fn replaced(
    from: Option<&Endpoint>,
    to: &Endpoint,
    address: IpAddr,
    port: Option<u16>,
) -> Option<(IpAddr, Option<u16>)> {
    let fits = match from {
        Some(from) => from.address == address && (from.port.is_none() || from.port == port),
        None => to.address.is_ipv4() == address.is_ipv4(),
    };
    fits.then_some((to.address, to.port))
}

impl RewriteRule {
    pub(super) fn never_applies(&self, earlier: &Self) -> RewriteError {
        RewriteError::NeverApplies { rule: self.text.clone(), earlier: earlier.text.clone() }
    }
}

impl FromStr for RewriteRule {
    type Err = RewriteError;

    fn from_str(text: &str) -> Result<Self, RewriteError> {
        let refused = |(reason, remedy): (String, &str)| {
            let (rule, remedy) = (text.escape_debug().to_string(), remedy.to_owned());
            RewriteError::Rule { rule, reason, remedy }
        };
        Ok(Self { text: text.to_owned(), change: parse(text).map_err(refused)? })
    }
}

/// Why a text is no rule, and what to write.
type Reason = (String, &'static str);

fn parse(text: &str) -> Result<Change, Reason> {
    let Some((kind, values)) = text.split_once('=') else { return Err(("it has no `=`".to_owned(), FORMS)) };
    let Some((from, to)) = values.split_once("->") else {
        return Err(("it has no arrow `->` between two values".to_owned(), FORMS));
    };
    let (from, to) = (from.trim(), to.trim());
    Ok(match kind.trim() {
        kind @ ("group" | "source") => {
            let from = any_or(from, endpoint)?;
            let to = endpoint(to)?;
            if from.is_some_and(|from| from.address.is_ipv4() != to.address.is_ipv4()) {
                let reason = "its addresses are of two IP versions, which takes other headers".to_owned();
                return Err((reason, "two addresses of one version"));
            }
            if kind == "group" {
                let no_group = from.into_iter().chain([to]).find(|endpoint| !endpoint.address.is_multicast());
                if let Some(Endpoint { address, .. }) = no_group {
                    return Err((format!("{address} is no multicast group"), "a group, or source=A->B for a sender"));
                }
                Change::Group { from, to }
            } else {
                if to.address.is_multicast() || to.address.is_unspecified() {
                    return Err((format!("{} cannot be a source", to.address), "the unicast address of a sender"));
                }
                Change::Source { from, to }
            }
        }
        "port" => Change::Port { from: any_or(from, port)?, to: port(to)? },
        "mac" => {
            let to_mac = mac(to)?;
            if to_mac[0] & 1 == 1 || to_mac == [0; 6] {
                return Err((
                    format!("{to} cannot be a sender's address"),
                    "a unicast address; group=A->B sets a group's",
                ));
            }
            Change::Mac { from: any_or(from, mac)?, to: to_mac }
        }
        "vlan" => Change::Vlan { from: any_or(from, vlan)?, to: vlan(to)? },
        other => return Err((format!("`{other}` is no kind of rule"), FORMS)),
    })
}

/// The value before the arrow: `None` for any.
fn any_or<T>(text: &str, value: impl FnOnce(&str) -> Result<T, Reason>) -> Result<Option<T>, Reason> {
    if text == "*" { Ok(None) } else { value(text).map(Some) }
}

fn endpoint(text: &str) -> Result<Endpoint, Reason> {
    const REMEDY: &str = "an address such as 232.1.1.1, 232.1.1.1:5000, [ff3e::1] or [ff3e::1]:5000";
    let wrong = || (format!("`{text}` is no address"), REMEDY);
    let (address, behind) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, behind) = rest.split_once(']').ok_or_else(wrong)?;
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| wrong())?;
            (IpAddr::V6(address), behind)
        }
        None => {
            let (head, behind) = text.find(':').map_or((text, ""), |at| text.split_at(at));
            let address: std::net::Ipv4Addr = head.parse().map_err(|_| wrong())?;
            (IpAddr::V4(address), behind)
        }
    };
    let port = match behind.strip_prefix(':') {
        Some(text) => Some(port(text)?),
        None if behind.is_empty() => None,
        None => return Err(wrong()),
    };
    Ok(Endpoint { address, port })
}

fn port(text: &str) -> Result<u16, Reason> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| (format!("`{text}` is no UDP port"), "a number from 1 to 65535"))
}

fn mac(text: &str) -> Result<[u8; 6], Reason> {
    let wrong = || (format!("`{text}` is no MAC address"), "six bytes such as 02:00:00:00:00:01");
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    bytes.try_into().map_err(|_| wrong())
}

fn vlan(text: &str) -> Result<Tag, Reason> {
    if text == "none" {
        return Ok(Tag::None);
    }
    let id = text.parse().ok().filter(|id| (1..=4094).contains(id)).map(Tag::Id);
    id.ok_or_else(|| (format!("`{text}` is no VLAN id"), "a number from 1 to 4094, or none for no tag"))
}
