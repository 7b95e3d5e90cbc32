//! The handle that steers a receiver while it runs, and reads its counts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::error::Error;
use crate::api::evidence::Evidence;
use crate::api::mode::{ReceiveMode, Refused};
use crate::api::report::SubscriptionReport;
use crate::engine::control::{Control, named_sources};
use crate::engine::filter::SubscriptionId;
use crate::stats::ledger::Ledger;
use receiver_host::Interface;
use receiver_membership::Subscription;

/// Steers a receiver from anywhere. Clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    pub(crate) control: Arc<Control>,
}

impl Handle {
    /// Joins. To be called in the network namespace that the receiver was built in. Packets come from when this
    /// returns, at the latest; none that is wanted is lost for the change.
    ///
    /// # Errors
    /// [`Error::Overlap`], [`Error::Subscription`], [`Error::FilterFull`], [`Error::Membership`]: nothing was changed.
    pub fn join(&self, subscription: &Subscription) -> Result<SubscriptionId, Error> {
        let id = self.control.join(subscription)?;
        self.control.look_at_others();
        self.control.check_reverse_path(named_sources(subscription));
        Ok(id)
    }

    /// Joins several: all of them or none. One change of the membership for each group and port, so that thousands of
    /// sources of one group cost little more than one. Returns their ids in the same order.
    ///
    /// # Errors
    /// As [`Handle::join`].
    pub fn join_all(&self, subscriptions: &[Subscription]) -> Result<Vec<SubscriptionId>, Error> {
        let ids = self.control.join_all(subscriptions, &|| false)?;
        self.control.look_at_others();
        self.control.check_reverse_path(subscriptions.iter().flat_map(named_sources));
        Ok(ids)
    }

    /// Leaves. Nothing is handed over for the subscription after this returned.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`].
    pub fn leave(&self, id: SubscriptionId) -> Result<(), Error> {
        self.control.leave(id)
    }

    /// Blocks a source of an any-source subscription. None of its datagrams is handed over after this returned: the
    /// call waits for a callback that is under way, for a second at most (but not for the one it is called from).
    ///
    /// # Errors
    /// [`Error::WrongFilterMode`], [`Error::SourceState`], [`Error::Membership`] and others: nothing was changed.
    pub fn block(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.block(id, source)
    }

    /// Hears a blocked source again.
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

    /// Removes a source from a source-specific subscription; the last one can not be removed, only left with it.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn leave_source(&self, id: SubscriptionId, source: IpAddr) -> Result<(), Error> {
        self.control.leave_source(id, source)
    }

    /// Replaces the sources of a subscription (the blocked ones, if it is any-source). A source that is in both lists
    /// loses no packet.
    ///
    /// # Errors
    /// As [`Handle::block`].
    pub fn set_sources(&self, id: SubscriptionId, sources: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.control.set_sources(id, sources.clone())?;
        self.control.check_sources(id, &sources);
        Ok(())
    }

    /// What each subscription has received, in the order of joining.
    ///
    /// # Errors
    /// [`Error::Program`] when a counter can not be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionReport>, Error> {
        self.control.subscriptions()
    }

    /// The books.
    ///
    /// # Errors
    /// [`Error::Program`] or [`Error::Xsk`] when a counter can not be read.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        self.control.ledger()
    }

    /// What is known of the reasons why subscriptions have received nothing so far. Ask before [`Handle::shutdown`]:
    /// the
    /// memberships are looked at, too. Costs some system calls, and one for each named source, up to 1,024, where the
    /// reverse path filter has dropped packets.
    ///
    /// # Errors
    /// [`Error::Program`] or [`Error::Xsk`] when a counter can not be read.
    pub fn evidence(&self) -> Result<Evidence, Error> {
        self.control.evidence()
    }

    /// The mode that was got.
    pub fn mode(&self) -> ReceiveMode {
        self.control.mode()
    }

    /// The modes above it on the ladder, and why they could not be had.
    pub fn refused(&self) -> &[Refused] {
        self.control.refused()
    }

    /// What is not as it should be, but does not stand in the way: told in the order in which it was noticed, since the
    /// start. An older querier on the link is among it (IGMPv1, IGMPv2, MLDv1), with which source joins are not
    /// signalled; so is
    /// each other program that uses a subscribed group and port, once when that begins and once when it ends.
    pub fn warnings(&self) -> Vec<String> {
        self.control.warnings()
    }

    /// The interface as it was at the start, or when it came back.
    pub fn interface(&self) -> Interface {
        self.control.interface()
    }

    /// Leaves all groups and takes the program off the interface. Workers hand over what had come, then their `poll`
    /// says
    /// [`Error::Stopped`]. The books stay open.
    ///
    /// # Errors
    /// [`Error::Program`] when the program can not be detached by hand; it goes with the process.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.control.shutdown()
    }
}
