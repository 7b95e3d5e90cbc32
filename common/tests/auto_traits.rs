//! Every public type can be sent to, and shared with, other threads, and prints itself.

use std::fmt::Debug;

use receiver_common::generator::{Flow, Run};
use receiver_common::table::{Bucket, FlowEntry, GroupEntry};
use receiver_common::wire::{Network, Udp, UdpV4, UdpV6, VlanTags};
use receiver_common::{
    Action, AnyAddress, FlowAction, FlowKeyV4, FlowKeyV6, GroupAction, GroupKeyV6, OtherPort, Port, Stamp, Unwanted,
    Verdict,
};

fn is_shared<T: Send + Sync + Debug + Unpin + 'static>() {}

#[test]
fn all_types_are_send_sync_and_debug() {
    is_shared::<Action>();
    is_shared::<AnyAddress>();
    is_shared::<Bucket>();
    is_shared::<Flow>();
    is_shared::<FlowAction>();
    is_shared::<FlowEntry>();
    is_shared::<FlowKeyV4>();
    is_shared::<FlowKeyV6>();
    is_shared::<GroupAction>();
    is_shared::<GroupEntry>();
    is_shared::<GroupKeyV6>();
    is_shared::<Network>();
    is_shared::<OtherPort>();
    is_shared::<Port>();
    is_shared::<Run>();
    is_shared::<Stamp>();
    is_shared::<Udp>();
    is_shared::<UdpV4>();
    is_shared::<UdpV6>();
    is_shared::<Unwanted>();
    is_shared::<Verdict>();
    is_shared::<VlanTags>();
}
