//! What becomes of a datagram that the consumer has in hand. It is counted once, when the callback is over: the
//! counters never have to be corrected.

use std::cell::Cell;
use std::sync::Arc;

use crate::api::origin::ReceiveTime;
use crate::api::vlan::Vlan;
use crate::engine::copy_budget::CopyBudget;
use crate::engine::filter::EntryCounters;
use crate::stats::queue_counters::{DropReason, QueueCounters};

/// What the datagrams of one batch share.
pub(crate) struct Batch<'a> {
    /// How many more packets of the path may be kept without a copy.
    pub leases: Cell<u32>,
    pub budget: &'a Arc<CopyBudget>,
    pub counters: &'a QueueCounters,
    /// The path's number: [`Shared::path`](crate::engine::shared::Shared::path).
    pub path: usize,
    /// The VLAN tags that each datagram carried.
    pub vlan: Option<Vlan>,
    /// What became of the datagram that the consumer has in hand.
    pub outcome: Cell<Outcome>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The consumer saw it, and may have kept it.
    Delivered,
    /// The consumer wanted to keep it, but could not.
    NotKept,
    /// It is not the consumer's yet: [`Worker::settle`](crate::engine::worker::Worker::settle) decides later.
    Deferred,
}

/// Counts the outcome of one datagram when it is dropped, also when the consumer panics.
pub(crate) struct HandOver<'a> {
    pub batch: &'a Batch<'a>,
    pub subscription: &'a EntryCounters,
    pub bytes: usize,
    pub time: ReceiveTime,
}

impl Drop for HandOver<'_> {
    #[inline]
    fn drop(&mut self) {
        let counters = self.batch.counters;
        match self.batch.outcome.get() {
            Outcome::Delivered => {
                self.subscription.record(self.bytes as u64, self.time.nanoseconds);
                // Last: who reads the ledger first finds the datagram among its subscription's as well.
                counters.delivered.add(1);
            }
            Outcome::NotKept => counters.drop_for(DropReason::NotKept),
            Outcome::Deferred => counters.held.set(counters.held.get() + 1),
        }
    }
}
