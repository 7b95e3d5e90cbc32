//! Outages of the link: counted and timed from the states and carrier counts that netlink reports, in their order.

use std::time::{Duration, Instant};

/// What link changes cost. Durations are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkLedger {
    /// How often the link went away, or the receiver lost its program or sockets. Outages that ended before they could
    /// be seen are included, by the kernel's count of lost carriers; they add to no duration.
    pub outages: u64,
    /// Total time that it was away, until packets could be received again.
    pub outage_milliseconds: u64,
    /// The part of it from the link's return until everything was restored.
    pub recovery_milliseconds: u64,
    /// Packets that may have been missed: the packet rate before each outage times its length. An estimate.
    pub missed_estimate: u64,
    /// How often IPv4 alone went away from the interface, with its memberships, while the link stayed up.
    pub ipv4_outages: u64,
    /// Total time that IPv4 was away, until its groups were joined again. Packets missed meanwhile are in
    /// `missed_estimate`.
    pub ipv4_outage_milliseconds: u64,
    /// How often IPv6 alone went away, because of an MTU below 1,280 or `disable_ipv6`.
    pub ipv6_outages: u64,
    /// Total time that IPv6 was away.
    pub ipv6_outage_milliseconds: u64,
}

/// More lost carriers than there can be between two states.
const MOST_UNSEEN: u32 = 1 << 31;

/// Outages that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub count: u64,
    pub away: Duration,
    pub recovery: Duration,
    pub missed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    since: Instant,
    /// Packets per second before.
    rate: f64,
    /// Since when the link is back, while the receiver is not completely restored.
    back: Option<Instant>,
    /// The kernel's count of lost carriers includes this outage.
    counted: bool,
}

/// Follows one link.
#[derive(Debug)]
pub(super) struct Outages {
    away: Option<Away>,
    /// Outages that began and are not recorded yet.
    count: u64,
    /// How often the link has lost its carrier, as last reported.
    carrier_downs: Option<u32>,
}

impl Outages {
    /// For a device with this carrier count.
    pub fn new(carrier_downs: Option<u32>) -> Self {
        Self { away: None, count: 0, carrier_downs }
    }

    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Records that the link is usable or not, by a message of netlink or by a state that no message follows. `rate` is
    /// the packet rate before an outage that begins now.
    pub fn observe(&mut self, usable: bool, carrier_downs: Option<u32>, rate: f64) {
        // Outages that no message reports: they were over before it was made.
        let mut unseen = match (self.carrier_downs, carrier_downs) {
            (Some(before), Some(now)) => Some(now.wrapping_sub(before))
                // A count that went back is that of another device, whose message was lost.
                .filter(|&more| more < MOST_UNSEEN)
                .map_or(0, u64::from),
            _ => 0,
        };
        self.carrier_downs = carrier_downs.or(self.carrier_downs);
        let Some(away) = &mut self.away else {
            if usable {
                self.count += unseen;
            } else {
                self.begin(Instant::now(), rate);
                self.count += unseen.saturating_sub(1);
                self.away = self.away.map(|away| Away { counted: unseen > 0, ..away });
            }
            return;
        };
        if !away.counted && unseen > 0 {
            away.counted = true;
            unseen -= 1;
        }
        if usable {
            away.back.get_or_insert_with(Instant::now);
        } else if away.back.take().is_some() {
            // It came back and went again: two outages, whether or not its carrier is counted.
            away.counted = unseen > 0;
            unseen = unseen.max(1);
        }
        self.count += unseen;
    }

    /// Records that an outage begins, or goes on.
    pub fn begin(&mut self, since: Instant, rate: f64) {
        if self.away.is_none() {
            self.count += 1;
            self.away = Some(Away { since, rate, back: None, counted: false });
        }
    }

    /// Records that another device replaces the link: its carrier has its own count.
    pub fn change_device(&mut self, carrier_downs: Option<u32>) {
        self.carrier_downs = carrier_downs;
    }

    /// Records whether the link is usable, as of a state that may be older than the last message.
    pub fn set_usable(&mut self, usable: bool) {
        if let Some(away) = &mut self.away {
            away.back = usable.then(|| away.back.unwrap_or_else(Instant::now));
        }
    }

    /// Ends the outage: the link is up and the receiver complete. Returns what is to be recorded.
    pub fn end(&mut self) -> Option<Over> {
        let count = std::mem::take(&mut self.count);
        let Some(Away { since, rate, back, .. }) = self.away.take() else {
            let unseen = Over { count, away: Duration::ZERO, recovery: Duration::ZERO, missed: 0 };
            return (count > 0).then_some(unseen);
        };
        let away = since.elapsed();
        let recovery = back.map_or(Duration::ZERO, |back| back.elapsed());
        Some(Over { count, away, recovery, missed: (rate * away.as_secs_f64()) as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many outages these messages make, each usable or not, with the carrier's count.
    fn outages(messages: &[(bool, Option<u32>)]) -> u64 {
        let mut link = Outages::new(messages[0].1);
        for &(usable, downs) in &messages[1..] {
            link.observe(usable, downs, 0.0);
        }
        link.end().map_or(0, |over| over.count)
    }

    #[test]
    fn each_loss_of_the_carrier_is_one_outage() {
        let (up, down) = (|n| (true, Some(n)), |n| (false, Some(n)));
        assert_eq!(outages(&[up(1), up(1)]), 0);
        assert_eq!(outages(&[up(1), down(2), up(2)]), 1);
        assert_eq!(outages(&[up(1), up(4)]), 3, "none of them was seen");
        assert_eq!(outages(&[up(1), down(4), down(4), up(4)]), 3);
        assert_eq!(outages(&[up(1), down(2), up(2), down(3), up(3)]), 2);
        assert_eq!(outages(&[up(1), down(2), down(3), up(3)]), 2, "its return was not seen");
        assert_eq!(outages(&[up(1), down(1), down(2), up(2)]), 1, "down by hand first, then the carrier");
        assert_eq!(outages(&[up(1), down(2), up(3)]), 2);
        assert_eq!(outages(&[up(u32::MAX), down(0), up(0)]), 1);
    }

    #[test]
    fn a_state_before_the_message_makes_no_second_outage() {
        let mut link = Outages::new(Some(1));
        link.begin(Instant::now(), 0.0);
        link.observe(false, Some(2), 0.0);
        link.observe(true, Some(2), 0.0);
        assert_eq!(link.end().map(|over| over.count), Some(1));
        assert_eq!(link.end(), None);
    }

    /// A driver that reports its carrier late: the state has counted what the message then reports.
    #[test]
    fn a_message_after_the_state_makes_no_second_outage() {
        let mut link = Outages::new(Some(1));
        link.observe(false, Some(2), 0.0);
        link.observe(true, Some(2), 0.0);
        assert_eq!(link.end().map(|over| over.count), Some(1));
        link.observe(true, Some(2), 0.0);
        assert_eq!(link.end(), None);
    }

    #[test]
    fn another_device_whose_message_was_lost_is_no_outage_by_its_count() {
        assert_eq!(outages(&[(true, Some(9)), (true, Some(1)), (true, Some(2))]), 1);
    }

    #[test]
    fn a_carrier_that_is_not_counted_goes_by_the_states() {
        let (up, down) = ((true, None), (false, None));
        assert_eq!(outages(&[up, down, up, down, down, up]), 2);
        let (up, down) = ((true, Some(0)), (false, Some(0)));
        assert_eq!(outages(&[up, down, up, down, up]), 2, "a driver that keeps its carrier while down");
    }
}
