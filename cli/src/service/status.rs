//! The state of a run in one line, as `systemctl status` shows it.

use crate::figures::{Facts, Figures, drops};
use crate::units::{count, short, with_unit};

/// Drops that are what the subscriptions ask for, and no loss.
const UNWANTED: [&str; 2] = ["dropped_not_included", "dropped_blocked"];
/// Causes that are named.
const NAMED: usize = 3;

/// The line for the figures of an interval.
pub fn line(facts: &Facts, figures: &Figures) -> String {
    let flow = &figures.total;
    let silent = figures.streams.iter().filter(|stream| stream.flow.packet_rate == 0.0).count();
    let (mode, interface) = (facts.mode, &facts.interface);
    let mut lost: Vec<(&str, u64)> =
        drops(&figures.ledger).into_iter().filter(|(name, _)| !UNWANTED.contains(name)).collect();
    let output = figures.dropped.output();
    if output > 0 {
        lost.push(("output_dropped", output));
    }
    format!(
        "{interface}, {mode}: {}, {}; {silent} of {} silent; {}",
        with_unit(flow.packet_rate, "packets/s"),
        with_unit(flow.bit_rate, "bit/s"),
        count(figures.streams.len() as u64, "subscription"),
        dropped(lost),
    )
}

/// The sum, and the largest causes.
fn dropped(mut causes: Vec<(&str, u64)>) -> String {
    causes.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let sum: u64 = causes.iter().map(|(_, count)| count).sum();
    let mut named: Vec<String> =
        causes.iter().take(NAMED).map(|(name, count)| format!("{name} {}", short(*count as f64))).collect();
    if causes.len() > NAMED {
        named.push("...".to_owned());
    }
    let named = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    format!("{} dropped{named}", short(sum as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_causes_are_named() {
        assert_eq!(dropped(vec![]), "0 dropped");
        assert_eq!(dropped(vec![("udp_checksum", 1)]), "1 dropped (udp_checksum 1)");
        let causes = vec![("a", 1), ("b", 20), ("c", 3000), ("d", 4)];
        assert_eq!(dropped(causes), "3.02 k dropped (c 3.00 k, b 20, d 4, ...)");
    }
}
