//! What can happen in an episode.

use std::time::Duration;

use crate::frames::Querier;
use crate::stream::Filter;

/// A client of the control socket that misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Sends what is no request.
    Garbage,
    /// Begins a request and does not end it.
    Hanging,
    /// Asks often and reads nothing.
    Flooding,
    /// Sends a line that is too long.
    Endless,
    /// Is one of many.
    Crowd,
}

impl Client {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Garbage, Self::Hanging, Self::Flooding, Self::Endless, Self::Crowd];
}

/// One operation, or one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A client joins a group.
    Join {
        /// The group.
        group: usize,
        /// What is wanted of it.
        filter: Filter,
    },
    /// A client leaves a group.
    Leave {
        /// The group.
        group: usize,
    },
    /// A client blocks a source.
    Block {
        /// The group.
        group: usize,
        /// The source.
        source: usize,
    },
    /// A client unblocks a source.
    Unblock {
        /// The group.
        group: usize,
        /// The source.
        source: usize,
    },
    /// A client replaces the sources of a subscription.
    SetSources {
        /// The group.
        group: usize,
        /// All of them.
        mask: u8,
    },
    /// The configuration file has other sources, and is read again.
    Reload {
        /// Sources of the file's group; without any the group is not in the file.
        mask: u8,
    },
    /// As [`Operation::Reload`], by SIGHUP.
    Hangup {
        /// Sources of the file's group.
        mask: u8,
    },
    /// The configuration file is wrong, and is read again.
    BadReload {
        /// Which fault it has.
        kind: u8,
    },
    /// An end of the link goes down and up.
    Flap {
        /// The receiver's end, or the other one.
        rx: bool,
        /// How long it is down.
        time: Duration,
    },
    /// The link is deleted and made again.
    Remake {
        /// Under the index that it had.
        same_index: bool,
    },
    /// The interface gets another name.
    Rename,
    /// The interface moves to another namespace and back.
    Move {
        /// It is up there.
        up: bool,
        /// How long it is there.
        time: Duration,
    },
    /// The MTU changes.
    Mtu {
        /// The new one.
        bytes: u32,
    },
    /// The interface loses its addresses, or IPv6 as a whole, and gets them again.
    Addresses {
        /// How long they are away.
        time: Duration,
    },
    /// The number of queues changes.
    Queues {
        /// The new one.
        count: u32,
    },
    /// A querier asks.
    Query {
        /// Its version.
        querier: Querier,
    },
    /// The process is stopped, and goes on.
    Suspend {
        /// How long it stands.
        time: Duration,
    },
    /// The process is killed, and another one is started.
    Kill,
    /// The consumer reads nothing.
    Stall {
        /// How long.
        time: Duration,
    },
    /// The consumer reads slowly.
    Slow {
        /// How long.
        time: Duration,
    },
    /// The consumer closes its socket, and opens it again.
    CloseConsumer {
        /// How long it is closed.
        time: Duration,
    },
    /// A client misbehaves.
    Misbehave {
        /// How.
        client: Client,
    },
    /// The process has no descriptors left, and is asked to join.
    Descriptors,
    /// The process may lock no more memory while the link is made again.
    LockedMemory,
    /// The process gets no more memory while the link is made again.
    Memory,
    /// Somebody detaches the XDP program.
    Detach,
    /// Somebody replaces the XDP program by another one for a while.
    Foreign {
        /// How long.
        time: Duration,
    },
}

impl Operation {
    /// Its name in the report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Block { .. } => "block",
            Self::Unblock { .. } => "unblock",
            Self::SetSources { .. } => "set sources",
            Self::Reload { .. } => "reload",
            Self::Hangup { .. } => "reload by SIGHUP",
            Self::BadReload { .. } => "reload of a wrong file",
            Self::Flap { rx: true, .. } => "link down and up",
            Self::Flap { rx: false, .. } => "other end down and up",
            Self::Remake { same_index: true } => "link made again, same index",
            Self::Remake { same_index: false } => "link made again, other index",
            Self::Rename => "rename",
            Self::Move { .. } => "move to a namespace and back",
            Self::Mtu { .. } => "MTU",
            Self::Addresses { .. } => "addresses removed and added",
            Self::Queues { .. } => "number of queues",
            Self::Query { querier } => match querier {
                Querier::Igmp1 => "query of IGMPv1",
                Querier::Igmp2 => "query of IGMPv2",
                Querier::Igmp3 => "query of IGMPv3",
                Querier::Mld1 => "query of MLDv1",
                Querier::Mld2 => "query of MLDv2",
            },
            Self::Suspend { .. } => "SIGSTOP and SIGCONT",
            Self::Kill => "kill -9 and restart",
            Self::Stall { .. } => "stuck consumer",
            Self::Slow { .. } => "slow consumer",
            Self::CloseConsumer { .. } => "consumer away and back",
            Self::Misbehave { client } => match client {
                Client::Garbage => "client with garbage",
                Client::Hanging => "client that hangs",
                Client::Flooding => "client that floods",
                Client::Endless => "client with an endless line",
                Client::Crowd => "crowd of clients",
            },
            Self::Descriptors => "no descriptors left",
            Self::LockedMemory => "no memory to lock",
            Self::Memory => "no more memory",
            Self::Detach => "XDP program detached",
            Self::Foreign { .. } => "foreign XDP program",
        }
    }

    /// About how long it takes, until the receiver has recovered.
    pub fn cost(&self) -> Duration {
        let recovery = Duration::from_millis(2_800);
        match *self {
            Self::Flap { time, .. } | Self::Move { time, .. } | Self::Addresses { time } | Self::Foreign { time } => {
                recovery + time
            }
            Self::Remake { .. }
            | Self::LockedMemory
            | Self::Memory
            | Self::Mtu { .. }
            | Self::Queues { .. }
            | Self::Detach => recovery,
            Self::Kill | Self::CloseConsumer { .. } => Duration::from_millis(1_500),
            Self::Suspend { time } | Self::Stall { time } | Self::Slow { time } => time,
            Self::Descriptors | Self::Misbehave { .. } => Duration::from_millis(300),
            _ => Duration::from_millis(50),
        }
    }
}
