//! The clocks that time stamps come from: the offset of TAI, and the clock of the NIC.

use std::fs::File;
use std::os::fd::AsFd;

use receiver_host::{clock, ethtool};
use rustix::time::{DynamicClockId, clock_gettime_dynamic};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

/// Offsets of TAI that can be right: it is 37 s since 2017.
const SANE: std::ops::RangeInclusive<i64> = 30..=60;
/// A clock of a NIC that is further off is not synchronized.
const NEAR: f64 = 0.5;

#[derive(Clone)]
struct Facts {
    interface: String,
    /// Whole seconds that CLOCK_TAI is ahead of CLOCK_REALTIME.
    tai: i64,
    /// The clock of the NIC: its index, and how many seconds it is ahead of CLOCK_REALTIME, if it can be read.
    phc: Option<(u32, Option<f64>)>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let seconds = |ahead: u64, behind: u64| (ahead as i64).wrapping_sub(behind as i64) as f64 / 1e9;
    let phc = ethtool::clock_index(subject.name()).map(|index| (index, read(index)));
    judge(&Facts {
        interface: subject.name().to_owned(),
        tai: seconds(clock::tai(), clock::real_time()).round() as i64,
        phc: phc.map(|(index, now)| (index, now.map(|now| seconds(now, clock::real_time())))),
    })
}

/// The time of `/dev/ptpN` in nanoseconds.
fn read(index: u32) -> Option<u64> {
    let device = File::open(format!("/dev/ptp{index}")).ok()?;
    let time = clock_gettime_dynamic(DynamicClockId::Dynamic(device.as_fd())).ok()?;
    Some((time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64))
}

fn judge(Facts { interface, tai, phc }: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    if !SANE.contains(tai) {
        let text = match tai {
            0 => "no time daemon has set the offset of CLOCK_TAI: time stamps are UTC, 37 s behind TAI".to_owned(),
            tai => format!("CLOCK_TAI is {tai} s ahead of UTC, in place of 37 s"),
        };
        lines.push(Line::warn(text).remedy("ntptime -T 37"));
    }
    match phc {
        Some((index, Some(ahead))) if ahead.abs() > NEAR && (ahead - 37.0).abs() > NEAR => {
            let text = format!(
                "the clock of {interface} (/dev/ptp{index}) is {ahead:.1} s ahead of UTC, and TAI is 37 s: its time \
                 stamps compare with nothing"
            );
            lines.push(Line::warn(text).remedy(format!("phc_ctl {interface} set adj 37")));
        }
        Some((index, None)) => lines.push(Line::skipped(format!(
            "the clock of {interface} (/dev/ptp{index}) cannot be read: that needs permission for the device"
        ))),
        _ => {}
    }
    if lines.is_empty() {
        let of_nic = match phc {
            Some((index, _)) => format!("the clock of {interface} (/dev/ptp{index}) agrees"),
            None => format!("{interface} has no clock"),
        };
        lines.push(Line::ok(format!("TAI is {tai} s ahead of UTC, and {of_nic}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Skipped, Warn};

    fn facts(tai: i64, phc: Option<Option<f64>>) -> Facts {
        Facts { interface: "eth1".to_owned(), tai, phc: phc.map(|ahead| (0, ahead)) }
    }

    #[test]
    fn clocks_that_are_set_and_clocks_that_are_not() {
        for sane in [facts(37, None), facts(37, Some(Some(36.9))), facts(37, Some(Some(-0.1)))] {
            assert_eq!(outcomes(&judge(&sane)), [Ok]);
        }
        for off in [0, 3, 1000] {
            let lines = judge(&facts(off, None));
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some("ntptime -T 37")));
        }
        let lines = judge(&facts(37, Some(Some(-1.7e9))));
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some("phc_ctl eth1 set adj 37")));
        assert_eq!(outcomes(&judge(&facts(37, Some(None)))), [Skipped]);
    }
}
