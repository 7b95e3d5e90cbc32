//! Parses values of options. Each refusal names the text, and what to write instead.

use std::fmt::Display;
use std::num::IntErrorKind;
use std::str::FromStr;
use std::time::Duration;

/// The types of whole numbers that options take.
pub trait Whole: FromStr<Err = std::num::ParseIntError> + Display + PartialOrd {
    /// The largest.
    const MAX: Self;
    /// 1.
    const ONE: Self;
}

macro_rules! whole {
    ($($kind:ty),+) => { $(impl Whole for $kind { const MAX: Self = Self::MAX; const ONE: Self = 1; })+ };
}
whole!(u8, u16, u32, u64, usize);

/// Parses a whole number from 0.
pub fn whole<T: Whole>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => format!("it is too large; write a whole number up to {}", T::MAX),
        _ => match in_digits(text) {
            Some(digits) => format!("it is not a whole number; write digits without a unit: {digits}"),
            None => format!("it is not a whole number; write digits alone, from 0 to {}", T::MAX),
        },
    })
}

/// Parses a whole number from 1.
pub fn at_least_one<T: Whole>(text: &str) -> Result<T, String> {
    match whole::<T>(text)? {
        zero if zero < T::ONE => Err("it is 0; write a whole number from 1 on".to_owned()),
        number => Ok(number),
    }
}

/// The number that `64M`, `1.5k` or `64 MiB` stands for, if the text is of this form.
fn in_digits(text: &str) -> Option<u64> {
    let text = text.replace(['_', ' '], "").to_ascii_lowercase();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor: f64 = match unit.trim_end_matches("pps").trim_end_matches("/s").trim_end_matches('b') {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let meant = number.parse::<f64>().ok()? * factor;
    // Above 2^53 a floating-point number cannot hold every whole number.
    (meant.fract() == 0.0 && meant < 9e15).then_some(meant as u64)
}

/// Parses a length of time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a number of seconds, such as 10 or 0.5");
    Duration::try_from_secs_f64(text.parse().map_err(|_| wrong())?).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_and_what_to_write_instead() {
        assert_eq!((whole::<u32>("0"), whole::<usize>("2048"), at_least_one::<u64>("1")), (Ok(0), Ok(2048), Ok(1)));
        for (text, says) in [
            ("64M", "it is not a whole number; write digits without a unit: 64000000"),
            ("64MiB", "it is not a whole number; write digits without a unit: 67108864"),
            ("1.5k", "it is not a whole number; write digits without a unit: 1500"),
            ("1_000", "it is not a whole number; write digits without a unit: 1000"),
            ("10kpps", "it is not a whole number; write digits without a unit: 10000"),
            ("1e6", "it is not a whole number; write digits alone, from 0 to 4294967295"),
            ("-1", "it is not a whole number; write digits alone, from 0 to 4294967295"),
            ("", "it is not a whole number; write digits alone, from 0 to 4294967295"),
            ("0.5", "it is not a whole number; write digits alone, from 0 to 4294967295"),
            ("4294967296", "it is too large; write a whole number up to 4294967295"),
        ] {
            assert_eq!(whole::<u32>(text).expect_err(text), says, "{text}");
        }
        assert_eq!(at_least_one::<u64>("0").expect_err("0"), "it is 0; write a whole number from 1 on");
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "-1", "nan", "1s", "1e30"] {
            let says = format!("`{wrong}` is not a number of seconds, such as 10 or 0.5");
            assert_eq!(seconds(wrong).expect_err(wrong), says);
        }
    }
}
