//! Why a membership could not be changed, for whom, and what to do about it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::errno::Errno;
use crate::state::{Refusal, State};
use crate::{InterfaceRef, Limits, SubscriptionError};

/// Why a request on one socket failed. Nothing was changed, unless it is [`SocketError::NotRestored`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The group or the source makes no sense; Linux would accept some of these.
    #[error(transparent)]
    Invalid(#[from] SubscriptionError),
    /// The state machine refused the request. The kernel was not asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel refused what the state machine allowed.
    #[error("the kernel refused {option}: {errno}")]
    Kernel {
        /// The socket option, as `MCAST_JOIN_SOURCE_GROUP`.
        option: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The option style names the interface by its IPv4 address, and the interface has none.
    #[error(
        "the interface has no IPv4 address, by which the IP_* options name it; give it one, or use the option style \
         MCAST_*, which names it by its index"
    )]
    NoInterfaceAddress,
    /// The kernel accepted the request, but holds another filter than was asked for. The change was undone.
    #[error(
        "the kernel was asked for {expected} and holds {kernel}, so that the change was undone; if two interfaces have \
         the same address, use the option style MCAST_*, which names them by their indices"
    )]
    FilterDiffers {
        /// The state that was asked for.
        expected: State,
        /// The state that was read back.
        kernel: State,
    },
    /// A failed change could not be undone.
    #[error(
        "{cause}. The change could not be undone, and the kernel holds {kernel}; leave the group and join it again"
    )]
    NotRestored {
        /// Why the change failed.
        cause: Box<SocketError>,
        /// The state that the kernel holds now.
        kernel: State,
    },
}

impl SocketError {
    /// Returns true if the kernel is short of option memory or at a limit of this socket: another socket can have room.
    pub fn is_out_of_room(&self) -> bool {
        matches!(self, Self::Kernel { errno: Errno::NOBUFS | Errno::NOMEM, .. })
    }
}

/// A change of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Join with a filter.
    Join,
    /// End the membership.
    Leave,
    /// Accept one more source (INCLUDE).
    AddSource,
    /// Accept one source less (INCLUDE).
    RemoveSource,
    /// Block a source (EXCLUDE).
    Block,
    /// Accept a blocked source again (EXCLUDE).
    Unblock,
    /// Replace the filter.
    SetFilter,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::AddSource => "join source",
            Self::RemoveSource => "leave source",
            Self::Block => "block source",
            Self::Unblock => "unblock source",
            Self::SetFilter => "replace the sources of",
        })
    }
}

/// A membership that could not be changed. Everything is as it was before, unless the reason says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipError {
    /// What was to be done.
    pub operation: Operation,
    /// The group.
    pub group: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The source, if the operation names one.
    pub source_address: Option<IpAddr>,
    /// The interface.
    pub interface: InterfaceRef,
    /// The reason; boxed, to keep the error small.
    pub reason: Box<Reason>,
}

/// Why a membership could not be changed, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The group, port or source makes no sense.
    #[error(transparent)]
    Invalid(#[from] SubscriptionError),
    /// The state machine refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More blocked sources than one socket can name. An EXCLUDE filter cannot be spread over several sockets, since
    /// each would accept what the others block.
    #[error(
        "{asked} sources are to be blocked, and {sysctl} is {}; raise it with `sysctl -w {sysctl}={asked}`{}, or block \
         fewer",
        shown(*limit),
        if limit.is_some() { "" } else { " in the initial network namespace" }
    )]
    TooManyBlocked {
        /// Sources to be blocked.
        asked: usize,
        /// The limit, if it can be read.
        limit: Option<usize>,
        /// The sysctl to raise.
        sysctl: &'static str,
    },
    /// Not even one more source of one group fits on a new socket.
    #[error(
        "the kernel has no room for {option} even on a socket of its own: {errno}. The sysctl net.core.optmem_max is \
         {}; raise it with `sysctl -w net.core.optmem_max=131072`, and check that {sysctl} is not 0",
        shown(*optmem_max)
    )]
    NoRoom {
        /// The socket option.
        option: &'static str,
        /// `ENOBUFS` or `ENOMEM`.
        errno: Errno,
        /// The sysctl that limits sources.
        sysctl: &'static str,
        /// `net.core.optmem_max`, if it can be read.
        optmem_max: Option<usize>,
    },
    /// No more sockets can be opened.
    #[error(
        "no more sockets can be opened: {errno}. This process may have {limit} files open, and {sockets} of them are \
         sockets of memberships; raise the limit (`ulimit -n`, LimitNOFILE=, fs.file-max), or use the shared layout"
    )]
    OutOfDescriptors {
        /// `EMFILE` or `ENFILE`.
        errno: Errno,
        /// Sockets that this set has open.
        sockets: usize,
        /// The soft limit of the process (RLIMIT_NOFILE).
        limit: usize,
    },
    /// Another program has the port for itself.
    #[error(
        "another socket holds this port without SO_REUSEADDR, and bind returned {errno}; stop its program, which \
         `ss -ulpn` shows, or use another port"
    )]
    PortTaken {
        /// `EADDRINUSE`.
        errno: Errno,
    },
    /// Ports below `net.ipv4.ip_unprivileged_port_start` need a capability.
    #[error(
        "a port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE, and bind returned {errno}; grant \
         the capability, or lower the sysctl"
    )]
    PortPrivileged {
        /// `EACCES`.
        errno: Errno,
    },
    /// The interface does not exist any more, or has another index.
    #[error(
        "the interface does not exist any more, and {option} returned {errno}; if the interface was made again, use \
         its new index"
    )]
    InterfaceGone {
        /// The socket option or call.
        option: &'static str,
        /// `ENODEV`, or `EADDRNOTAVAIL` of bind for a link-local group.
        errno: Errno,
    },
    /// The caller's flag was set. What had been joined of the group was left again.
    #[error("the join was cancelled, and nothing of the group is joined")]
    Cancelled,
    /// The kernel refused a step for another reason.
    #[error("the kernel refused {step}: {errno}")]
    Kernel {
        /// The socket option or call.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The filter of one socket or its interface address was at fault.
    #[error(transparent)]
    Socket(SocketError),
}

impl MembershipError {
    /// The error number of the refusal or of the kernel, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match &*self.reason {
            Reason::Refused(refusal) => Some(refusal.errno()),
            Reason::NoRoom { errno, .. }
            | Reason::OutOfDescriptors { errno, .. }
            | Reason::PortTaken { errno }
            | Reason::PortPrivileged { errno }
            | Reason::InterfaceGone { errno, .. }
            | Reason::Kernel { errno, .. } => Some(*errno),
            Reason::TooManyBlocked { .. } => Some(Errno::NOBUFS),
            Reason::Invalid(_) => Some(Errno::INVAL),
            Reason::Socket(_) | Reason::Cancelled => None,
        }
    }

    /// The sysctl that is too low or too high, if one is.
    pub fn sysctl(&self) -> Option<&'static str> {
        match &*self.reason {
            Reason::TooManyBlocked { sysctl, .. } => Some(sysctl),
            Reason::NoRoom { .. } => Some("net.core.optmem_max"),
            Reason::PortPrivileged { .. } => Some("net.ipv4.ip_unprivileged_port_start"),
            _ => None,
        }
    }
}

impl std::error::Error for MembershipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message contains the reason already; a chain of errors would print it twice.
        None
    }
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.operation)?;
        if let Some(source) = self.source_address {
            write!(f, "{source} of ")?;
        }
        let group = SocketAddr::new(self.group, self.port);
        write!(f, "{group} on {}: {}", self.interface, self.reason)
    }
}

impl Reason {
    pub(super) fn of_socket(error: SocketError, group: IpAddr, limits: &Limits) -> Self {
        match error {
            SocketError::Invalid(error) => Self::Invalid(error),
            SocketError::Refused(refusal) => Self::Refused(refusal),
            SocketError::Kernel { option, errno: errno @ (Errno::NOBUFS | Errno::NOMEM) } => {
                Self::NoRoom { option, errno, sysctl: Limits::sources_sysctl(group), optmem_max: limits.optmem_max }
            }
            SocketError::Kernel { option, errno: errno @ Errno::NODEV } => Self::InterfaceGone { option, errno },
            SocketError::Kernel { option, errno } => Self::Kernel { step: option, errno },
            other => Self::Socket(other),
        }
    }
}

fn shown(limit: Option<usize>) -> String {
    limit.map_or_else(|| "not readable here".to_owned(), |limit| limit.to_string())
}
