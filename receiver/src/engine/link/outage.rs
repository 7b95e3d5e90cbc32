//! When the link is away, and how often it went: from the states and the carrier count that netlink tells, in their
//! order.

use std::time::{Duration, Instant};

/// What link changes cost. Durations are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkLedger {
    /// How often the link went away, or the receiver was taken off it. Outages that were over before they could be seen
    /// are among them, by the kernel's count of lost carriers; they add to no duration.
    pub outages: u64,
    /// How long it was away, in all, until packets could be received again.
    pub outage_milliseconds: u64,
    /// Of that, from the link's return until everything was put back.
    pub recovery_milliseconds: u64,
    /// The packet rate before each outage times its length: what it may have cost. An estimate; test streams tell
    /// exactly.
    pub missed_estimate: u64,
    /// How often IPv4 alone went away from the interface, with memberships of it, while the link stayed up.
    pub ipv4_outages: u64,
    /// How long it was away, in all, until its groups were joined again. What that may have cost is in
    /// `missed_estimate`.
    pub ipv4_outage_milliseconds: u64,
    /// The same for IPv6: by an MTU below 1,280, or `disable_ipv6`.
    pub ipv6_outages: u64,
    /// How long IPv6 was away, in all.
    pub ipv6_outage_milliseconds: u64,
}

/// More lost carriers than can be between two looks.
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
    /// Since when the link is back, but not all is put back.
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
    /// How often the link has lost its carrier, as was last told.
    carrier_downs: Option<u32>,
}

impl Outages {
    /// For a device that tells this of its carrier now.
    pub fn new(carrier_downs: Option<u32>) -> Self {
        Self { away: None, count: 0, carrier_downs }
    }

    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Netlink tells that the link is usable or not, by a message or by a look that no message follows; `rate` is that
    /// before an outage that begins now.
    pub fn observe(&mut self, usable: bool, carrier_downs: Option<u32>, rate: f64) {
        // Those of which no message tells: they were over before it was made.
        let mut unseen = match (self.carrier_downs, carrier_downs) {
            (Some(before), Some(now)) => Some(now.wrapping_sub(before))
                // A count that went back is another device's, whose message was lost: it says nothing of this one.
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
            // It came back and went again: away twice, whether or not its carrier is counted.
            away.counted = unseen > 0;
            unseen = unseen.max(1);
        }
        self.count += unseen;
    }

    /// An outage began, or goes on.
    pub fn begin(&mut self, since: Instant, rate: f64) {
        if self.away.is_none() {
            self.count += 1;
            self.away = Some(Away { since, rate, back: None, counted: false });
        }
    }

    /// Another device takes the link's place: its carrier has a count of its own.
    pub fn change_device(&mut self, carrier_downs: Option<u32>) {
        self.carrier_downs = carrier_downs;
    }

    /// A look at the link says whether it can be used.
    pub fn look(&mut self, usable: bool) {
        if let Some(away) = &mut self.away {
            away.back = usable.then(|| away.back.unwrap_or_else(Instant::now));
        }
    }

    /// The link is up and everything is in its place: what is to be recorded.
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
    fn a_look_before_the_message_makes_no_second_outage() {
        let mut link = Outages::new(Some(1));
        link.begin(Instant::now(), 0.0);
        link.observe(false, Some(2), 0.0);
        link.observe(true, Some(2), 0.0);
        assert_eq!(link.end().map(|over| over.count), Some(1));
        assert_eq!(link.end(), None);
    }

    /// A driver that reports its carrier late: the look has counted what the message then says.
    #[test]
    fn a_message_after_the_look_makes_no_second_outage() {
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
