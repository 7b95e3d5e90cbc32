//! What one subscription has received, as users see it.

use crate::engine::filter::SubscriptionId;
use receiver_membership::Subscription;

/// What one subscription has received since it was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionReport {
    /// Its id.
    pub id: SubscriptionId,
    /// The subscription as it is now.
    pub subscription: Subscription,
    /// Datagrams handed over.
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
    /// Frames that XDP dropped because of their source, for the subscription's group and port. Subscriptions that share
    /// both share this count. `None` in mode `socket`: the kernel drops them and does not count.
    pub blocked: Option<u64>,
    /// Frames of sources that are not wanted, for the subscription's group and port, which passed to the kernel
    /// ([`DropUnwanted`](crate::DropUnwanted)). Subscriptions share it as they share `blocked`. `None` in mode
    /// `socket`.
    pub passed_shared: Option<u64>,
    /// Sockets of other programs that are members of the group on the interface where it is joined. Counted about once
    /// a second. `None` in mode `socket`, and where /proc cannot be read.
    pub other_members: Option<u64>,
    /// When the latest datagram was received: nanoseconds on CLOCK_TAI. `None` before the first.
    pub last: Option<u64>,
}

/// What all subscriptions have received together, those that were left included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Datagrams handed over.
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
}

impl SubscriptionReport {
    /// Frames of sources that are not wanted, dropped or passed.
    pub(crate) fn unwanted(&self) -> Option<u64> {
        Some(self.blocked? + self.passed_shared?)
    }
}
