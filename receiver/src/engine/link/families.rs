//! Outages of one IP version on a link that is up, and what they cost its subscriptions.

use std::time::{Duration, Instant};

use super::rate::Rate;

/// The state of IPv4 and of IPv6.
#[derive(Debug, Default)]
pub(super) struct FamilyOutages([Family; 2]);

#[derive(Debug, Default)]
struct Family {
    away: Option<Away>,
    /// The warning that was reported.
    reported: Option<String>,
    rate: Rate,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    since: Instant,
    /// Datagrams received before. In the modes with XDP some may arrive during the outage.
    received: u64,
}

/// An outage of one IP version that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FamilyOver {
    pub ipv6: bool,
    pub away: Duration,
    /// Datagrams that may have been missed: an estimate.
    pub missed: u64,
}

impl FamilyOutages {
    /// Records the datagrams received so far, of IPv4 and of IPv6.
    pub fn sample(&mut self, received: [u64; 2], now: Instant) {
        for (family, total) in self.0.iter_mut().zip(received).filter(|(family, _)| family.away.is_none()) {
            family.rate.sample(total, now);
        }
    }

    /// Records that an outage begins, or goes on.
    pub fn begin(&mut self, ipv6: bool, received: u64, now: Instant) {
        self.0[usize::from(ipv6)].away.get_or_insert(Away { since: now, received });
    }

    pub fn is_away(&self, ipv6: bool) -> bool {
        self.0[usize::from(ipv6)].away.is_some()
    }

    /// Ends an outage: the version is back and its groups are joined.
    pub fn end(&mut self, ipv6: bool, received: u64, now: Instant) -> Option<FamilyOver> {
        let family = &mut self.0[usize::from(ipv6)];
        let Away { since, received: before } = family.away.take()?;
        let away = now.duration_since(since);
        let expected = (family.rate.per_second() * away.as_secs_f64()) as u64;
        family.rate.restart();
        family.reported = None;
        Some(FamilyOver { ipv6, away, missed: expected.saturating_sub(received.saturating_sub(before)) })
    }

    /// Returns true if this warning was not reported yet.
    pub fn is_new(&mut self, ipv6: bool, warning: &str) -> bool {
        let reported = &mut self.0[usize::from(ipv6)].reported;
        let is_new = reported.as_deref() != Some(warning);
        *reported = Some(warning.to_owned());
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_one_version_costs_that_version_alone() {
        let (mut families, start) = (FamilyOutages::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        families.sample([0, 0], after(0));
        families.sample([1_000, 100], after(1));
        families.begin(true, 100, after(1));
        families.begin(true, 100, after(2));
        assert!(families.is_away(true) && !families.is_away(false));
        families.sample([2_000, 100], after(2));
        assert_eq!(families.end(false, 2_000, after(3)), None);
        let over = FamilyOver { ipv6: true, away: Duration::from_secs(2), missed: 150 };
        assert_eq!(families.end(true, 150, after(3)), Some(over), "50 of 200 came all the same");
        assert_eq!(families.end(true, 150, after(3)), None, "recorded once");
    }

    #[test]
    fn a_warning_is_new_until_it_is_over() {
        let mut families = FamilyOutages::default();
        let now = Instant::now();
        families.begin(true, 0, now);
        assert!(families.is_new(true, "MTU 1200") && !families.is_new(true, "MTU 1200"));
        assert!(families.is_new(true, "MTU 1000") && families.is_new(false, "MTU 1000"));
        families.end(true, 0, now);
        assert!(families.is_new(true, "MTU 1000"));
    }
}
