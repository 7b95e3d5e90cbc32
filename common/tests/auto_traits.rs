//! Every public type can be sent to, and shared with, other threads, and prints itself.

use std::fmt::Debug;

use receiver_common::generator::{Flow, Run};
use receiver_common::table::{Key, v4, v6};
use receiver_common::wire::{Network, Udp, UdpV4, UdpV6, VlanTags};
use receiver_common::{
    Action, AnyAddress, FlowAction, FlowKeyV4, FlowKeyV6, GroupAction, OtherPort, Port, Stamp, Unwanted, Verdict,
};

fn is_shared<T: Send + Sync + Debug + Unpin + 'static>() {}

#[test]
fn all_types_are_send_sync_and_debug() {
    is_shared::<Action>();
    is_shared::<AnyAddress>();
    is_shared::<Flow>();
    is_shared::<FlowAction>();
    is_shared::<FlowKeyV4>();
    is_shared::<FlowKeyV6>();
    is_shared::<GroupAction>();
    is_shared::<Key<AnyAddress>>();
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
    is_shared::<v4::Bucket>();
    is_shared::<v4::FlowEntry>();
    is_shared::<v4::GroupEntry>();
    is_shared::<v6::Bucket>();
    is_shared::<v6::FlowEntry>();
    is_shared::<v6::GroupEntry>();
}
