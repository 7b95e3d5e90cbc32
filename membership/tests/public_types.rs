//! The public types can be logged, and moved to and shared between threads.

use std::fmt::Debug;

fn shared<T: Debug + Send + Sync + 'static>() {}
fn moved<T: Debug + Send + 'static>() {}

#[test]
fn public_types_are_debug_send_and_sync() {
    shared::<receiver_membership::Channel>();
    shared::<receiver_membership::Errno>();
    shared::<receiver_membership::InterfaceRef>();
    shared::<receiver_membership::Layout>();
    shared::<receiver_membership::Limits>();
    shared::<receiver_membership::MembershipError>();
    shared::<receiver_membership::MembershipSet>();
    shared::<receiver_membership::MembershipSocket<std::net::UdpSocket>>();
    shared::<receiver_membership::Operation>();
    shared::<receiver_membership::OptionStyle>();
    shared::<receiver_membership::Options>();
    shared::<receiver_membership::Reason>();
    shared::<receiver_membership::Refusal>();
    shared::<receiver_membership::Request>();
    shared::<receiver_membership::SocketError>();
    shared::<receiver_membership::SocketEvent>();
    shared::<receiver_membership::SourceFilter>();
    shared::<receiver_membership::State>();
    shared::<receiver_membership::Subscription>();
    shared::<receiver_membership::SubscriptionError>();
    shared::<receiver_membership::conformance::Answer>();
    shared::<receiver_membership::conformance::Family>();
    shared::<receiver_membership::conformance::Row>();
    shared::<receiver_membership::conformance::RowResult>();
    shared::<receiver_membership::conformance::Source>();
    shared::<receiver_membership::conformance::Step>();
    shared::<receiver_membership::querier::Compatibility>();
    shared::<receiver_membership::querier::Mld>();
    shared::<receiver_membership::querier::Warning>();
    shared::<receiver_membership::tables::IgmpVersion>();
    shared::<receiver_membership::tables::KernelGroup>();
    shared::<receiver_membership::tables::KernelMode>();
    shared::<receiver_membership::tables::KernelSource>();
    shared::<receiver_membership::tables::KernelTables>();
    shared::<receiver_membership::udp::KernelDatagram<'static>>();
    shared::<receiver_membership::udp::KernelStats>();
    shared::<receiver_membership::udp::OpenError>();
    shared::<receiver_membership::udp::ReceiveTime>();
    shared::<receiver_membership::udp::SocketId>();
    shared::<receiver_membership::udp::SocketOptions>();
    shared::<receiver_membership::udp::TimeOrigin>();
    shared::<receiver_membership::udp::UdpDataSocket>();
    moved::<receiver_membership::udp::KernelPath>();
}
