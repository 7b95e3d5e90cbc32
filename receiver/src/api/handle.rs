//! The handle that steers a receiver while it runs, and reads its counters.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::error::Error;
use crate::api::evidence::Evidence;
use crate::api::membership_report::MembershipReport;
use crate::api::mode::{ReceiveMode, Refused};
use crate::api::queue_report::QueueReport;
use crate::api::report::{SubscriptionReport, Totals};
use crate::engine::control::{Control, named_sources};
use crate::engine::filter::SubscriptionId;
use crate::engine::link::LinkHistory;
use crate::stats::ledger::Ledger;
use receiver_host::Interface;
use receiver_membership::Subscription;

/// Steers a receiver while it runs, from any thread. Clones steer the same receiver.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use receiver::Receiver;
///
/// let receiver = Receiver::builder("eth1").build()?;
/// let handle = receiver.handle();
/// let id = handle.join(&"10.0.0.1@232.1.1.1:5000".parse()?)?;
/// handle.join_source(id, "10.0.0.2".parse()?)?;
/// for report in handle.subscriptions()? {
///     println!("{}: {} packets", report.subscription, report.packets);
/// }
/// handle.leave(id)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) control: Arc<Control>,
}

impl Handle {
    /// Joins a subscription, in the network namespace that the receiver was built in. Packets are delivered by the time
    /// this returns. Other subscriptions lose nothing.
    ///
    /// # Errors
    /// [`Error::Overlap`], [`Error::Subscription`], [`Error::FilterFull`], [`Error::Membership`]: nothing was changed.
    pub fn join(&self, subscription: &Subscription) -> Result<SubscriptionId, Error> {
        let id = self.control.join(subscription)?;
        self.control.check_others();
        self.control.check_reverse_path(named_sources(subscription));
        Ok(id)
    }

    /// Joins several subscriptions: all of them or none. The membership of each group and port changes once, so that
    /// thousands of sources of one group cost little more than one. Returns the ids in the same order.
    ///
    /// # Errors
    /// As [`Handle::join`].
    pub fn join_all(&self, subscriptions: &[Subscription]) -> Result<Vec<SubscriptionId>, Error> {
        let ids = self.control.join_all(subscriptions, &|| false)?;
        self.control.check_others();
        self.control.check_reverse_path(subscriptions.iter().flat_map(named_sources));
        Ok(ids)
    }

    /// Leaves a subscription. Nothing is delivered for it after this has returned.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`].
    pub fn leave(&self, id: SubscriptionId) -> Result<(), Error> {
        self.control.leave(id)
    }

    /// Leaves several subscriptions, or none if one of them is unknown. Nothing is delivered for them after this has
    /// returned. For thousands it takes a small part of the time that [`Handle::leave`] takes for one after another, as
    /// the kernel looks for a membership from the latest on.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Membership`] if the kernel refused a change: the others were made.
    pub fn leave_all(&self, ids: &[SubscriptionId]) -> Result<(), Error> {
        self.control.leave_all(ids)
    }

    /// Blocks a source of an any-source subscription. None of its datagrams is delivered after this has returned: the
    /// call waits for callbacks that are running, for one second at most, except for the one that it is called from.
    ///
    /// # Errors
    /// [`Error::WrongFilterMode`], [`Error::SourceState`], [`Error::Membership`] and others: nothing was changed.
    pub fn block(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.block(id, source)
    }

    /// Unblocks a source of an any-source subscription.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn unblock(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.unblock(id, source)
    }

    /// Adds a source to a source-specific subscription.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn join_source(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.join_source(id, source)?;
        self.control.check_sources(id, &BTreeSet::from([source]));
        Ok(())
    }

    /// Removes a source from a source-specific subscription. The last source cannot be removed: leave the subscription.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn leave_source(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.leave_source(id, source)
    }

    /// Replaces the sources of a subscription, or the blocked sources if it is any-source. A source that is in both
    /// lists loses no packet.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn set_sources(&self, id: SubscriptionId, sources: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.control.set_sources(id, sources.clone())?;
        self.control.check_sources(id, &sources);
        Ok(())
    }

    /// Reads the counters of each subscription, in the order of joining.
    ///
    /// # Errors
    /// [`Error::Program`] if a counter cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionReport>, Error> {
        self.control.subscriptions()
    }

    /// Reads what all subscriptions have received together. Those that were left are included, so that the counts only
    /// grow.
    pub fn totals(&self) -> Totals {
        self.control.totals()
    }

    /// Reads the counters of each receive queue that has a worker. Empty in mode `socket`. No worker waits for it,
    /// except one whose socket is being replaced because the interface was made again.
    ///
    /// # Errors
    /// [`Error::Xsk`] if a counter cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueReport>, Error> {
        self.control.queues()
    }

    /// What has happened to the interface since the start: how often, and when.
    pub fn link_events(&self) -> LinkHistory {
        self.control.link_history()
    }

    /// The memberships, and whether the kernel has and signals them.
    pub fn memberships(&self) -> MembershipReport {
        self.control.memberships()
    }

    /// Reads the ledger: every frame under exactly one cause.
    ///
    /// # Errors
    /// [`Error::Program`] or [`Error::Xsk`] if a counter cannot be read.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        self.control.ledger()
    }

    /// Collects the reasons why subscriptions have received nothing so far. Call it before [`Handle::shutdown`], since
    /// memberships are evidence as well. It costs some system calls, and one for each named source, up to 1,024, if the
    /// reverse path filter has dropped packets.
    ///
    /// # Errors
    /// [`Error::Program`] or [`Error::Xsk`] if a counter cannot be read.
    pub fn evidence(&self) -> Result<Evidence, Error> {
        self.control.evidence()
    }

    /// The receive mode in use.
    pub fn mode(&self) -> ReceiveMode {
        self.control.mode()
    }

    /// Returns true if the kernel gets each packet too ([`Builder::share`](crate::Builder::share)). False in mode
    /// `socket`, where the kernel shares them.
    pub fn is_shared(&self) -> bool {
        self.control.is_shared()
    }

    /// The faster modes that are not available, and why.
    pub fn refused(&self) -> &[Refused] {
        self.control.refused()
    }

    /// Warnings since the start, in order. Examples: mode `auto` fell back to mode `socket`; an older querier (IGMPv1,
    /// IGMPv2, MLDv1) keeps joins of sources from being signalled; another program began or ceased to use a subscribed
    /// group and port.
    pub fn warnings(&self) -> Vec<String> {
        self.control.warnings()
    }

    /// The interface as it was at the start, or when it last came back.
    pub fn interface(&self) -> Interface {
        self.control.interface()
    }

    /// Leaves all groups and detaches the XDP program. Workers deliver what had arrived; then their `poll` returns
    /// [`Error::Stopped`]. Counters can still be read.
    ///
    /// # Errors
    /// [`Error::Program`] if the program cannot be detached; the kernel detaches it when the process ends.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.control.shutdown()
    }
}
