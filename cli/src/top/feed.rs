//! Where the dashboard's figures come from: a thread that asks the run at each interval, and passes requests on to it.
//! A run that answers late does not hold up the keys.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use receiver::Subscription;
use serde::Deserialize;
use serde_json::Value;

use super::app::{Event, Waker};
use super::keys::{Action, ActionKind};
use super::stats::Stats;
use crate::control::Request;

/// A run that can be asked, by the requests of the control socket.
pub trait Run {
    /// Sends a request and waits for the result.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn ask(&mut self, request: &Request) -> Result<Value, Unanswered>;
}

/// Why a request has no result, in words for the operator.
#[derive(Debug)]
pub enum Unanswered {
    /// The run refused it.
    Refused(String),
    /// The run does not answer.
    Lost(String),
}

impl Unanswered {
    fn text(self) -> String {
        match self {
            Self::Refused(text) | Self::Lost(text) => text,
        }
    }
}

/// Asks at each interval and passes actions on, until the dashboard ends.
pub fn run(run: &mut dyn Run, interval: Duration, actions: &Receiver<Action>, waker: &Waker) {
    let mut next = Instant::now();
    loop {
        match actions.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(action) => waker.send(act(run, &action)),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                waker.send(stats(run));
                // After a delay the missed ones are skipped.
                let now = Instant::now();
                next = next.checked_add(interval).filter(|&next| next > now).unwrap_or(now + interval);
            }
        }
    }
}

fn stats(run: &mut dyn Run) -> Event {
    match run.ask(&Request::Stats {}).map(serde_json::from_value::<Stats>) {
        Ok(Ok(stats)) => Event::Stats(Box::new(stats)),
        Ok(Err(error)) => Event::Lost(format!("the run answers what this version cannot read: {error}")),
        // A run that is starting refuses too.
        Err(unanswered) => Event::Lost(unanswered.text()),
    }
}

fn act(run: &mut dyn Run, action: &Action) -> Event {
    match action.kind {
        ActionKind::Explain => match explain(run, action) {
            Ok(findings) => Event::Findings(action.key.clone(), findings),
            Err(unanswered) => Event::Answer(Err(unanswered.text())),
        },
        ActionKind::Block(source) => change(run, action, source, true),
        ActionKind::Unblock(source) => change(run, action, source, false),
    }
}

fn change(run: &mut dyn Run, action: &Action, source: IpAddr, block: bool) -> Event {
    let request = match request_for(action, source, block) {
        Ok(request) => request,
        Err(text) => return Event::Answer(Err(text)),
    };
    let what = if block { "blocked" } else { "unblocked" };
    Event::Answer(match run.ask(&request) {
        Ok(_) => Ok(format!("{source} is {what} on {}", action.subscription)),
        Err(unanswered) => Err(unanswered.text()),
    })
}

/// A subscription with named sources has no blocked ones: there a source is taken from its sources, or added to them.
fn request_for(action: &Action, source: IpAddr, block: bool) -> Result<Request, String> {
    let subscription = action.key.clone();
    let written: Subscription = action.subscription.parse().map_err(|error| format!("{error}"))?;
    if written.filter().is_exclude() {
        return Ok(match block {
            true => Request::Block { subscription, source },
            false => Request::Unblock { subscription, source },
        });
    }
    let mut sources = written.filter().sources().clone();
    match (block, sources.contains(&source)) {
        (true, true) if sources.len() == 1 => {
            Err(format!("{source} is its only source; `receiver ctl leave {subscription}` leaves the subscription"))
        }
        (true, true) => {
            sources.remove(&source);
            Ok(Request::SetSources { subscription, sources })
        }
        (true, false) => Err(format!("{source} is none of its sources, so that XDP or the kernel drops it already")),
        (false, true) => Err(format!("{source} is one of its sources already")),
        (false, false) => {
            sources.insert(source);
            Ok(Request::SetSources { subscription, sources })
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Evidence {
    findings: Vec<Finding>,
    silent: Vec<Silent>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Silent {
    id: Option<u64>,
    subscription: String,
    findings: Vec<Finding>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Finding {
    text: String,
}

fn explain(run: &mut dyn Run, action: &Action) -> Result<Vec<String>, Unanswered> {
    let answer = run.ask(&Request::Evidence {})?;
    let evidence: Evidence = serde_json::from_value(answer).unwrap_or_default();
    let is_meant = |silent: &&Silent| match silent.id {
        Some(id) => action.key.parse() == Ok(id),
        None => silent.subscription == action.subscription,
    };
    let Some(silent) = evidence.silent.iter().find(is_meant) else {
        return Ok(vec![
            "packets have come for it: if they stopped, look at the sender, at the link (panel 3), and at what is \
             joined (`receiver membership`)"
                .to_owned(),
        ]);
    };
    let findings: Vec<String> =
        silent.findings.iter().chain(&evidence.findings).map(|finding| finding.text.clone()).collect();
    Ok(if findings.is_empty() { vec!["no reason is known".to_owned()] } else { findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn action(subscription: &str, kind: ActionKind) -> Action {
        Action { kind, key: "7".into(), subscription: subscription.into() }
    }

    fn source() -> IpAddr {
        "10.0.0.1".parse().expect("an address")
    }

    fn request(subscription: &str, block: bool) -> Result<Request, String> {
        request_for(&action(subscription, ActionKind::Block(source())), source(), block)
    }

    #[test]
    fn a_source_is_blocked_or_taken_from_the_named_ones() {
        let subscription = "7".to_owned();
        let (block, unblock) = (
            Request::Block { subscription: subscription.clone(), source: source() },
            Request::Unblock { subscription: subscription.clone(), source: source() },
        );
        assert_eq!(request("239.1.1.1:1", true), Ok(block));
        assert_eq!(request("!10.0.0.1@239.1.1.1:1", false), Ok(unblock));
        let other: IpAddr = "10.0.0.2".parse().expect("an address");
        let set = |sources: &[IpAddr]| {
            Ok(Request::SetSources { subscription: "7".to_owned(), sources: sources.iter().copied().collect() })
        };
        assert_eq!(request("10.0.0.1,10.0.0.2@232.1.1.1:1", true), set(&[other]));
        assert_eq!(request("10.0.0.2@232.1.1.1:1", false), set(&[source(), other]));
        for (subscription, block, says) in [
            ("10.0.0.1@232.1.1.1:1", true, "its only source; `receiver ctl leave 7`"),
            ("10.0.0.2@232.1.1.1:1", true, "none of its sources"),
            ("10.0.0.1@232.1.1.1:1", false, "one of its sources already"),
        ] {
            let error = request(subscription, block).expect_err(subscription);
            assert!(error.contains(says), "{error}");
        }
    }

    struct Answers(Value);

    impl Run for Answers {
        fn ask(&mut self, _: &Request) -> Result<Value, Unanswered> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn findings_are_those_of_the_subscription_and_of_the_run() {
        let answer = json!({
            "findings": [{"name": "no_frames", "text": "no frame arrived"}],
            "silent": [{"id": 6, "subscription": "a", "findings": [{"name": "x", "text": "not this one"}]},
                       {"id": 7, "subscription": "b", "findings": [{"name": "not_joined", "text": "not joined"}]}],
        });
        let action = action("239.1.1.1:1", ActionKind::Explain);
        let found = explain(&mut Answers(answer), &action).expect("findings");
        assert_eq!(found, ["not joined", "no frame arrived"]);
        let found = explain(&mut Answers(json!({"findings": [], "silent": []})), &action).expect("words");
        assert!(found[0].starts_with("packets have come for it"), "{found:?}");
    }
}
