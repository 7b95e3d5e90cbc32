//! What a user of the library can rely on for each public type: `Debug`, `Send`, and `Sync` where threads can share it.

use std::fmt::Debug;

use receiver::{
    AsyncReceiver, Builder, BusyPoll, Capability, Datagram, DropUnwanted, Error, Evidence, Finding, Handle, Holder,
    HostLedger, HugePages, IgmpVersion, Interface, InterfaceError, KernelLedger, Lack, Ledger, LinkChange, LinkCount,
    LinkHistory, LinkLedger, MembershipError, MembershipReport, ModeRequest, OwnedDatagram, ParseError, Path, Process,
    QueueReport, Queues, ReceiveMode, ReceiveTime, Receiver, ReceiverConfig, Refused, Silence, SourceFilter,
    Subscription, SubscriptionError, SubscriptionId, SubscriptionReport, TimeOrigin, Verdict, Vlan, Wait, Worker,
    XskError, XskLedger,
};

fn is_debug<T: Debug>() {}
fn is_send<T: Debug + Send>() {}
fn is_shared<T: Debug + Send + Sync + Clone>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

macro_rules! each {
    ($check:ident: $($kind:ty),+ $(,)?) => { $($check::<$kind>();)+ };
}

#[test]
fn every_type_is_debug_and_goes_where_it_can() {
    // Lent for the length of a callback, on the thread of its worker.
    each!(is_debug: Datagram<'_>);
    each!(is_send: Receiver, Worker, AsyncReceiver);
    each!(is_shared:
        Builder, BusyPoll, Capability, DropUnwanted, Evidence, Finding, Handle, Holder, HostLedger, HugePages,
        IgmpVersion,
        Interface, KernelLedger, Lack, Ledger, LinkChange, LinkCount, LinkHistory, LinkLedger, MembershipReport,
        QueueReport, ModeRequest, OwnedDatagram, Path, Process, Queues,
        ReceiveMode,
        ReceiveTime, ReceiverConfig, Refused, Silence, SourceFilter, Subscription, SubscriptionId, SubscriptionReport,
        TimeOrigin, Verdict, Vlan, Wait, XskLedger,
    );
    each!(is_error: Error, InterfaceError, MembershipError, ParseError, SubscriptionError, XskError);
}
