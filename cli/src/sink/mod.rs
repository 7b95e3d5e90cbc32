//! Sinks: where received data goes beyond being counted. A new kind is one file here, one form in [`grammar`], and one
//! line of [`SinkRequest::open`].

mod content;
mod discard;
mod failure;
mod file;
mod framed;
mod grammar;
mod hex;
mod impaired;
mod nats;
mod pcapng;
mod publish;
mod request;
mod rotation;
mod selection;
mod set;
mod traits;
mod udp;
mod unix;
mod watch;
mod written;

use std::ffi::OsString;

use crate::errors::UsageError;

pub use failure::SinkFailure;
pub use framed::OutputFormat;
pub use grammar::{Options as TargetOptions, Problem, nats::server as nats_server};
pub use nats::connect::{Health as NatsHealth, connect as nats_connect, runtime as nats_runtime};
pub use nats::rate::{self as nats_rate, Load as NatsLoad};
pub use nats::server::Server as NatsServer;
pub use publish::queue::PublishReport;
pub use publish::room::Room;
pub use request::SinkRequest;
pub use set::{Sinks, lock};
pub use traits::{Context, FeedOrigin, FrameSink, Origin, RecordingReport, SinkReport};

/// The most sinks of a run.
const MOST_SINKS: usize = 64;

/// The sinks that the options ask for, in this order. `more` are those of the configuration.
///
/// # Errors
/// A text is no target, two sinks have one name or both write to standard output, or there are more than 64.
pub fn requests(outputs: &[OsString], more: Vec<SinkRequest>, hex: bool) -> Result<Vec<SinkRequest>, UsageError> {
    let mut all: Vec<SinkRequest> = Vec::new();
    for output in outputs {
        let mut request = SinkRequest::parse(None, output)?;
        // Two relays to one host may take different subscriptions.
        let own = request.name().to_owned();
        let mut number = 1;
        while all.iter().any(|other| other.name() == request.name()) {
            number += 1;
            request = request.named(format!("{own} ({number})"));
        }
        all.push(request);
    }
    for request in more {
        if all.iter().any(|other| other.name() == request.name()) {
            return Err(UsageError(format!("two sinks have the name {}; give each its own", request.name())));
        }
        all.push(request);
    }
    let takes_stdout = all.iter().filter(|request| request.takes_stdout()).count();
    if takes_stdout > 1 {
        return Err(UsageError("two sinks write to standard output; write - for one of them".to_owned()));
    }
    all.extend(hex.then(|| SinkRequest::hex(takes_stdout > 0)));
    if all.len() > MOST_SINKS {
        return Err(UsageError(format!("{} sinks are asked for; a run has up to {MOST_SINKS}", all.len())));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn request(text: &str) -> SinkRequest {
        requests(&[text.into()], Vec::new(), false).expect(text).pop().expect("each text is a target")
    }

    #[test]
    fn each_text_has_its_kind() {
        assert!(request("-").takes_stdout() && request("-").file().is_none());
        assert!(!request("discard:").takes_stdout() && request("discard:").file().is_none());
        for path in ["file", "./-", "./discard:", "/dev/null"] {
            assert_eq!(request(path).file().as_deref(), Some(Path::new(path)));
        }
        assert!(request("udp://10.0.0.1:1").needs_times() && !request("udp://10.0.0.1:1?delay=0").needs_times());
    }

    #[test]
    fn a_hex_dump_gives_way_to_payloads_on_standard_output() {
        let takes_stdout = |outputs: &[OsString]| -> Vec<bool> {
            requests(outputs, Vec::new(), true).expect("targets").iter().map(SinkRequest::takes_stdout).collect()
        };
        assert_eq!(takes_stdout(&[]), [true]);
        assert_eq!(takes_stdout(&["-".into()]), [true, false]);
        assert!(requests(&[], Vec::new(), false).expect("none").is_empty());
    }

    #[test]
    fn each_sink_has_a_name_of_its_own() {
        let texts = ["udp://10.0.0.1:1", "udp://10.0.0.1:1?ttl=2", "discard:"].map(OsString::from);
        let all = requests(&texts, Vec::new(), false).expect("targets");
        let names: Vec<_> = all.iter().map(SinkRequest::name).collect();
        assert_eq!(names, ["udp://10.0.0.1:1", "udp://10.0.0.1:1 (2)", "discard:"]);
        let more = || vec![SinkRequest::parse(Some("discard:"), "discard:".as_ref()).expect("a target").routed()];
        let error = requests(&texts, more(), false).expect_err("one name twice");
        assert_eq!(error.to_string(), "two sinks have the name discard:; give each its own");
        let error = requests(&["-".into(), "-?limit=1k".into()], Vec::new(), false).expect_err("- twice");
        assert_eq!(error.to_string(), "two sinks write to standard output; write - for one of them");
        let error = requests(&vec!["discard:".into(); 65], Vec::new(), false).expect_err("65");
        assert_eq!(error.to_string(), "65 sinks are asked for; a run has up to 64");
    }
}
