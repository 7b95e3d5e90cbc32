//! Errors of setting up and steering a receiver. Each names what was asked for, why it was refused, and what to do.
//! Nothing was changed then. Trouble with single packets is no error but a counter in the ledger.

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
    /// The subscription is not valid.
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

    /// The id names no subscription of this receiver, or no longer does.
    #[error(
        "this receiver has no subscription {id}: it was left, or another receiver has it; use an id that a join of \
         this receiver returned"
    )]
    UnknownSubscription {
        /// The id.
        id: u32,
    },

    /// `block` and `unblock` are for any-source subscriptions (RFC 3678, table 1).
    #[error("{operation} does not apply to subscription {subscription}, which is {mode}; {remedy}")]
    WrongFilterMode {
        /// The subscription.
        subscription: Box<Subscription>,
        /// Its filter mode.
        mode: &'static str,
        /// The operation that was asked for.
        operation: &'static str,
        /// What to call instead.
        remedy: &'static str,
    },

    /// The source is already in the list that it should be added to, or is not in the list that it should be removed
    /// from.
    #[error("source {address} of subscription {subscription} is {state}, so there is nothing to change")]
    SourceState {
        /// The subscription.
        subscription: Box<Subscription>,
        /// The source.
        address: IpAddr,
        /// Its state, as in `already blocked`.
        state: &'static str,
    },

    /// The interface cannot be used, or the kernel refused an operation on it.
    #[error(transparent)]
    Interface(#[from] InterfaceError),

    /// Another XDP program is attached to the interface.
    #[error("interface {name} has an XDP program already, and it is left alone: {holder}. {}", holder.remedy(name))]
    XdpOccupied {
        /// The interface.
        name: String,
        /// The program's id.
        program: u32,
        /// The program, and who holds it.
        holder: Box<Holder>,
    },

    /// The queue has another AF_XDP socket.
    #[error(
        "queue {queue} of interface {name} has an AF_XDP socket already, or one that is still being closed; {}. Stop \
             the program that holds it, serve other queues, or use mode socket",
        xdp_sockets(processes)
    )]
    QueueTaken {
        /// The interface.
        name: String,
        /// The queue.
        queue: u32,
        /// The processes with AF_XDP sockets, as far as `/proc` shows them. The kernel does not tell which one has
        /// the queue.
        processes: Vec<Process>,
    },

    /// The process lacks a privilege for XDP or AF_XDP.
    #[error(
        "{doing} on interface {name} is not permitted: {lack}. {}, or use mode socket, which needs none",
        lack.remedy(needed)
    )]
    NotPermitted {
        /// What was tried.
        doing: &'static str,
        /// The interface.
        name: String,
        /// What the process lacks.
        lack: Lack,
        /// All that the mode needs.
        needed: &'static [Capability],
    },

    /// The packet memory is locked memory, and the process may not lock that much.
    #[error(
        "queue {queue} of interface {name} needs {} KiB of locked memory, and this process, which lacks CAP_IPC_LOCK, \
             may not lock as much: the limit, {}, is for all AF_XDP sockets of the user. {}, or raise the limit \
             (ulimit -l; LimitMEMLOCK= of a systemd unit), or take fewer frames, or use mode socket",
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
    #[error("interface {name}: could not {doing}: {reason}{}", program_remedy(doing, reason))]
    Program {
        /// The interface.
        name: String,
        /// What was tried, as in `load the XDP program`.
        doing: &'static str,
        /// The chain of reasons that the loader reports.
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
        /// The reason at the end of the verifier's log.
        reason: String,
    },

    /// XDP is required, and no mode with it is available.
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

    /// Packets are to be shared with the kernel, and the mode for that is not available.
    #[error(
        "packets of {name} cannot be shared with the other programs on the host, because mode mapped is not \
         available: {reason}. Remove the cause, or use mode socket, where each program gets its packets anyway"
    )]
    ShareUnavailable {
        /// The interface.
        name: String,
        /// Why mode `mapped` is not available.
        reason: String,
    },

    /// An XDP map has no room left.
    #[error(
        "the XDP filter has room for {limit} entries, and all are in use; leave a subscription, or start with a larger \
         max_flows"
    )]
    FilterFull {
        /// How many entries there are.
        limit: u32,
    },

    /// The mode that was asked for is not available.
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
        "interface {name} has {}, numbered from 0, and queue {asked} was asked for; ask for one of these, or change \
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

    /// An AF_XDP socket could not be set up or used.
    #[error(transparent)]
    Xsk(#[from] receiver_xsk::Error),

    /// A group could not be joined or left, or its filter could not be set.
    #[error(transparent)]
    Membership(#[from] receiver_membership::MembershipError),

    /// Waiting for packets, or the kernel path, failed.
    #[error("could not {doing}: {source}{}", wait_remedy(source))]
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
    #[error("the receiver was shut down; build another one to receive again")]
    Stopped,
}

impl Error {
    /// Returns true if the request itself is wrong; false if the machine cannot do it.
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

/// What to do about an operation on the XDP program, unless the reason names the remedy.
fn program_remedy(doing: &str, reason: &str) -> &'static str {
    let at_start = ["load", "attach", "open", "map", "find"].into_iter().any(|verb| doing.starts_with(verb));
    match (reason.contains("use mode ") || reason.contains("rebuild it"), at_start) {
        (true, _) => "",
        (false, true) => "; use mode socket, which needs no XDP",
        (false, false) => "; start the receiver anew if this happens again",
    }
}

fn wait_remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            "; raise the limit on open files (ulimit -n; LimitNOFILE= of a systemd unit), or have fewer subscriptions"
        }
        Some(libc::ENOMEM | libc::ENOBUFS) => "; free some memory, or have fewer subscriptions",
        _ => "",
    }
}

fn one_per_line(refused: &[Refused]) -> String {
    refused.iter().map(|refused| format!("{}: {}", refused.mode, refused.reason)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use receiver_membership::{InterfaceRef, MembershipError, Operation, Reason};
    use receiver_xsk::{BindMode, Cause};

    /// One of each variant, by its place in [`index`].
    fn samples() -> Vec<Error> {
        let name = || "eth7".to_owned();
        let subscription = || Box::new("10.0.0.1@232.1.1.1:5000".parse::<Subscription>().expect("a subscription"));
        let process = || Process { pid: 7, name: "other".into() };
        let refused = |mode| Refused { mode, reason: "the driver has no XDP; use mode generic".into() };
        let xsk = || receiver_xsk::Error {
            interface: name(),
            queue: 3,
            mode: BindMode::ZeroCopy,
            multi_buffer: None,
            cause: Cause::OtherMode,
            known: None,
        };
        let membership = MembershipError {
            operation: Operation::Join,
            group: [232, 1, 1, 1].into(),
            port: 5000,
            source_address: None,
            interface: InterfaceRef::new(7, "eth7"),
            reason: Box::new(Reason::Invalid(SubscriptionError::NoSource([232, 1, 1, 1].into()))),
        };
        vec![
            Error::Subscription(SubscriptionError::PortZero([232, 1, 1, 1].into())),
            Error::Overlap { asked: subscription(), existing: subscription(), reason: "a source is in both" },
            Error::NoSubscription,
            Error::UnknownSubscription { id: 7 },
            Error::WrongFilterMode {
                subscription: subscription(),
                mode: "source-specific",
                operation: "block",
                remedy: "use join_source, leave_source or set_sources",
            },
            Error::SourceState { subscription: subscription(), address: [10, 0, 0, 2].into(), state: "not joined" },
            Error::Interface(InterfaceError::Down { name: name() }),
            Error::XdpOccupied {
                name: name(),
                program: 57,
                holder: Box::new(Holder {
                    program: 57,
                    name: Some("xdp_pass".into()),
                    link: None,
                    processes: vec![process()],
                    is_complete: true,
                }),
            },
            Error::QueueTaken { name: name(), queue: 3, processes: vec![process(), process()] },
            Error::NotPermitted {
                doing: "opening an AF_XDP socket",
                name: name(),
                lack: Lack::Capabilities(vec![Capability::NetRaw]),
                needed: &XDP,
            },
            Error::LockedMemory { name: name(), queue: 3, needed: 16 << 20, limit: Some(8 << 20) },
            Error::Program { name: name(), doing: "load the XDP program", reason: "Invalid argument".into() },
            Error::Verifier { name: name(), reason: "R3 pointer -= pointer prohibited".into() },
            Error::XdpRequired {
                name: name(),
                refused: vec![refused(ReceiveMode::Copy), refused(ReceiveMode::Generic)],
            },
            Error::FilterFull { limit: 2 },
            Error::ModeUnavailable { mode: ReceiveMode::ZeroCopy, name: name(), reason: "use mode copy".into() },
            Error::NoSuchQueue { name: name(), asked: 9, available: 1 },
            Error::TooFewQueues { name: name(), asked: 9, available: 2 },
            Error::Option {
                option: "ring_size",
                value: "0".into(),
                reason: "it must be a power of two; use 64".into(),
            },
            Error::Xsk(xsk()),
            Error::Membership(membership),
            Error::Wait { doing: "wait for packets", source: io::Error::from_raw_os_error(libc::EMFILE) },
            Error::Cancelled,
            Error::NoRuntime { found: "no tokio runtime" },
            Error::Stopped,
            Error::ShareUnavailable { name: name(), reason: "Operation not supported".into() },
        ]
    }

    /// A new variant does not compile before it has a place here, and then fails the test before it has a sample.
    fn index(error: &Error) -> usize {
        match error {
            Error::Subscription(_) => 0,
            Error::Overlap { .. } => 1,
            Error::NoSubscription => 2,
            Error::UnknownSubscription { .. } => 3,
            Error::WrongFilterMode { .. } => 4,
            Error::SourceState { .. } => 5,
            Error::Interface(_) => 6,
            Error::XdpOccupied { .. } => 7,
            Error::QueueTaken { .. } => 8,
            Error::NotPermitted { .. } => 9,
            Error::LockedMemory { .. } => 10,
            Error::Program { .. } => 11,
            Error::Verifier { .. } => 12,
            Error::XdpRequired { .. } => 13,
            Error::FilterFull { .. } => 14,
            Error::ModeUnavailable { .. } => 15,
            Error::NoSuchQueue { .. } => 16,
            Error::TooFewQueues { .. } => 17,
            Error::Option { .. } => 18,
            Error::Xsk(_) => 19,
            Error::Membership(_) => 20,
            Error::Wait { .. } => 21,
            Error::Cancelled => 22,
            Error::NoRuntime { .. } => 23,
            Error::Stopped => 24,
            Error::ShareUnavailable { .. } => 25,
        }
    }

    /// What is wrong with a message, if anything is.
    fn fault(text: &str) -> Option<&'static str> {
        [
            (text.is_empty(), "nothing"),
            (text.contains("  "), "a double space"),
            (text.contains("of:"), "no object"),
            (text.contains("--"), "a command-line flag"),
            (text.ends_with('.'), "a full stop"),
            (text.contains(" : ") || text.contains(" ,") || text.contains(";;"), "wrong punctuation"),
            (text.lines().any(|line| line.trim() != line), "space at the end of a line"),
        ]
        .into_iter()
        .find_map(|(is, fault)| is.then_some(fault))
    }

    #[test]
    fn every_error_reads_as_a_sentence() {
        let samples = samples();
        for (place, error) in samples.iter().enumerate() {
            assert_eq!(index(error), place, "{error:?}");
            assert_eq!(fault(&error.to_string()), None, "{error}");
        }
        assert_eq!(samples.len(), 26, "each place of `index` has its sample");
    }

    #[test]
    fn every_operation_on_the_program_reads_as_a_sentence() {
        for doing in crate::program::OPERATIONS {
            for reason in ["Invalid argument", "the MTU is too large; use mode socket"] {
                let error = Error::Program { name: "eth7".into(), doing, reason: reason.into() };
                let text = error.to_string();
                assert_eq!(fault(&text), None, "{text}");
                assert!(text.starts_with(&format!("interface eth7: could not {doing}: {reason}")), "{text}");
                assert!(text.contains("use mode socket") || text.contains("start the receiver anew"), "{text}");
            }
        }
    }

    #[test]
    fn the_state_of_a_source_is_told_as_it_is() {
        for state in ["already blocked", "not blocked", "already joined", "not joined"] {
            let subscription = Box::new("10.0.0.1@232.1.1.1:5000".parse().expect("a subscription"));
            let error = Error::SourceState { subscription, address: [10, 0, 0, 2].into(), state };
            let text = format!(
                "source 10.0.0.2 of subscription 10.0.0.1@232.1.1.1:5000 is {state}, so there is nothing to change"
            );
            assert_eq!(error.to_string(), text);
        }
    }
}
