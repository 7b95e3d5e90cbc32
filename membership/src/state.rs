//! The state machine of one membership: what a request on one (socket, interface, group) returns, and the state after
//! it.
//!
//! Pure. Where Linux and RFC 3678 leave room, it follows the table of the KAME MLDv2 notes (Asaeda). Only the state and
//! the request decide, and a refused request changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::SourceFilter;
use crate::errno::Errno;

/// The state of one membership.
///
/// ```
/// use receiver_membership::{Refusal, Request, State};
///
/// let source = "10.0.0.1".parse()?;
/// let mut state = State::NotMember;
/// state.apply(&Request::JoinSource(source))?;
/// assert_eq!(state.apply(&Request::Block(source)), Err(Refusal::WrongMode));
/// state.apply(&Request::LeaveSource(source))?;
/// assert_eq!(state, State::NotMember);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// The group is not joined.
    #[default]
    NotMember,
    /// Only these sources are accepted. Never empty: INCLUDE without a source is no membership (RFC 3376, section 3.2).
    Include(BTreeSet<IpAddr>),
    /// All sources except these are accepted.
    Exclude(BTreeSet<IpAddr>),
}

/// A change of a membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Accept all sources.
    JoinGroup,
    /// End the membership, in either mode.
    LeaveGroup,
    /// Accept this source, beside those that are accepted already.
    JoinSource(IpAddr),
    /// Do not accept this source any more; the last one ends the membership.
    LeaveSource(IpAddr),
    /// Accept all sources except this one.
    Block(IpAddr),
    /// Accept a blocked source again.
    Unblock(IpAddr),
    /// Replace the filter, in either mode (RFC 3678, section 4.2). The group must be joined already, as Linux requires.
    /// INCLUDE without a source ends the membership.
    SetSources(SourceFilter),
}

/// Why a request is refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// EADDRINUSE.
    #[error("the group is joined already (EADDRINUSE); leave it first, or change its sources")]
    AlreadyJoined,
    /// EADDRNOTAVAIL, of LEAVE_GROUP.
    #[error("the group is not joined (EADDRNOTAVAIL); only a group that is joined can be left")]
    NotJoined,
    /// EADDRNOTAVAIL, of JOIN_SOURCE or BLOCK_SOURCE.
    #[error("the source is in the list already (EADDRNOTAVAIL); name each source once")]
    SourceListed,
    /// EADDRNOTAVAIL, of LEAVE_SOURCE or UNBLOCK_SOURCE.
    #[error("the source is not in the list (EADDRNOTAVAIL); name one that is in it")]
    SourceNotListed,
    /// EINVAL: the request belongs to the other filter mode.
    #[error(
        "the group is joined in the other filter mode (EINVAL), and sources are joined and left in INCLUDE mode, \
         blocked and unblocked in EXCLUDE mode; replace the filter as a whole, or leave the group first"
    )]
    WrongMode,
    /// EINVAL: there is no membership whose sources could be changed.
    #[error("the group is not joined, so that it has no sources to change (EINVAL); join it first")]
    NoMembership,
}

impl Refusal {
    /// The error number that a socket option would return.
    pub fn errno(self) -> Errno {
        match self {
            Self::AlreadyJoined => Errno::ADDRINUSE,
            Self::NotJoined | Self::SourceListed | Self::SourceNotListed => Errno::ADDRNOTAVAIL,
            Self::WrongMode | Self::NoMembership => Errno::INVAL,
        }
    }
}

impl From<Refusal> for std::io::Error {
    fn from(refusal: Refusal) -> Self {
        refusal.errno().into()
    }
}

impl State {
    /// The state that the request leads to.
    ///
    /// # Errors
    /// The reason for the refusal. `self` is not changed in any case.
    pub fn judge(&self, request: &Request) -> Result<Self, Refusal> {
        match self {
            Self::NotMember => match request {
                Request::JoinGroup => Ok(Self::Exclude(BTreeSet::new())),
                Request::JoinSource(source) => Ok(Self::Include([*source].into())),
                Request::LeaveGroup => Err(Refusal::NotJoined),
                Request::LeaveSource(_) | Request::Block(_) | Request::Unblock(_) | Request::SetSources(_) => {
                    Err(Refusal::NoMembership)
                }
            },
            Self::Include(sources) => match request {
                Request::JoinGroup => Err(Refusal::AlreadyJoined),
                Request::LeaveGroup => Ok(Self::NotMember),
                Request::JoinSource(source) => with(sources, *source).map(Self::Include),
                Request::LeaveSource(source) => without(sources, *source).map(Self::include),
                Request::Block(_) | Request::Unblock(_) => Err(Refusal::WrongMode),
                Request::SetSources(filter) => Ok(filter.clone().into()),
            },
            Self::Exclude(blocked) => match request {
                Request::JoinGroup => Err(Refusal::AlreadyJoined),
                Request::LeaveGroup => Ok(Self::NotMember),
                Request::JoinSource(_) | Request::LeaveSource(_) => Err(Refusal::WrongMode),
                Request::Block(source) => with(blocked, *source).map(Self::Exclude),
                Request::Unblock(source) => without(blocked, *source).map(Self::Exclude),
                Request::SetSources(filter) => Ok(filter.clone().into()),
            },
        }
    }

    /// Changes to the state that the request leads to.
    ///
    /// # Errors
    /// As [`State::judge`]; then `self` is unchanged.
    pub fn apply(&mut self, request: &Request) -> Result<(), Refusal> {
        *self = self.judge(request)?;
        Ok(())
    }

    /// Returns true if the group is joined.
    pub fn is_member(&self) -> bool {
        *self != Self::NotMember
    }

    /// The filter. Without a membership it is INCLUDE without a source.
    pub fn filter(&self) -> SourceFilter {
        match self {
            Self::NotMember => SourceFilter::Include(BTreeSet::new()),
            Self::Include(sources) => SourceFilter::Include(sources.clone()),
            Self::Exclude(blocked) => SourceFilter::Exclude(blocked.clone()),
        }
    }

    fn include(sources: BTreeSet<IpAddr>) -> Self {
        if sources.is_empty() { Self::NotMember } else { Self::Include(sources) }
    }
}

impl From<SourceFilter> for State {
    fn from(filter: SourceFilter) -> Self {
        match filter {
            SourceFilter::Include(sources) => Self::include(sources),
            SourceFilter::Exclude(blocked) => Self::Exclude(blocked),
        }
    }
}

fn with(sources: &BTreeSet<IpAddr>, source: IpAddr) -> Result<BTreeSet<IpAddr>, Refusal> {
    let mut sources = sources.clone();
    if sources.insert(source) { Ok(sources) } else { Err(Refusal::SourceListed) }
}

fn without(sources: &BTreeSet<IpAddr>, source: IpAddr) -> Result<BTreeSet<IpAddr>, Refusal> {
    let mut sources = sources.clone();
    if sources.remove(&source) { Ok(sources) } else { Err(Refusal::SourceNotListed) }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, sources) = match self {
            Self::NotMember => return f.write_str("not a member"),
            Self::Include(sources) => ("INCLUDE", sources),
            Self::Exclude(sources) => ("EXCLUDE", sources),
        };
        write_list(f, name, sources)
    }
}

impl Request {
    /// The source that the request names, if it names one.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::JoinSource(source) | Self::LeaveSource(source) | Self::Block(source) | Self::Unblock(source) => {
                Some(*source)
            }
            Self::JoinGroup | Self::LeaveGroup | Self::SetSources(_) => None,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinGroup => f.write_str("join"),
            Self::LeaveGroup => f.write_str("leave"),
            Self::JoinSource(source) => write!(f, "join source {source}"),
            Self::LeaveSource(source) => write!(f, "leave source {source}"),
            Self::Block(source) => write!(f, "block source {source}"),
            Self::Unblock(source) => write!(f, "unblock source {source}"),
            Self::SetSources(SourceFilter::Include(sources)) => write_list(f, "set INCLUDE", sources),
            Self::SetSources(SourceFilter::Exclude(sources)) => write_list(f, "set EXCLUDE", sources),
        }
    }
}

/// A long list is shortened: thousands of sources help nobody in a message.
fn write_list(f: &mut fmt::Formatter<'_>, name: &str, sources: &BTreeSet<IpAddr>) -> fmt::Result {
    const SHOWN: usize = 8;
    write!(f, "{name}{{")?;
    for (i, source) in sources.iter().take(SHOWN).enumerate() {
        write!(f, "{}{source}", if i > 0 { ", " } else { "" })?;
    }
    if sources.len() > SHOWN {
        write!(f, ", and {} more", sources.len() - SHOWN)?;
    }
    f.write_str("}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// The second model: nothing but the list of accepted requests, replayed from the end each time. It knows no
    /// states; "the mode" is what the first request since the last leave was, and a list is a sorted vector.
    #[derive(Default)]
    struct Naive {
        mode: Option<char>,
        list: Vec<IpAddr>,
    }

    impl Naive {
        fn errno(&mut self, request: &Request) -> i32 {
            const IN_USE: i32 = 98;
            const NOT_AVAILABLE: i32 = 99;
            const INVALID: i32 = 22;
            let listed = request.source().is_some_and(|s| self.list.contains(&s));
            let result = match (request, self.mode) {
                (Request::JoinGroup, Some(_)) => IN_USE,
                (Request::LeaveGroup, None) => NOT_AVAILABLE,
                (Request::SetSources(_), None) => INVALID,
                (Request::LeaveSource(_), None) => INVALID,
                (Request::JoinSource(_) | Request::LeaveSource(_), Some('E')) => INVALID,
                (Request::Block(_) | Request::Unblock(_), None | Some('I')) => INVALID,
                (Request::JoinSource(_) | Request::Block(_), _) if listed => NOT_AVAILABLE,
                (Request::LeaveSource(_) | Request::Unblock(_), _) if !listed => NOT_AVAILABLE,
                _ => 0,
            };
            if result != 0 {
                return result;
            }
            match request {
                Request::JoinGroup => self.mode = Some('E'),
                Request::LeaveGroup => (self.mode, self.list) = (None, vec![]),
                Request::JoinSource(s) => (self.mode, _) = (Some('I'), self.list.push(*s)),
                Request::Block(s) => self.list.push(*s),
                Request::LeaveSource(s) | Request::Unblock(s) => self.list.retain(|l| l != s),
                Request::SetSources(f) => {
                    self.mode = Some(if f.is_exclude() { 'E' } else { 'I' });
                    self.list = f.sources().iter().copied().collect();
                }
            }
            if self.mode == Some('I') && self.list.is_empty() {
                self.mode = None;
            }
            self.list.sort();
            0
        }

        fn same(&self, state: &State) -> bool {
            let list = |set: &BTreeSet<IpAddr>| set.iter().copied().collect::<Vec<_>>() == self.list;
            match state {
                State::NotMember => self.mode.is_none() && self.list.is_empty(),
                State::Include(set) => self.mode == Some('I') && list(set) && !set.is_empty(),
                State::Exclude(set) => self.mode == Some('E') && list(set),
            }
        }
    }

    fn errno(result: Result<(), Refusal>) -> i32 {
        result.err().map_or(0, |refusal| refusal.errno().raw_os_error())
    }

    fn check(requests: &[Request]) {
        let (mut state, mut naive) = (State::NotMember, Naive::default());
        for (i, request) in requests.iter().enumerate() {
            let before = state.clone();
            let got = errno(state.apply(request));
            assert_eq!(got, naive.errno(request), "step {i} of {requests:?}, from {before}");
            assert!(naive.same(&state), "step {i} of {requests:?}: {state}");
            if got != 0 {
                assert_eq!(before, state, "refused, yet changed");
            }
        }
    }

    fn all_requests() -> Vec<Request> {
        let mut all = vec![Request::JoinGroup, Request::LeaveGroup];
        for n in 1..=3 {
            let s = source(n);
            all.extend([Request::JoinSource(s), Request::LeaveSource(s), Request::Block(s), Request::Unblock(s)]);
        }
        all
    }

    #[test]
    fn every_sequence_of_five_over_three_sources() {
        let all = all_requests();
        let mut checked = 0_u64;
        // Depth first, so that a common beginning is judged once: 14 + 14^2 + … + 14^5 sequences.
        fn descend(state: &State, naive: &Naive, depth: u32, all: &[Request], checked: &mut u64) {
            if depth == 0 {
                return;
            }
            for request in all {
                let mut next = state.clone();
                let mut model = Naive { mode: naive.mode, list: naive.list.clone() };
                let got = errno(next.apply(request));
                assert_eq!(got, model.errno(request), "{request} from {state}");
                assert!(model.same(&next), "{request} from {state}: {next}");
                assert!(got == 0 || next == *state);
                *checked += 1;
                descend(&next, &model, depth - 1, all, checked);
            }
        }
        descend(&State::NotMember, &Naive::default(), 5, &all, &mut checked);
        assert_eq!(checked, (1..=5).map(|n| 14_u64.pow(n)).sum::<u64>());
    }

    /// The required table, row by row, in its own words.
    #[test]
    fn required_table() {
        const OK: i32 = 0;
        let (in_use, not_available, invalid) = (98, 99, 22);
        let (s, t) = (source(1), source(2));
        use Request::{Block, JoinGroup, JoinSource, LeaveGroup, LeaveSource, Unblock};
        let join = vec![JoinGroup];
        let join_source = vec![JoinSource(s)];
        let block = vec![JoinGroup, Block(s)];
        let rows = [
            (&join, JoinGroup, in_use),
            (&join, LeaveGroup, OK),
            (&join, JoinSource(s), invalid),
            (&join, LeaveSource(s), invalid),
            (&join, Block(s), OK),
            (&join_source, JoinGroup, in_use),
            (&join_source, LeaveGroup, OK),
            (&join_source, JoinSource(s), not_available),
            (&join_source, JoinSource(t), OK),
            (&join_source, LeaveSource(s), OK),
            (&join_source, LeaveSource(t), not_available),
            (&join_source, Block(s), invalid),
            (&join_source, Unblock(s), invalid),
            (&block, JoinGroup, in_use),
            (&block, LeaveGroup, OK),
            (&block, JoinSource(s), invalid),
            (&block, LeaveSource(s), invalid),
            (&block, Block(s), not_available),
            (&block, Block(t), OK),
            (&block, Unblock(s), OK),
            (&block, Unblock(t), not_available),
            // The additions.
            (&join, Unblock(s), not_available),
            (&vec![], JoinGroup, OK),
            (&vec![], JoinSource(s), OK),
            (&vec![], LeaveGroup, not_available),
            (&vec![], LeaveSource(s), invalid),
            (&vec![], Block(s), invalid),
            (&vec![], Unblock(s), invalid),
        ];
        for (previous, following, required) in rows {
            let mut state = State::NotMember;
            for request in previous {
                state.apply(request).expect("previous");
            }
            assert_eq!(errno(state.apply(&following)), required, "{previous:?} then {following}");
        }
        let mut last = State::Include([s].into());
        last.apply(&LeaveSource(s)).expect("listed");
        assert_eq!(last, State::NotMember, "the last source leaving INCLUDE ends the membership");
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let set = prop::collection::btree_set((1u8..6).prop_map(source), 0..4);
        prop_oneof![
            Just(Request::JoinGroup),
            Just(Request::LeaveGroup),
            (1u8..6).prop_map(|n| Request::JoinSource(source(n))),
            (1u8..6).prop_map(|n| Request::LeaveSource(source(n))),
            (1u8..6).prop_map(|n| Request::Block(source(n))),
            (1u8..6).prop_map(|n| Request::Unblock(source(n))),
            (any::<bool>(), set).prop_map(|(exclude, set)| {
                Request::SetSources(if exclude { SourceFilter::Exclude(set) } else { SourceFilter::Include(set) })
            }),
        ]
    }

    proptest! {
        #[test]
        fn as_the_naive_model(requests in prop::collection::vec(any_request(), 0..40)) {
            check(&requests);
        }
    }
}
