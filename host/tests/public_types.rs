//! The public types can be logged, and moved to and shared between threads.

use std::fmt::Debug;

fn shared<T: Debug + Send + Sync + 'static>() {}

#[test]
fn public_types_are_debug_send_and_sync() {
    shared::<receiver_host::Capability>();
    shared::<receiver_host::Families>();
    shared::<receiver_host::Interface>();
    shared::<receiver_host::InterfaceAddress>();
    shared::<receiver_host::InterfaceError>();
    shared::<receiver_host::Lack>();
    shared::<receiver_host::LinkCounters>();
    shared::<receiver_host::LinkEvent>();
    shared::<receiver_host::LinkEvents>();
    shared::<receiver_host::LinkState>();
    shared::<receiver_host::Netlink>();
    shared::<receiver_host::Related>();
    shared::<receiver_host::Relations>();
    shared::<receiver_host::XdpFeatures>();
    shared::<receiver_host::ethtool::RingDepth>();
}
