//! A subscription: a group, a UDP port, and the sources that are wanted or blocked. Parsed and validated here, before
//! anything is opened.
//!
//! It is written `[SOURCE[,SOURCE…]@]GROUP:PORT`, blocked sources of an any-source subscription
//! `!SOURCE[,SOURCE…]@GROUP:PORT`; IPv6 addresses in brackets. VLC's `udp://@GROUP:PORT` and `udp://SOURCE@GROUP:PORT`
//! are understood as well:
//!
//! ```
//! use receiver_membership::Subscription;
//! let feed: Subscription = "10.0.0.1,10.0.0.2@232.1.1.1:5000".parse()?;
//! assert_eq!(feed.port(), 5000);
//! assert_eq!(feed.to_string(), "10.0.0.1,10.0.0.2@232.1.1.1:5000");
//! let v6: Subscription = "[fe80::1]@[ff3e::1]:5000".parse()?;
//! assert!(v6.group().is_ipv6());
//! # Ok::<(), receiver_membership::SubscriptionError>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A channel (S,G): one source that sends to one group (RFC 4607).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel {
    /// The sender's address.
    pub source: IpAddr,
    /// The group's address, of the same family.
    pub group: IpAddr,
}

/// The sources of a group that are accepted (RFC 3376, section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceFilter {
    /// Only these: source-specific multicast. Never empty in a [`Subscription`].
    Include(BTreeSet<IpAddr>),
    /// All except these: any-source multicast, with blocked sources.
    Exclude(BTreeSet<IpAddr>),
}

impl SourceFilter {
    /// The sources that the filter names, accepted or blocked.
    pub fn sources(&self) -> &BTreeSet<IpAddr> {
        match self {
            Self::Include(sources) | Self::Exclude(sources) => sources,
        }
    }

    /// Returns true for EXCLUDE mode.
    pub fn is_exclude(&self) -> bool {
        matches!(self, Self::Exclude(_))
    }
}

/// A group, a UDP port, and the sources that are accepted. Valid by construction.
///
/// ```
/// use receiver_membership::{Channel, Subscription};
///
/// let channel = Channel { source: "10.0.0.1".parse()?, group: "232.1.1.1".parse()? };
/// let feed = Subscription::channel(channel, 5000)?;
/// assert_eq!(feed, "10.0.0.1@232.1.1.1:5000".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    group: IpAddr,
    port: u16,
    filter: SourceFilter,
}

/// Why a subscription, a source or a group was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The text is not of the form `[SOURCE[,SOURCE…]@]GROUP:PORT`.
    #[error(
        "subscription `{}`: {reason}; write [SOURCE[,SOURCE...]@]GROUP:PORT or !SOURCE[,SOURCE...]@GROUP:PORT, \
         IPv6 addresses in brackets, as in 10.0.0.1@232.1.1.1:5000 or [fe80::1]@[ff3e::1]:5000",
        excerpt(text)
    )]
    Syntax {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The group is not a multicast address.
    #[error("group {0} is not a multicast address; groups are 224.0.0.0 to 239.255.255.255 and ff00::/8")]
    GroupNotMulticast(IpAddr),
    /// 232.0.0.0 must not be used (RFC 4607, section 1).
    #[error("group {0} is reserved and must not be used (RFC 4607, section 1); use another address of 232.0.0.0/8")]
    GroupReserved(IpAddr),
    /// An IPv6 group of which Linux takes no datagram from a network: scope 0, or 1, which stays within a host.
    #[error(
        "group {0} has scope {scope} in its fourth digit, and no host accepts a datagram to it from a network (RFC \
         4291, section 2.7); use a group with a wider scope, as ff02 for the link, ff05 for the site or ff0e for the \
         Internet",
        scope = scope(*.0)
    )]
    GroupScope(Ipv6Addr),
    /// The source is a multicast address.
    #[error("source {0} is a multicast address; name the unicast address of the sender")]
    SourceMulticast(IpAddr),
    /// The source is 0.0.0.0 or ::.
    #[error("source {0} is the unspecified address; name the sender's address, or name no source to accept all")]
    SourceUnspecified(IpAddr),
    /// The source can never appear on the wire: broadcast or loopback.
    #[error("source {0} cannot send to a group on a link; name the unicast address of the sender")]
    SourceUnusable(IpAddr),
    /// IPv4 source with an IPv6 group, or the other way round.
    #[error("source {source_address} and group {group} are of different families; name two IPv4 or two IPv6 addresses")]
    MixedFamilies {
        /// The source.
        source_address: IpAddr,
        /// The group.
        group: IpAddr,
    },
    /// Port 0.
    #[error("group {0} cannot be received on port 0; name the UDP port that the senders use, 1 to 65535")]
    PortZero(IpAddr),
    /// A source is in the list twice.
    #[error("source {0} is named twice in one subscription; name it once")]
    SourceTwice(IpAddr),
    /// An INCLUDE filter without a source accepts nothing.
    #[error("a source-specific subscription to group {0} needs at least one source; name one, or accept all sources")]
    NoSource(IpAddr),
    /// Any-source in a range that is for source-specific multicast only.
    #[error(
        "group {0} is in the source-specific range (232.0.0.0/8 and ff3x::/32, RFC 4607), where any-source \
         subscriptions are not allowed by default; name the sources, as in SOURCE@{shown}:PORT, or allow them in that \
         range",
        shown = bracketed(*.0)
    )]
    AsmInSsmRange(IpAddr),
}

impl Subscription {
    /// A subscription to `group`:`port`, from the sources that `filter` accepts.
    ///
    /// # Errors
    /// One for each way in which the three do not make sense, alone or together. An any-source filter in the
    /// source-specific range is not an error here, since it can be allowed: see [`Subscription::is_asm_in_ssm_range`].
    pub fn new(group: IpAddr, port: u16, filter: SourceFilter) -> Result<Self, SubscriptionError> {
        validate_group(group)?;
        validate_scope(group)?;
        if port == 0 {
            return Err(SubscriptionError::PortZero(group));
        }
        if filter == SourceFilter::Include(BTreeSet::new()) {
            return Err(SubscriptionError::NoSource(group));
        }
        for &source in filter.sources() {
            validate_source(source, group)?;
        }
        Ok(Self { group, port, filter })
    }

    /// A subscription to one channel.
    ///
    /// # Errors
    /// As [`Subscription::new`].
    pub fn channel(channel: Channel, port: u16) -> Result<Self, SubscriptionError> {
        Self::new(channel.group, port, SourceFilter::Include([channel.source].into()))
    }

    /// The group's address.
    pub fn group(&self) -> IpAddr {
        self.group
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The sources that are accepted.
    pub fn filter(&self) -> &SourceFilter {
        &self.filter
    }

    /// Returns true for an any-source subscription in 232.0.0.0/8 or ff3x::/32, which RFC 4607 reserves for
    /// source-specific use.
    pub fn is_asm_in_ssm_range(&self) -> bool {
        self.filter.is_exclude() && is_ssm_range(self.group)
    }

    /// The same group and port with another filter.
    ///
    /// # Errors
    /// As [`Subscription::new`].
    pub fn with_filter(&self, filter: SourceFilter) -> Result<Self, SubscriptionError> {
        Self::new(self.group, self.port, filter)
    }
}

/// Returns true if the address is in a range for source-specific multicast only: 232.0.0.0/8 or ff3x::/32 (RFC 4607).
pub fn is_ssm_range(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[0] == 232,
        IpAddr::V6(group) => {
            let segments = group.segments();
            segments[0] & 0xfff0 == 0xff30 && segments[1] == 0
        }
    }
}

/// Checks that a group can be joined.
///
/// # Errors
/// [`SubscriptionError::GroupNotMulticast`] and [`SubscriptionError::GroupReserved`].
pub fn validate_group(group: IpAddr) -> Result<(), SubscriptionError> {
    if !group.is_multicast() {
        return Err(SubscriptionError::GroupNotMulticast(group));
    }
    if group == IpAddr::V4(Ipv4Addr::new(232, 0, 0, 0)) {
        return Err(SubscriptionError::GroupReserved(group));
    }
    Ok(())
}

/// Checks that a group's datagrams can come from a network.
///
/// # Errors
/// [`SubscriptionError::GroupScope`].
fn validate_scope(group: IpAddr) -> Result<(), SubscriptionError> {
    match group {
        IpAddr::V6(group) if scope(group) <= 1 => Err(SubscriptionError::GroupScope(group)),
        _ => Ok(()),
    }
}

/// The scope of an IPv6 group (RFC 4291, section 2.7).
fn scope(group: Ipv6Addr) -> u8 {
    group.octets()[1] & 0x0f
}

/// Checks that a source can send to the group.
///
/// # Errors
/// [`SubscriptionError::MixedFamilies`], `SourceUnspecified`, `SourceMulticast`, `SourceUnusable`.
pub fn validate_source(source: IpAddr, group: IpAddr) -> Result<(), SubscriptionError> {
    if source.is_ipv4() != group.is_ipv4() {
        return Err(SubscriptionError::MixedFamilies { source_address: source, group });
    }
    if source.is_unspecified() {
        return Err(SubscriptionError::SourceUnspecified(source));
    }
    if source.is_multicast() {
        return Err(SubscriptionError::SourceMulticast(source));
    }
    let unusable = match source {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some(),
    };
    if unusable { Err(SubscriptionError::SourceUnusable(source)) } else { Ok(()) }
}

impl FromStr for Subscription {
    type Err = SubscriptionError;

    fn from_str(text: &str) -> Result<Self, SubscriptionError> {
        let syntax = |reason: String| SubscriptionError::Syntax { text: text.to_owned(), reason };
        if text.contains('\u{feff}') {
            let reason = "it holds a byte order mark (U+FEFF), which is invisible and may only begin a file: delete it";
            return Err(syntax(reason.into()));
        }
        let bare = without_scheme(text).map_err(syntax)?;
        let (sources, rest) = match bare.rsplit_once('@') {
            Some((sources, rest)) => (Some(sources), rest),
            None => (None, bare),
        };
        let (group, port) = rest.rsplit_once(':').ok_or_else(|| syntax("there is no `:PORT`".into()))?;
        let port = port.parse().map_err(|_| syntax(format!("`{}` is not a port number, 1 to 65535", excerpt(port))))?;
        if group.parse::<Ipv6Addr>().is_ok() {
            return Err(syntax(format!("`{group}` looks like IPv6: put it in brackets")));
        }
        let group = address(group).map_err(syntax)?;
        // VLC writes `@GROUP:PORT` for any-source multicast.
        let Some(sources) = sources.filter(|sources| !sources.is_empty()) else {
            return Self::new(group, port, SourceFilter::Exclude(BTreeSet::new()));
        };
        let (exclude, sources) = match sources.strip_prefix('!') {
            Some(blocked) => (true, blocked),
            None => (false, sources),
        };
        let mut set = BTreeSet::new();
        for source in sources.split(',') {
            let source = address(source).map_err(syntax)?;
            if !set.insert(source) {
                return Err(SubscriptionError::SourceTwice(source));
            }
        }
        Self::new(group, port, if exclude { SourceFilter::Exclude(set) } else { SourceFilter::Include(set) })
    }
}

/// The text after `udp://`, or the whole text if there is no scheme.
fn without_scheme(text: &str) -> Result<&str, String> {
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("udp") => Ok(rest),
        Some((scheme, _)) => Err(format!("`{}://` is not understood: write udp:// or no scheme", excerpt(scheme))),
        None => Ok(text),
    }
}

/// Characters of a text that a message shows.
const EXCERPT: usize = 80;

/// The beginning of a text, with characters escaped that are invisible or could control a terminal.
fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(EXCERPT) {
        match character {
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}

/// An IPv4 address, or an IPv6 address with or without brackets.
fn address(text: &str) -> Result<IpAddr, String> {
    if text.is_empty() {
        return Err("an address is missing".into());
    }
    let shown = excerpt(text);
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| format!("`{shown}` has no closing bracket"))?;
        if inner.contains('%') {
            return Err(format!("`{shown}` names a scope; the interface is named once, for the whole receiver"));
        }
        return inner.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| format!("`{shown}` is not an IPv6 address"));
    }
    text.parse().map_err(|_| format!("`{shown}` is not an IP address (names are not looked up)"))
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.filter.sources();
        if self.filter.is_exclude() && !sources.is_empty() {
            f.write_str("!")?;
        }
        for (i, source) in sources.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write_address(f, *source)?;
        }
        if !sources.is_empty() {
            f.write_str("@")?;
        }
        write_address(f, self.group)?;
        write!(f, ":{}", self.port)
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, address: IpAddr) -> fmt::Result {
    f.write_str(&bracketed(address))
}

/// An address as subscriptions have it: IPv6 in brackets.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> SubscriptionError {
        text.parse::<Subscription>().expect_err(text)
    }

    #[test]
    fn forms() {
        for text in [
            "232.1.1.1:5000",
            "10.0.0.1@232.1.1.1:5000",
            "10.0.0.1,10.0.0.2@232.1.1.1:5000",
            "!10.0.0.9@239.1.1.1:1",
            "[ff3e::1]:65535",
            "[2001:db8::1],[fe80::1]@[ff3e::8000:1]:5000",
            "![2001:db8::9]@[ff15::1]:5000",
        ] {
            assert_eq!(text.parse::<Subscription>().expect(text).to_string(), text);
        }
        // Unbracketed IPv6 sources are unambiguous, and shown with brackets.
        let bare: Subscription = "fe80::1@[ff3e::1]:5000".parse().expect("bare");
        assert_eq!(bare.to_string(), "[fe80::1]@[ff3e::1]:5000");
    }

    #[test]
    fn what_other_programs_write() {
        for (text, same) in [
            ("udp://239.1.1.1:5000", "239.1.1.1:5000"),
            ("UDP://239.1.1.1:5000", "239.1.1.1:5000"),
            ("@239.1.1.1:5000", "239.1.1.1:5000"),
            ("udp://@239.1.1.1:5000", "239.1.1.1:5000"),
            ("udp://10.0.0.1@232.1.1.1:5000", "10.0.0.1@232.1.1.1:5000"),
            ("udp://@[ff15::1]:5000", "[ff15::1]:5000"),
            ("udp://[2001:db8::1]@[ff3e::1]:5000", "[2001:db8::1]@[ff3e::1]:5000"),
        ] {
            assert_eq!(text.parse::<Subscription>().expect(text).to_string(), same, "{text}");
        }
    }

    #[test]
    fn syntax_is_refused_with_its_reason() {
        for (text, reason) in [
            ("rtp://@239.1.1.1:5004", "`rtp://` is not understood: write udp:// or no scheme"),
            ("udp://239.1.1.1:5000/a", "`5000/a` is not a port number, 1 to 65535"),
            ("udp://239.1.1.1", "there is no `:PORT`"),
            ("ff3e::1:5000", "`ff3e::1` looks like IPv6: put it in brackets"),
            ("a:b:5000", "`a:b` is not an IP address (names are not looked up)"),
            ("[ff3e::1:5000", "`[ff3e::1` has no closing bracket"),
            (
                "[ff3e::1%eth0]:5000",
                "`[ff3e::1%eth0]` names a scope; the interface is named once, for the whole receiver",
            ),
            ("!@239.1.1.1:5000", "an address is missing"),
            (
                "\u{feff}239.1.1.1:5000",
                "it holds a byte order mark (U+FEFF), which is invisible and may only begin a file: delete it",
            ),
        ] {
            let message = error(text).to_string();
            assert!(message.contains(&format!(": {reason}; write [SOURCE")), "{text}: {message}");
        }
        let message = error(&format!("\u{1b}[2J{}:5000", "x".repeat(1 << 20))).to_string();
        assert!(message.starts_with("subscription `\\u{1b}[2Jxxx") && message.len() < 700, "{message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn each_refusal_has_its_own_error() {
        use SubscriptionError as E;
        assert!(matches!(error("232.1.1.1"), E::Syntax { .. }));
        assert!(matches!(error("@:5000"), E::Syntax { .. }));
        assert!(matches!(error("!@232.1.1.1:5000"), E::Syntax { .. }));
        assert!(matches!(error("10.0.0.1,@232.1.1.1:5000"), E::Syntax { .. }));
        assert!(matches!(error("10.0.0.1@ff3e::1:5000"), E::Syntax { .. }));
        assert!(matches!(error("10.0.0.1@232.1.1.1:99999"), E::Syntax { .. }));
        assert!(matches!(error("host@232.1.1.1:5000"), E::Syntax { .. }));
        assert!(matches!(error("[fe80::1%eth0]@[ff3e::1]:5000"), E::Syntax { .. }));
        assert!(matches!(error("10.0.0.1@10.1.1.1:5000"), E::GroupNotMulticast(_)));
        assert!(matches!(error("10.0.0.1@232.0.0.0:5000"), E::GroupReserved(_)));
        assert!(matches!(error("224.0.0.9@232.1.1.1:5000"), E::SourceMulticast(_)));
        assert!(matches!(error("0.0.0.0@232.1.1.1:5000"), E::SourceUnspecified(_)));
        assert!(matches!(error("[::]@[ff3e::1]:5000"), E::SourceUnspecified(_)));
        assert!(matches!(error("127.0.0.1@232.1.1.1:5000"), E::SourceUnusable(_)));
        assert!(matches!(error("[fe80::1]@232.1.1.1:5000"), E::MixedFamilies { .. }));
        assert!(matches!(error("10.0.0.1@232.1.1.1:0"), E::PortZero(_)));
        assert!(matches!(error("10.0.0.1,10.0.0.1@232.1.1.1:5000"), E::SourceTwice(_)));
    }

    #[test]
    fn ssm_ranges() {
        let asm = |text: &str| text.parse::<Subscription>().expect(text).is_asm_in_ssm_range();
        assert!(asm("232.1.1.1:5000") && asm("!10.0.0.1@232.1.1.1:5000") && asm("[ff3e::1]:5000"));
        assert!(!asm("239.1.1.1:5000") && !asm("10.0.0.1@232.1.1.1:5000") && !asm("[ff15::1]:5000"));
        assert!(!asm("[ff3e:30:2001:db8::1]:5000"), "prefix-based groups (RFC 3306) are not in ff3x::/32");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = text.parse::<Subscription>();
        }

        #[test]
        fn shown_is_parsed_back(
            group in any::<[u8; 4]>(), port in 1u16.., sources in prop::collection::btree_set(any::<[u8; 4]>(), 0..4),
            exclude: bool,
        ) {
            let group = IpAddr::from([224 | group[0] & 0x0f, group[1], group[2], group[3]]);
            let sources: BTreeSet<IpAddr> = sources.into_iter().map(IpAddr::from).collect();
            let filter = if exclude { SourceFilter::Exclude(sources) } else { SourceFilter::Include(sources) };
            if let Ok(subscription) = Subscription::new(group, port, filter) {
                prop_assert_eq!(subscription.to_string().parse::<Subscription>(), Ok(subscription));
            }
        }
    }
}
