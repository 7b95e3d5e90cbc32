//! What can go wrong before and while the receiver is steered. Each error names what was asked, why it was refused, and
//! what to do; nothing was changed. Trouble with single packets is no error: it is a count in the ledger.

use std::io;
use std::net::IpAddr;

use crate::engine::others::{Holder, Process, list};
use crate::{ReceiveMode, Refused};
use receiver_host::{Capability, InterfaceError, Lack, XDP};
use receiver_membership::{Subscription, SubscriptionError};

/// An operation of the receiver that was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subscription makes no sense in itself.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),

    /// The same group and port with the same source, or both INCLUDE and EXCLUDE.
    #[error("subscription {asked} overlaps {existing}: {reason}; give each source of a group and port once")]
    Overlap {
        /// What was asked for.
        asked: Box<Subscription>,
        /// What is there already.
        existing: Box<Subscription>,
        /// How the two overlap.
        reason: &'static str,
    },

    /// No subscription was given.
    #[error("there is no subscription; give at least one, as in 10.0.0.1@232.1.1.1:5000")]
    NoSubscription,

    /// The id does not name a subscription of this receiver (any more).
    #[error("subscription {id} is not there; it was left already, or belongs to another receiver")]
    UnknownSubscription {
        /// The id.
        id: u32,
    },

    /// `block` and `unblock` are for any-source subscriptions (RFC 3678, table 1).
    #[error("subscription {subscription} is {mode}: {operation} does not apply; {remedy}")]
    WrongFilterMode {
        /// The subscription.
        subscription: Box<Subscription>,
        /// Its filter mode.
        mode: &'static str,
        /// What was asked.
        operation: &'static str,
        /// What to call instead.
        remedy: &'static str,
    },

    /// The source is already there, or is not there.
    #[error("subscription {subscription}: source {address} is {state} already")]
    SourceState {
        /// The subscription.
        subscription: Box<Subscription>,
        /// The source.
        address: IpAddr,
        /// What it is already.
        state: &'static str,
    },

    /// The interface cannot be used, or the kernel refused an operation on it.
    #[error(transparent)]
    Interface(#[from] InterfaceError),

    /// An XDP program that is not ours sits on the interface.
    #[error("interface {name} has an XDP program already, and it is left alone: {holder}. {}", holder.remedy(name))]
    XdpOccupied {
        /// The interface.
        name: String,
        /// The program's id.
        program: u32,
        /// The program, and who holds it.
        holder: Box<Holder>,
    },

    /// A queue has another AF_XDP socket.
    #[error(
        "queue {queue} of interface {name} has an AF_XDP socket already, or one that is still being closed; {}. Stop the \
             program that holds it, serve other queues, or use mode socket",
        xdp_sockets(processes)
    )]
    QueueTaken {
        /// The interface.
        name: String,
        /// The queue.
        queue: u32,
        /// The processes with AF_XDP sockets, as far as `/proc` shows them: the kernel does not tell which of them it is.
        processes: Vec<Process>,
    },

    /// Not enough privilege for XDP or AF_XDP.
    #[error(
        "{doing} on interface {name} is not permitted: {lack}. {}, or use mode socket, which needs none",
        lack.remedy(&XDP)
    )]
    NotPermitted {
        /// What was tried.
        doing: &'static str,
        /// The interface.
        name: String,
        /// What the process lacks.
        lack: Lack,
    },

    /// The packet memory is locked memory, and the process may not lock as much.
    #[error(
        "queue {queue} of interface {name} needs {} KiB of locked memory, and this process, which lacks CAP_IPC_LOCK, may not \
             lock as much: the limit, {}, is for all AF_XDP sockets of the user. {}, or raise the limit (ulimit -l; \
             LimitMEMLOCK= of a systemd unit), or take fewer frames, or use mode socket",
        needed / 1024,
        lock_limit(*limit),
        Lack::Capabilities(vec![Capability::IpcLock]).remedy(&XDP)
    )]
    LockedMemory {
        /// The interface.
        name: String,
        /// The queue.
        queue: u32,
        /// Bytes that the queue's packet memory takes.
        needed: u64,
        /// The limit in bytes (RLIMIT_MEMLOCK); `None` if there is none.
        limit: Option<u64>,
    },

    /// Loading, attaching or steering the XDP program failed.
    #[error("XDP program on {name}: could not {doing}: {reason}")]
    Program {
        /// The interface.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// The chain of reasons as the loader tells it.
        reason: String,
    },

    /// The kernel's verifier refused the XDP program. Its log is logged at level debug.
    #[error(
        "the verifier of this kernel refused the XDP program for {name}: {reason}; use mode socket, which needs no \
             XDP, and report this with the verifier's log, which is logged at level debug"
    )]
    Verifier {
        /// The interface.
        name: String,
        /// The verifier's last word.
        reason: String,
    },

    /// XDP is required, and no mode with it can be had.
    #[error(
        "XDP is required on {name}, and each mode that has it was refused (remove one of these causes, or do not \
             require XDP):\n{}",
        one_per_line(refused)
    )]
    XdpRequired {
        /// The interface.
        name: String,
        /// Each mode, and why it was refused.
        refused: Vec<Refused>,
    },

    /// An XDP map has no room left.
    #[error("the XDP filter holds {limit} entries and all are taken; start with a larger max_flows")]
    FilterFull {
        /// How many entries there are.
        limit: u32,
    },

    /// The mode asked for by name can not be had.
    #[error("mode {mode} is not available on {name}: {reason}")]
    ModeUnavailable {
        /// The mode.
        mode: ReceiveMode,
        /// The interface.
        name: String,
        /// Why not, and what to do.
        reason: String,
    },

    /// A queue that the interface does not have.
    #[error(
        "interface {name} has {}, numbered from 0, and queue {asked} was asked for; ask for one that there is, or change \
             their number with `ethtool -L {name}`",
        receive_queues(*available)
    )]
    NoSuchQueue {
        /// The interface.
        name: String,
        /// The queue.
        asked: u32,
        /// How many there are.
        available: u32,
    },

    /// More queues than the interface has.
    #[error(
        "interface {name} has {}, and the first {asked} were asked for; ask for at most {available}, or change their \
             number with `ethtool -L {name}`",
        receive_queues(*available)
    )]
    TooFewQueues {
        /// The interface.
        name: String,
        /// How many were asked for.
        asked: u32,
        /// How many there are.
        available: u32,
    },

    /// A setting's value is out of its range, or does not go with another setting.
    #[error("{option} is {value}: {reason}")]
    Option {
        /// The setting, as the field of [`ReceiverConfig`](crate::ReceiverConfig) is called.
        option: &'static str,
        /// What was given.
        value: String,
        /// What it must be, and what to use instead.
        reason: String,
    },

    /// An AF_XDP socket could not be had.
    #[error(transparent)]
    Xsk(#[from] receiver_xsk::Error),

    /// A group could not be joined or left, or its filter not be set.
    #[error(transparent)]
    Membership(#[from] receiver_membership::MembershipError),

    /// Waiting for packets, or the kernel path, failed.
    #[error("could not {doing}: {source}")]
    Wait {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The flag of [`Builder::cancel`](crate::Builder::cancel) was set while the receiver was being built.
    #[error("the start was cancelled; what had been set up is undone")]
    Cancelled,

    /// `Receiver::into_async` was called where it cannot watch sockets.
    #[error(
        "the async receiver needs a tokio runtime with I/O, and the calling thread has {found}; call it in a task, or \
         within Runtime::enter(), of a runtime that was built with enable_io() or enable_all()"
    )]
    NoRuntime {
        /// What the calling thread has instead.
        found: &'static str,
    },

    /// The receiver was shut down.
    #[error("the receiver was shut down")]
    Stopped,
}

impl Error {
    /// Is the request itself at fault, rather than what the machine can do?
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Subscription(_) | Self::Overlap { .. } | Self::NoSubscription | Self::Option { .. })
    }
}

fn lock_limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

fn receive_queues(count: u32) -> String {
    format!("{count} receive queue{}", if count == 1 { "" } else { "s" })
}

fn xdp_sockets(processes: &[Process]) -> String {
    match processes {
        [] => "/proc shows no process with such a socket (only root sees the processes of other users)".to_owned(),
        some => format!("on this host such sockets are held by {}", list(some)),
    }
}

fn one_per_line(refused: &[Refused]) -> String {
    refused.iter().map(|refused| format!("{}: {}", refused.mode, refused.reason)).collect::<Vec<_>>().join("\n")
}
