//! The required membership table as data, and a runner that tries each row on this host: with this library, and with
//! the bare kernel by raw socket options.
//!
//! The rows are those of the KAME MLDv2 notes (Asaeda), with additions that make the table complete. The requests have
//! symbols for their sources, so that one table serves both families.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::errno::Errno;
use crate::sockopt as opt;
use crate::{InterfaceRef, MembershipSocket, OptionStyle, Request, SocketError, SourceFilter, State};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, by IGMP.
    V4,
    /// IPv6, by MLD.
    V6,
}

/// A source, by its role in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One source.
    S,
    /// Another one.
    T,
    /// A multicast address, which cannot be a source.
    Multicast,
    /// 0.0.0.0 or ::, which cannot be a source.
    Unspecified,
}

/// A request of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// JOIN_GROUP.
    JoinGroup,
    /// LEAVE_GROUP.
    LeaveGroup,
    /// JOIN_SOURCE_GROUP.
    JoinSource(Source),
    /// LEAVE_SOURCE_GROUP.
    LeaveSource(Source),
    /// BLOCK_SOURCE.
    Block(Source),
    /// UNBLOCK_SOURCE.
    Unblock(Source),
    /// MSFILTER with INCLUDE and these sources.
    SetInclude(&'static [Source]),
    /// MSFILTER with EXCLUDE and these sources.
    SetExclude(&'static [Source]),
}

/// A row: after the previous requests, all of which succeed, the following one must have the required answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The requests that a new socket makes first.
    pub previous: &'static [Step],
    /// The request that follows.
    pub following: Step,
    /// The required error number; `None` for success.
    pub required: Option<Errno>,
    /// True if the row is not in the KAME table, but an addition that makes it complete.
    pub addition: bool,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success.
    Ok,
    /// This error number.
    Errno(Errno),
    /// Another failure: of a previous request, or for lack of an interface address.
    Other(String),
}

/// The result of one row in one family and one option style on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowResult {
    /// The family.
    pub family: Family,
    /// The option style.
    pub style: OptionStyle,
    /// The row.
    pub row: &'static Row,
    /// The required state after the row: a request that fails changes nothing.
    pub required_state: State,
    /// The answer of this library.
    pub ours: Answer,
    /// The state that the kernel held after it.
    pub our_state: Option<State>,
    /// The answer of the bare kernel, and the state that it held after it; `None` if the option style has no such
    /// request.
    pub kernel: Option<(Answer, Option<State>)>,
}

const fn row(previous: &'static [Step], following: Step, required: Option<Errno>) -> Row {
    Row { previous, following, required, addition: false }
}

const fn addition(previous: &'static [Step], following: Step, required: Option<Errno>) -> Row {
    Row { previous, following, required, addition: true }
}

use Source::{Multicast, S, T, Unspecified};
use Step::{Block, JoinGroup, JoinSource, LeaveGroup, LeaveSource, SetExclude, SetInclude, Unblock};

const OK: Option<Errno> = None;
const IN_USE: Option<Errno> = Some(Errno::ADDRINUSE);
const NOT_AVAILABLE: Option<Errno> = Some(Errno::ADDRNOTAVAIL);
const INVALID: Option<Errno> = Some(Errno::INVAL);
const BLOCKED: &[Step] = &[JoinGroup, Block(S)];

/// The required table, and the additions.
pub static TABLE: &[Row] = &[
    row(&[JoinGroup], JoinGroup, IN_USE),
    row(&[JoinGroup], LeaveGroup, OK),
    row(&[JoinGroup], JoinSource(S), INVALID),
    row(&[JoinGroup], LeaveSource(S), INVALID),
    row(&[JoinGroup], Block(S), OK),
    row(&[JoinSource(S)], JoinGroup, IN_USE),
    row(&[JoinSource(S)], LeaveGroup, OK),
    row(&[JoinSource(S)], JoinSource(S), NOT_AVAILABLE),
    row(&[JoinSource(S)], JoinSource(T), OK),
    row(&[JoinSource(S)], LeaveSource(S), OK),
    row(&[JoinSource(S)], LeaveSource(T), NOT_AVAILABLE),
    row(&[JoinSource(S)], Block(S), INVALID),
    row(&[JoinSource(S)], Unblock(S), INVALID),
    row(BLOCKED, JoinGroup, IN_USE),
    row(BLOCKED, LeaveGroup, OK),
    row(BLOCKED, JoinSource(S), INVALID),
    row(BLOCKED, LeaveSource(S), INVALID),
    row(BLOCKED, Block(S), NOT_AVAILABLE),
    row(BLOCKED, Block(T), OK),
    row(BLOCKED, Unblock(S), OK),
    row(BLOCKED, Unblock(T), NOT_AVAILABLE),
    // From "not a member".
    addition(&[], JoinGroup, OK),
    addition(&[], JoinSource(S), OK),
    addition(&[], LeaveGroup, NOT_AVAILABLE),
    addition(&[], LeaveSource(S), INVALID),
    addition(&[], Block(S), INVALID),
    addition(&[], Unblock(S), INVALID),
    // Sequences beyond those of the KAME table.
    addition(&[JoinGroup], Unblock(S), NOT_AVAILABLE),
    addition(&[JoinSource(S)], Block(T), INVALID),
    addition(&[JoinSource(S)], Unblock(T), INVALID),
    addition(BLOCKED, JoinSource(T), INVALID),
    addition(BLOCKED, LeaveSource(T), INVALID),
    addition(&[JoinGroup, Block(S), Unblock(S)], JoinSource(S), INVALID),
    addition(&[JoinGroup, Block(S), Unblock(S)], LeaveSource(S), INVALID),
    addition(&[JoinSource(S), JoinSource(T)], LeaveSource(S), OK),
    addition(&[JoinSource(S), LeaveSource(S)], LeaveGroup, NOT_AVAILABLE),
    addition(&[JoinSource(S), LeaveSource(S)], JoinGroup, OK),
    // Full state (RFC 3678, section 4.2), as Linux has it: a membership comes first, and INCLUDE without a source
    // leaves.
    addition(&[], SetInclude(&[S]), INVALID),
    addition(&[], SetExclude(&[]), INVALID),
    addition(&[JoinSource(S)], SetInclude(&[S, T]), OK),
    addition(&[JoinSource(S)], SetInclude(&[]), OK),
    addition(&[JoinSource(S)], SetExclude(&[T]), OK),
    addition(&[JoinGroup], SetInclude(&[S]), OK),
    addition(&[JoinGroup], SetInclude(&[]), OK),
    // Addresses that cannot be sources.
    addition(&[], JoinSource(Multicast), INVALID),
    addition(&[], JoinSource(Unspecified), INVALID),
    addition(&[JoinGroup], Block(Multicast), INVALID),
    addition(&[JoinGroup], Block(Unspecified), INVALID),
];

/// Tries every row on this host: both families, all option styles. Each row joins one documentation group (RFC 6676:
/// 233.252.0.1, ff05::db8:0:1) on the interface and leaves it again, twice.
///
/// # Errors
/// A socket of a family cannot be opened: `EAFNOSUPPORT` without IPv6. A failure within a row is in its result.
pub fn run(interface: &InterfaceRef) -> io::Result<Vec<RowResult>> {
    let mut results = Vec::with_capacity(2 * OptionStyle::ALL.len() * TABLE.len());
    for family in [Family::V4, Family::V6] {
        for style in OptionStyle::ALL {
            for row in TABLE {
                results.push(try_row(family, style, row, interface)?);
            }
        }
    }
    Ok(results)
}

fn try_row(family: Family, style: OptionStyle, row: &'static Row, interface: &InterfaceRef) -> io::Result<RowResult> {
    let group = family.group();
    let mut ours = MembershipSocket::new(family.socket()?, interface.clone(), style);
    let mut answer = Answer::Ok;
    for step in row.previous {
        if answer == Answer::Ok {
            answer = Answer::previous(&ours_to(&mut ours, family, *step), *step);
        }
    }
    if answer == Answer::Ok {
        answer = ours_to(&mut ours, family, row.following);
    }
    let our_state = ours.kernel_state(group).ok();
    drop(ours);
    Ok(RowResult {
        family,
        style,
        row,
        required_state: row.required_state(family),
        ours: answer,
        our_state,
        kernel: bare(family, style, row, interface)?,
    })
}

fn ours_to(socket: &mut MembershipSocket<Socket>, family: Family, step: Step) -> Answer {
    match socket.request(family.group(), &step.request(family)) {
        Ok(()) => Answer::Ok,
        Err(SocketError::Refused(refusal)) => Answer::Errno(refusal.errno()),
        Err(SocketError::Invalid(_)) => Answer::Errno(Errno::INVAL),
        Err(SocketError::Kernel { errno, .. }) => Answer::Errno(errno),
        Err(other) => Answer::Other(other.to_string()),
    }
}

/// The same with the kernel alone. The full-state styles have one request, to set the filter; only its rows apply to
/// them.
fn bare(
    family: Family,
    style: OptionStyle,
    row: &Row,
    interface: &InterfaceRef,
) -> io::Result<Option<(Answer, Option<State>)>> {
    let full_state = matches!(style, OptionStyle::FullState | OptionStyle::FullStateProtocolSpecific);
    if full_state && !matches!(row.following, SetInclude(_) | SetExclude(_)) {
        return Ok(None);
    }
    let socket = family.socket()?;
    let fd = socket.as_fd();
    let mut answer = Answer::Ok;
    for step in row.previous {
        if answer == Answer::Ok {
            answer = Answer::previous(&Answer::of(bare_to(fd, family, style, *step, interface)), *step);
        }
    }
    if answer == Answer::Ok {
        answer = Answer::of(bare_to(fd, family, style, row.following, interface));
    }
    let state = opt::mcast_filter(fd, interface.index, family.group(), 2).ok();
    Ok(Some((answer, state)))
}

fn bare_to(
    fd: BorrowedFd<'_>,
    family: Family,
    style: OptionStyle,
    step: Step,
    interface: &InterfaceRef,
) -> Result<(), Errno> {
    let (index, group) = (interface.index, family.group());
    let own = matches!(style, OptionStyle::ProtocolSpecific | OptionStyle::FullStateProtocolSpecific);
    let of_group = |ip, ipv6, mcast| match (own, group) {
        (true, IpAddr::V4(group)) => opt::ip_group(fd, ip, index, group),
        (true, IpAddr::V6(group)) => opt::ipv6_group(fd, ipv6, index, group),
        _ => opt::mcast_group(fd, mcast, index, group),
    };
    let of_source = |ip, mcast, source: Source| match (own, group, family.address(source)) {
        (true, IpAddr::V4(group), IpAddr::V4(source)) => {
            opt::ip_source(fd, ip, opt::interface_address(fd, index)?, group, source)
        }
        (_, _, source) => opt::mcast_source(fd, mcast, index, group, source),
    };
    match step {
        JoinGroup => of_group(opt::IP_ADD_MEMBERSHIP, opt::IPV6_ADD_MEMBERSHIP, opt::MCAST_JOIN_GROUP),
        LeaveGroup => of_group(opt::IP_DROP_MEMBERSHIP, opt::IPV6_DROP_MEMBERSHIP, opt::MCAST_LEAVE_GROUP),
        JoinSource(source) => of_source(opt::IP_ADD_SOURCE_MEMBERSHIP, opt::MCAST_JOIN_SOURCE_GROUP, source),
        LeaveSource(source) => of_source(opt::IP_DROP_SOURCE_MEMBERSHIP, opt::MCAST_LEAVE_SOURCE_GROUP, source),
        Block(source) => of_source(opt::IP_BLOCK_SOURCE, opt::MCAST_BLOCK_SOURCE, source),
        Unblock(source) => of_source(opt::IP_UNBLOCK_SOURCE, opt::MCAST_UNBLOCK_SOURCE, source),
        SetInclude(sources) | SetExclude(sources) => {
            let sources = family.addresses(sources);
            let filter = match step {
                SetExclude(_) => SourceFilter::Exclude(sources),
                _ => SourceFilter::Include(sources),
            };
            match (own, group) {
                (true, IpAddr::V4(group)) => opt::set_ip_filter(fd, opt::interface_address(fd, index)?, group, &filter),
                _ => opt::set_mcast_filter(fd, index, group, &filter),
            }
        }
    }
}

impl Family {
    /// The group that the table is tried with: one for documentation (RFC 6676), outside the SSM ranges.
    pub fn group(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(233, 252, 0, 1).into(),
            Self::V6 => Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0xdb8, 0, 1).into(),
        }
    }

    /// The address for a source: from the blocks for documentation (RFC 5737, RFC 3849).
    pub fn address(self, source: Source) -> IpAddr {
        match (self, source) {
            (Self::V4, S) => Ipv4Addr::new(192, 0, 2, 1).into(),
            (Self::V4, T) => Ipv4Addr::new(192, 0, 2, 2).into(),
            (Self::V4, Multicast) => Ipv4Addr::new(233, 252, 0, 9).into(),
            (Self::V4, Unspecified) => Ipv4Addr::UNSPECIFIED.into(),
            (Self::V6, S) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            (Self::V6, T) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into(),
            (Self::V6, Multicast) => Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0xdb8, 0, 9).into(),
            (Self::V6, Unspecified) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn addresses(self, sources: &[Source]) -> BTreeSet<IpAddr> {
        sources.iter().map(|&source| self.address(source)).collect()
    }

    /// A state with the symbols of the table in place of addresses: `INCLUDE{s,t}`.
    pub fn symbols(self, state: &State) -> String {
        let (mode, sources) = match state {
            State::NotMember => return "not a member".to_owned(),
            State::Include(sources) => ("INCLUDE", sources),
            State::Exclude(sources) => ("EXCLUDE", sources),
        };
        let symbol = |address: &IpAddr| {
            [S, T, Multicast, Unspecified]
                .into_iter()
                .find(|&source| self.address(source) == *address)
                .map_or_else(|| address.to_string(), |source| source.to_string())
        };
        format!("{mode}{{{}}}", sources.iter().map(symbol).collect::<Vec<_>>().join(","))
    }

    fn socket(self) -> io::Result<Socket> {
        let domain = match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        };
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
    }
}

impl Step {
    fn request(self, family: Family) -> Request {
        match self {
            JoinGroup => Request::JoinGroup,
            LeaveGroup => Request::LeaveGroup,
            JoinSource(source) => Request::JoinSource(family.address(source)),
            LeaveSource(source) => Request::LeaveSource(family.address(source)),
            Block(source) => Request::Block(family.address(source)),
            Unblock(source) => Request::Unblock(family.address(source)),
            SetInclude(sources) => Request::SetSources(SourceFilter::Include(family.addresses(sources))),
            SetExclude(sources) => Request::SetSources(SourceFilter::Exclude(family.addresses(sources))),
        }
    }
}

impl Row {
    /// The required state after the row. If the following request must fail, it is the state before it.
    pub fn required_state(&self, family: Family) -> State {
        let following = self.required.is_none().then_some(&self.following);
        let mut state = State::NotMember;
        for step in self.previous.iter().chain(following) {
            // The table's requests are legal, which a test below checks.
            let _ = state.apply(&step.request(family));
        }
        state
    }

    /// The previous requests in words.
    pub fn previous_words(&self) -> String {
        match self.previous {
            [] => "-".to_owned(),
            steps => steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Answer {
    fn of(result: Result<(), Errno>) -> Self {
        result.map_or_else(Self::Errno, |()| Self::Ok)
    }

    /// A previous request that failed makes the row void.
    fn previous(answer: &Self, step: Step) -> Self {
        match answer {
            Self::Ok => Self::Ok,
            failed => Self::Other(format!("{step} before: {failed}")),
        }
    }

    /// The required answer of a row.
    pub fn required(row: &Row) -> Self {
        row.required.map_or(Self::Ok, Self::Errno)
    }
}

impl RowResult {
    /// Returns true if this library answered as required, and the kernel then held the required state.
    pub fn is_as_required(&self) -> bool {
        self.ours == Answer::required(self.row) && self.our_state.as_ref() == Some(&self.required_state)
    }

    /// Returns true if the bare kernel did not answer as required, or held another state.
    pub fn kernel_differs(&self) -> bool {
        self.kernel.as_ref().is_some_and(|(answer, state)| {
            *answer != Answer::required(self.row) || state.as_ref() != Some(&self.required_state)
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            S => "s",
            T => "t",
            Multicast => "multicast",
            Unspecified => "unspecified",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |sources: &[Source]| sources.iter().map(Source::to_string).collect::<Vec<_>>().join(",");
        match self {
            JoinGroup => f.write_str("JOIN_GROUP"),
            LeaveGroup => f.write_str("LEAVE_GROUP"),
            JoinSource(source) => write!(f, "JOIN_SOURCE_GROUP({source})"),
            LeaveSource(source) => write!(f, "LEAVE_SOURCE_GROUP({source})"),
            Block(source) => write!(f, "BLOCK_SOURCE({source})"),
            Unblock(source) => write!(f, "UNBLOCK_SOURCE({source})"),
            SetInclude(sources) => write!(f, "MSFILTER INCLUDE{{{}}}", list(sources)),
            SetExclude(sources) => write!(f, "MSFILTER EXCLUDE{{{}}}", list(sources)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("0"),
            Self::Errno(errno) => match errno.name() {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {}", errno.raw_os_error()),
            },
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of requests that the table of the KAME notes has: 17 lines, four of which ask for the same source or
    /// another.
    #[test]
    fn the_table_is_whole() {
        assert_eq!(TABLE.iter().filter(|row| !row.addition).count(), 21);
        for (i, row) in TABLE.iter().enumerate() {
            let twin = TABLE[i + 1..].iter().find(|r| r.previous == row.previous && r.following == row.following);
            assert_eq!(twin, None, "twice");
        }
    }

    /// The state machine alone answers each row as required, if its sources can be sources.
    #[test]
    fn the_state_machine_keeps_it() {
        for family in [Family::V4, Family::V6] {
            for row in TABLE {
                let mut state = State::NotMember;
                for step in row.previous {
                    state.apply(&step.request(family)).expect("previous requests are legal");
                }
                let before = state.clone();
                let words = format!("{} then {}", row.previous_words(), row.following);
                let answer = state.apply(&row.following.request(family)).err().map(|refusal| refusal.errno());
                let no_source = [Multicast, Unspecified].map(|source| family.address(source));
                if row.following.request(family).source().is_some_and(|source| no_source.contains(&source)) {
                    // Judged before the state machine.
                    assert_eq!(row.required_state(family), before, "{words}");
                    continue;
                }
                assert_eq!(answer, row.required, "{words}");
                assert_eq!(row.required_state(family), state, "{words}");
            }
        }
    }

    #[test]
    fn words() {
        let state = State::Include([Family::V4.address(T), Family::V4.address(S)].into());
        assert_eq!(Family::V4.symbols(&state), "INCLUDE{s,t}");
        assert_eq!(SetExclude(&[T]).to_string(), "MSFILTER EXCLUDE{t}");
        assert_eq!(Answer::Errno(Errno::ADDRINUSE).to_string(), "EADDRINUSE");
    }
}
