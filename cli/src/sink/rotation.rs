//! The names of the files of one sink, and when the next file begins. Nothing here touches a file.
//!
//! A path with `%Y` and the like is the name of each file, with the time at which it began. Without them the file keeps
//! its name while it is written. Once it is finished, `.YYYYmmdd-HHMMSS` is added. A name that is taken gets `.1`, `.2`
//! and so on behind it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::grammar::has_times;

/// What a finished file's name gets if the path has no time.
const SUFFIX: &str = ".%Y%m%d-%H%M%S";

/// A moment in UTC: year, month, day, hour, minute, second.
type Moment = [u64; 6];

/// The conversions, in the order of [`Moment`], with their digits.
const CONVERSIONS: [(char, usize); 6] = [('Y', 4), ('m', 2), ('d', 2), ('H', 2), ('M', 2), ('S', 2)];

/// The form of names: letters, and times that stand among them.
#[derive(Clone, Debug)]
pub struct NameForm {
    text: String,
    is_timed: bool,
}

/// The place of a file in the order of a sink's files.
pub type Age = (Moment, u64);

impl NameForm {
    /// Names in which `%` stands for nothing but itself.
    pub fn literal(name: &str) -> Self {
        Self { text: name.replace('%', "%%"), is_timed: false }
    }

    /// Names with conversions, which [`super::grammar`] has checked.
    pub fn timed(name: &str) -> Self {
        Self { text: name.to_owned(), is_timed: has_times(name) }
    }

    /// Returns true if the name contains a time.
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// The name while the file is written.
    pub fn current(&self, began: SystemTime) -> String {
        formatted(&self.text, moment(began))
    }

    /// The name once the file is finished. `number` distinguishes files of one second.
    pub fn finished(&self, began: SystemTime, number: u64) -> String {
        let mut name = formatted(&self.finished_form(), moment(began));
        if number > 0 {
            name.push_str(&format!(".{number}"));
        }
        name
    }

    /// The age of a finished file, or `None` if another name was given.
    pub fn age(&self, name: &str) -> Option<Age> {
        let (moment, rest) = matched(&self.finished_form(), name)?;
        let number = match rest.strip_prefix('.') {
            None if rest.is_empty() => 0,
            Some(digits) if !digits.starts_with(['0', '+']) => digits.parse().ok()?,
            _ => return None,
        };
        Some((moment, number))
    }

    fn finished_form(&self) -> String {
        if self.is_timed { self.text.clone() } else { format!("{}{SUFFIX}", self.text) }
    }
}

/// The first boundary of a period, counted from 1970, after a moment.
pub fn next_boundary(after: SystemTime, every: Duration) -> SystemTime {
    let every = every.as_secs().max(1);
    UNIX_EPOCH + Duration::from_secs((seconds(after) / every + 1).saturating_mul(every).min(u64::from(u32::MAX) << 4))
}

/// Seconds since 1970.
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn formatted(form: &str, moment: Moment) -> String {
    let mut name = String::new();
    let mut characters = form.chars();
    while let Some(c) = characters.next() {
        let conversion = if c == '%' { characters.next() } else { None };
        match CONVERSIONS.iter().position(|(letter, _)| conversion == Some(*letter)) {
            Some(at) => name.push_str(&format!("{:0width$}", moment[at], width = CONVERSIONS[at].1)),
            None => name.push(c),
        }
    }
    name
}

/// The moment in a name of this form, and what follows in the name.
fn matched<'a>(form: &str, name: &'a str) -> Option<(Moment, &'a str)> {
    let mut moment = Moment::default();
    let mut rest = name;
    let mut characters = form.chars();
    while let Some(c) = characters.next() {
        let conversion = if c == '%' { characters.next() } else { None };
        match CONVERSIONS.iter().position(|(letter, _)| conversion == Some(*letter)) {
            Some(at) => {
                let digits = rest.get(..CONVERSIONS[at].1).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
                moment[at] = digits.parse().ok()?;
                rest = &rest[CONVERSIONS[at].1..];
            }
            None => rest = rest.strip_prefix(c)?,
        }
    }
    Some((moment, rest))
}

/// In UTC, in the calendar that counts on from 1970. Years have four digits.
fn moment(at: SystemTime) -> Moment {
    let seconds = seconds(at);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01: leap days then come last in each cycle of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year.min(9999), month, day, second / 3600, second / 60 % 60, second % 60]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn moments() {
        assert_eq!(moment(at(0)), [1970, 1, 1, 0, 0, 0]);
        assert_eq!(moment(at(951_782_399)), [2000, 2, 28, 23, 59, 59]);
        assert_eq!(moment(at(951_782_400)), [2000, 2, 29, 0, 0, 0]);
        assert_eq!(moment(at(1_709_210_096)), [2024, 2, 29, 12, 34, 56]);
        assert_eq!(moment(at(4_102_444_800)), [2100, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn names() {
        let began = at(1_709_210_096);
        let timed = NameForm::timed("feed-%Y%m%d-%H%M%S.raw");
        assert_eq!(timed.current(began), "feed-20240229-123456.raw");
        assert_eq!(timed.finished(began, 2), "feed-20240229-123456.raw.2");
        let plain = NameForm::timed("feed.raw");
        assert_eq!(plain.current(began), "feed.raw");
        assert_eq!(plain.finished(began, 0), "feed.raw.20240229-123456");
        assert_eq!(NameForm::timed("100%%.raw").current(began), "100%.raw");
        assert_eq!(NameForm::literal("%H").current(began), "%H");
        for other in
            ["feed.raw", "feed.raw.20240229", "feed.raw.20240229-123456.gz", "feed.raw.20240229-123456.01", "é"]
        {
            assert_eq!(plain.age(other), None, "{other}");
        }
    }

    #[test]
    fn boundaries_are_those_of_the_clock_in_utc() {
        let hour = Duration::from_secs(3600);
        // 12:34:56, and 13:00:00.
        assert_eq!(moment(next_boundary(at(1_709_210_096), hour)), [2024, 2, 29, 13, 0, 0]);
        assert_eq!(moment(next_boundary(at(1_709_211_600), hour)), [2024, 2, 29, 14, 0, 0]);
        assert_eq!(moment(next_boundary(at(1_709_210_096), 24 * hour)), [2024, 3, 1, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_name_gives_back_its_age(
            name in "[a-z.%]{0,5}",
            timed in any::<bool>(),
            seconds in 0_u64..200_000_000_000,
            number in 0_u64..100,
        ) {
            let name = name.replace('%', "%%");
            let form = NameForm::timed(&if timed { format!("{name}-%Y%m%d-%H%M%S.raw") } else { name });
            let finished = form.finished(at(seconds), number);
            prop_assert_eq!(form.age(&finished), Some((moment(at(seconds)), number)), "{}", finished);
        }

        #[test]
        fn later_files_are_younger(first in 0_u64..4_000_000_000, later in 0_u64..4_000_000_000) {
            let form = NameForm::timed("%d-%m-%Y %S:%M:%H");
            let age = |seconds| form.age(&form.finished(at(seconds), 0));
            prop_assert_eq!(age(first).cmp(&age(later)), first.cmp(&later));
        }

        #[test]
        fn a_boundary_is_the_first_after_a_moment(seconds in 0_u64..4_000_000_000, every in 1_u64..1_000_000) {
            let next = super::seconds(next_boundary(at(seconds), Duration::from_secs(every)));
            prop_assert!(next > seconds && next - seconds <= every && next.is_multiple_of(every));
        }
    }
}
