//! Which public types can be sent to, and shared with, other threads; all of them print themselves.

use std::fmt::Debug;

use receiver_xsk::{
    BindConfig, BindMode, BusyPoll, Call, Cause, Consumer, Counters, Descriptor, Errno, Error, HugePages, Lease,
    Mapping, Monitor, PageSize, Producer, Queue, Received, Statistics, Taken, Umem, UmemConfig, XskSocket,
};

fn is_shared<T: Send + Sync + Debug>() {}
fn is_sent<T: Send + Debug>() {}
fn is_debug<T: Debug>() {}

#[test]
fn public_types_are_send_and_sync_where_that_is_sound() {
    is_shared::<BindConfig>();
    is_shared::<BindMode>();
    is_shared::<BusyPoll>();
    is_shared::<Call>();
    is_shared::<Cause>();
    is_shared::<Counters>();
    is_shared::<Descriptor>();
    is_shared::<Errno>();
    is_shared::<Error>();
    is_shared::<HugePages>();
    is_shared::<Lease>();
    is_shared::<Mapping>();
    is_shared::<Monitor>();
    is_shared::<PageSize>();
    is_shared::<Statistics>();
    is_shared::<Umem>();
    is_shared::<UmemConfig>();
    // One thread at a time works on a ring.
    is_sent::<Consumer<Descriptor>>();
    is_sent::<Producer<u64>>();
    is_sent::<Queue>();
    is_sent::<Taken<'_, Descriptor>>();
    is_sent::<XskSocket>();
    // Lent for the time of a callback.
    is_debug::<Received<'_>>();
}
