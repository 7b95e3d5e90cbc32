//! The orders of the subscriptions.

use std::cmp::Ordering;

use crate::top::model::{Model, Status};
use crate::top::stats::Subscription;

/// A column by which the subscriptions can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// Those that fell silent last come first, then those without any packet, then the others as they were joined.
    #[default]
    State,
    /// As they were joined.
    Joined,
    Name,
    PacketRate,
    BitRate,
    BlockRate,
    Packets,
}

impl Column {
    /// All, in the order in which a key moves through them.
    pub const ALL: [Self; 7] =
        [Self::State, Self::Joined, Self::Name, Self::PacketRate, Self::BitRate, Self::BlockRate, Self::Packets];

    /// Its name in the dashboard.
    pub const fn title(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Joined => "order of joining",
            Self::Name => "subscription",
            Self::PacketRate => "packets/s",
            Self::BitRate => "bit/s",
            Self::BlockRate => "blocked/s",
            Self::Packets => "packets",
        }
    }

    /// The column that many places further on.
    pub fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|&column| column == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }

    /// The order of two subscriptions. What is grave or much comes first.
    pub fn compare(self, a: &Subscription, b: &Subscription, model: &Model) -> Ordering {
        match self {
            Self::State => {
                let rank = |one: &Subscription| match model.status(one) {
                    Status::Silent(seconds) => (0, seconds),
                    Status::Never => (1, 0.0),
                    Status::Receiving => (2, 0.0),
                };
                let (a, b) = (rank(a), rank(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            }
            Self::Joined => Ordering::Equal,
            Self::Name => (&a.name, &a.subscription).cmp(&(&b.name, &b.subscription)),
            Self::PacketRate => b.flow.packets_per_second.total_cmp(&a.flow.packets_per_second),
            Self::BitRate => b.flow.bits_per_second.total_cmp(&a.flow.bits_per_second),
            Self::BlockRate => {
                let rate = |one: &Subscription| one.flow.blocked_per_second.unwrap_or(-1.0);
                rate(b).total_cmp(&rate(a))
            }
            Self::Packets => b.flow.packets.cmp(&a.flow.packets),
        }
    }
}
