//! What a receiver answers on an interface that has an XDP program already.

use netlab::Lab;
use receiver::{Error, ModeRequest};

use super::traces::Traces;
use super::{XDP, open, subscription};

/// What the refused receiver asks for.
pub const ASKED: &str = "10.0.0.2@232.1.1.2:5002";

/// The refusals in each XDP mode: each names these.
pub fn assert_refused(lab: &Lab, parts: &[&str]) {
    let before = Traces::of(lab);
    let id = before.xdp_program.expect("attached");
    for mode in XDP.map(ModeRequest::from).into_iter().chain([ModeRequest::Auto]) {
        let error = open(lab, |builder| builder.subscribe(subscription(ASKED)).mode(mode)).expect_err("refused");
        assert!(matches!(error, Error::XdpOccupied { program, .. } if program == id), "{error:?}");
        let message = error.to_string();
        for part in [lab.rx_interface(), &format!("program {id}"), "mode socket"].iter().chain(parts) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert_eq!(Traces::of(lab), before);
    }
}
