//! Why a membership could not be changed, for whom, and what to do about it.

use std::fmt;
use std::net::IpAddr;

use rustix::io::Errno;

use super::state::{Refusal, State};
use super::{InterfaceRef, Limits};
use crate::SubscriptionError;

/// Why a request on one socket failed. Unless it is [`SocketError::NotRestored`], nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The group or the source makes no sense; Linux would take some of these.
    #[error(transparent)]
    Invalid(#[from] SubscriptionError),
    /// The state machine refused it. The kernel was not asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel refused what the state machine allowed.
    #[error("{option}: {errno}")]
    Kernel {
        /// The socket option, as `MCAST_JOIN_SOURCE_GROUP`.
        option: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The option style names the interface by its IPv4 address, and it has none, or another interface has the same.
    #[error(
        "the interface has no IPv4 address, by which the IP_* options name it: give it one, or take the option style \
         MCAST_*, which goes by index"
    )]
    NoInterfaceAddress,
    /// The kernel took the request, and holds another filter than asked for. It was put back.
    #[error("the kernel was asked for {expected} and holds {kernel}; the change was taken back")]
    FilterDiffers {
        /// What was asked for.
        expected: State,
        /// What was read back.
        kernel: State,
    },
    /// A failed change could not be taken back.
    #[error("{cause}; and it could not be taken back: the kernel holds {kernel}. Leave the group and join it again")]
    NotRestored {
        /// Why the change failed.
        cause: Box<SocketError>,
        /// What the kernel holds now.
        kernel: State,
    },
}

impl SocketError {
    /// The kernel is short of option memory, or at a limit for this socket: another socket may do.
    pub fn is_out_of_room(&self) -> bool {
        matches!(self, Self::Kernel { errno: Errno::NOBUFS | Errno::NOMEM, .. })
    }
}

/// What was to be done with a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Join with a filter.
    Join,
    /// End the membership.
    Leave,
    /// Hear one more source (INCLUDE).
    AddSource,
    /// Hear one source less (INCLUDE).
    RemoveSource,
    /// Do not hear a source (EXCLUDE).
    Block,
    /// Hear a blocked source again (EXCLUDE).
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

/// A membership that could not be changed: everything is as it was before, unless the reason says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipError {
    /// What was to be done.
    pub operation: Operation,
    /// The group.
    pub group: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The source, where the operation names one.
    pub source_address: Option<IpAddr>,
    /// The interface.
    pub interface: InterfaceRef,
    /// Why; boxed, to keep the error small.
    pub reason: Box<Reason>,
}

/// Why a membership could not be changed, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The group, port or source makes no sense.
    #[error(transparent)]
    Invalid(#[from] SubscriptionError),
    /// The state machine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More blocked sources than one socket can name. An EXCLUDE filter can not be shared out among sockets: each would
    /// hear what the others block.
    #[error(
        "{asked} blocked sources asked, and {sysctl} is {}: raise it with `sysctl -w {sysctl}={asked}`{}, or block fewer",
        shown(*limit),
        if limit.is_some() { "" } else { " in the initial network namespace" }
    )]
    TooManyBlocked {
        /// Sources asked for.
        asked: usize,
        /// The limit, where it can be read.
        limit: Option<usize>,
        /// The sysctl to raise.
        sysctl: &'static str,
    },
    /// Not even one more source of one group fits on a fresh socket.
    #[error(
        "{option}: {errno}: the kernel has no room for it even on a socket of its own: net.core.optmem_max is {}, \
         raise it with sysctl -w (131072 is a usual value), and see that {sysctl} is not 0",
        shown(*optmem_max)
    )]
    NoRoom {
        /// The socket option.
        option: &'static str,
        /// `ENOBUFS` or `ENOMEM`.
        errno: Errno,
        /// The sysctl that limits sources.
        sysctl: &'static str,
        /// `net.core.optmem_max`, where it can be read.
        optmem_max: Option<usize>,
    },
    /// No more sockets can be opened.
    #[error(
        "{errno}: this process may have {limit} files open, and {sockets} of them are sockets of memberships; raise \
             the limit (`ulimit -n`, LimitNOFILE=, fs.file-max), or share sockets among groups (the shared layout)"
    )]
    OutOfDescriptors {
        /// `EMFILE` or `ENFILE`.
        errno: Errno,
        /// Sockets that this set has open.
        sockets: usize,
        /// The soft limit of the process (RLIMIT_NOFILE).
        limit: usize,
    },
    /// Another program holds the port for itself.
    #[error("bind: {errno}: another socket holds this port without SO_REUSEADDR: see `ss -ulpn`")]
    PortTaken {
        /// `EADDRINUSE`.
        errno: Errno,
    },
    /// Ports below `net.ipv4.ip_unprivileged_port_start` need a capability.
    #[error(
        "bind: {errno}: a port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE: grant it, or \
         lower the sysctl"
    )]
    PortPrivileged {
        /// `EACCES`.
        errno: Errno,
    },
    /// The interface does not exist (any more), or under another index.
    #[error("{option}: {errno}: there is no such interface (any more); if it was made again, it has a new index")]
    InterfaceGone {
        /// The socket option.
        option: &'static str,
        /// `ENODEV`, or `EADDRNOTAVAIL` of bind for a link-local group.
        errno: Errno,
    },
    /// The caller's flag was set; what had been joined of the group was left again.
    #[error("the join was cancelled; nothing of the group is joined")]
    Cancelled,
    /// The kernel refused a step for another reason.
    #[error("{step}: {errno}")]
    Kernel {
        /// The socket option or call.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// Trouble with the filter of one socket, or with its interface address.
    #[error(transparent)]
    Socket(SocketError),
}

impl MembershipError {
    /// The error number of the refusal or of the kernel, where there is one.
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

    /// The sysctl that stands in the way, where one does.
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
        // The reason is part of the message already; naming it again would print it twice.
        None
    }
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can not {} ", self.operation)?;
        if let Some(source) = self.source_address {
            write!(f, "{source} of ")?;
        }
        match self.group {
            IpAddr::V4(group) => write!(f, "{group}:{}", self.port)?,
            IpAddr::V6(group) => write!(f, "[{group}]:{}", self.port)?,
        }
        write!(f, " on {}: {}", self.interface, self.reason)
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
