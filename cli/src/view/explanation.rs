//! Words for why subscriptions received nothing: the library's findings, each with the option or subscription that
//! helps.

use std::collections::BTreeSet;
use std::io::{self, Write};

use receiver::{Evidence, Finding, Silence, SourceFilter, Subscription};

use crate::figures::Stream;
use crate::units::count;

/// The most subscriptions that are explained one by one. JSON explains all.
const MOST_SILENT: usize = 10;

/// The evidence at the end of the run, without subscriptions whose first packet came after it was gathered.
pub fn at_the_end(mut evidence: Evidence, streams: &[Stream]) -> Evidence {
    let silent: BTreeSet<&str> =
        streams.iter().filter(|stream| stream.flow.packets == 0).map(|stream| stream.subscription.as_str()).collect();
    evidence.silent.retain(|silence| silent.contains(silence.subscription.to_string().as_str()));
    if evidence.silent.is_empty() { Evidence::default() } else { evidence }
}

/// Writes the evidence, or nothing if each subscription received something.
pub fn write(out: &mut impl Write, evidence: &Evidence, subscriptions: usize) -> io::Result<()> {
    if evidence.silent.is_empty() {
        return Ok(());
    }
    let all = count(subscriptions as u64, "subscription");
    writeln!(out, "nothing came for {} of {all}:", evidence.silent.len())?;
    for finding in &evidence.findings {
        writeln!(out, "  {finding}{}", remedy(finding, None))?;
    }
    let explained = evidence.silent.iter().filter(|silence| !silence.findings.is_empty());
    for Silence { subscription, findings, .. } in explained.clone().take(MOST_SILENT) {
        for finding in findings {
            writeln!(out, "  {subscription}: {finding}{}", remedy(finding, Some(subscription)))?;
        }
    }
    match explained.count().saturating_sub(MOST_SILENT) {
        0 => {}
        more => writeln!(out, "  and {more} more; the summary in JSON explains each")?,
    }
    if evidence.findings.is_empty() && evidence.silent.iter().all(|silence| silence.findings.is_empty()) {
        writeln!(out, "  no reason is known")?;
    }
    Ok(())
}

/// The option or subscription that helps. Empty if the finding names the remedy itself, or nothing helps.
fn remedy(finding: &Finding, subscription: Option<&Subscription>) -> String {
    match finding {
        Finding::VlanTags { wanted: None, .. } => "; receive them with --vlan ID".to_owned(),
        Finding::VlanTags { wanted: Some(_), .. } => "; --vlan names the tags to receive".to_owned(),
        Finding::FramesUnknown { .. } => "; an XDP mode counts them".to_owned(),
        Finding::Lost { .. } => "; --ring-size and --socket-buffer make more room".to_owned(),
        Finding::OtherPorts { ports, .. } => subscription
            .zip(ports.first())
            .and_then(|(subscription, &port)| same_sources(subscription, port))
            .map_or_else(String::new, |other| format!("; for those, subscribe to {other}")),
        Finding::UnwantedSources { group, port, latest: Some(latest), .. } => match subscription {
            Some(subscription) if subscription.filter().is_exclude() => "; the subscription blocks it".to_owned(),
            _ => {
                let filter = SourceFilter::Include([*latest].into());
                let other = Subscription::new(*group, *port, filter);
                other.map_or_else(|_| String::new(), |other| format!("; for that one, subscribe to {other}"))
            }
        },
        _ => String::new(),
    }
}

fn same_sources(subscription: &Subscription, port: u16) -> Option<Subscription> {
    Subscription::new(subscription.group(), port, subscription.filter().clone()).ok()
}
