//! What happened to the link, in words.

use super::occurrences::{Occurrence, Weight};
use crate::top::stats::{LinkEvent, Stats};

/// Two answers give the time of one event with this difference at most, in seconds.
const JITTER: f64 = 0.05;

/// Each change by its name, how grave it is, and what it means.
const CHANGES: [(&str, Weight, &str); 16] = [
    ("down", Weight::Bad, "the link is down"),
    ("up", Weight::Good, "the link is up"),
    ("gone", Weight::Bad, "the interface was deleted"),
    ("moved", Weight::Bad, "the interface moved to another network namespace"),
    ("back", Weight::Good, "the interface is there again"),
    ("renamed", Weight::Warning, "the interface has another name"),
    ("detached", Weight::Bad, "somebody detached the XDP program"),
    ("attached", Weight::Good, "the XDP program is attached again"),
    ("unbound", Weight::Bad, "the AF_XDP sockets lost their device; new ones are made"),
    ("ipv4_gone", Weight::Bad, "IPv4 left the interface, and its memberships with it"),
    ("ipv4_back", Weight::Good, "IPv4 is back on the interface"),
    ("ipv6_gone", Weight::Bad, "IPv6 left the interface, and its memberships with it"),
    ("ipv6_back", Weight::Good, "IPv6 is back on the interface"),
    ("memberships_lost", Weight::Bad, "the kernel lost groups that were joined; they are joined again"),
    ("queues_changed", Weight::Warning, "the interface has another number of receive queues"),
    ("mtu_changed", Weight::Warning, "the interface has another MTU"),
];

/// The changes of the later answer that the earlier one did not have.
pub fn changes<'a>(before: &'a Stats, now: &'a Stats) -> impl Iterator<Item = Occurrence> + 'a {
    let time = |stats: &Stats, event: &LinkEvent| stats.elapsed_seconds - event.seconds_ago;
    let is_new = move |event: &&LinkEvent| {
        let at = time(now, event);
        !before.link_events.iter().any(|old| old.event == event.event && (time(before, old) - at).abs() < JITTER)
    };
    now.link_events.iter().filter(is_new).map(move |event| {
        let known = CHANGES.iter().find(|(name, ..)| *name == event.event);
        let (weight, text) = known.map_or((Weight::Plain, event.event.as_str()), |&(_, weight, text)| (weight, text));
        Occurrence { at: time(now, event), weight, text: text.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use receiver::LinkChange;

    #[test]
    fn each_change_has_words() {
        for change in LinkChange::ALL {
            assert!(CHANGES.iter().any(|(name, ..)| *name == change.name()), "{}", change.name());
        }
        assert_eq!(CHANGES.len(), LinkChange::ALL.len());
    }

    #[test]
    fn an_event_is_new_once() {
        let stats = |elapsed: f64, events: &[(&str, f64)]| Stats {
            elapsed_seconds: elapsed,
            link_events: events
                .iter()
                .map(|&(event, seconds_ago)| LinkEvent { event: event.into(), seconds_ago })
                .collect(),
            ..Stats::default()
        };
        let before = stats(10.0, &[("down", 2.0), ("up", 1.0)]);
        let now = stats(11.0, &[("down", 3.001), ("up", 1.998), ("down", 0.5), ("later_kind", 0.1)]);
        let found: Vec<_> = changes(&before, &now).map(|change| (change.at, change.text)).collect();
        assert_eq!(found, [(10.5, "the link is down".to_owned()), (10.9, "later_kind".to_owned())]);
        assert_eq!(changes(&Stats::default(), &before).count(), 2, "at first, all");
    }
}
