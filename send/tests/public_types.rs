//! The public types can be logged, and moved to and shared between threads.

use std::fmt::Debug;

fn shared<T: Debug + Send + Sync + 'static>() {}
fn moved<T: Debug + Send + 'static>() {}

#[test]
fn public_types_are_debug_send_and_sync() {
    shared::<receiver_send::Burst>();
    shared::<receiver_send::FlowSent>();
    shared::<receiver_send::LinkSent>();
    shared::<receiver_send::LoadConfig>();
    shared::<receiver_send::SendConfig>();
    shared::<receiver_send::SendError>();
    shared::<receiver_send::SendReport>();
    shared::<receiver_send::StreamSpec>();
    shared::<receiver_send::StreamSpecs>();
    shared::<receiver_send::Traffic>();
    shared::<receiver_send::Way>();
    shared::<receiver_send::probe::FlowReport>();
    shared::<receiver_send::probe::LatencyReport>();
    shared::<receiver_send::probe::Observation>();
    shared::<receiver_send::probe::ProbeChecker>();
    shared::<receiver_send::probe::ProbePayload>();
    shared::<receiver_send::probe::ProbeReport>();
    moved::<receiver_send::Load>();
    moved::<receiver_send::Sender>();
}
