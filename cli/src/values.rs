//! Parses values of options as people write them: `8s`, `2M`, `64MiB`. Each refusal names the text, and what to write
//! instead.

use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use receiver::{ModeRequest, ReceiveMode};

use super::suggest::closest;

/// The types of whole numbers that options take.
pub trait Whole: TryFrom<u128> + FromStr + Display {
    /// The largest.
    const MAX: Self;
}

macro_rules! whole {
    ($($kind:ty),+) => { $(impl Whole for $kind { const MAX: Self = Self::MAX; })+ };
}
whole!(u8, u16, u32, u64, usize);

/// Prefixes and their factors. Case does not matter: no option takes thousandths.
const PREFIXES: [(&str, u128); 9] = [
    ("", 1),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
];

/// Units of time, and how many nanoseconds each has.
const TIMES: [(&str, u128); 12] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", NANOSECONDS),
    ("sec", NANOSECONDS),
    ("m", 60 * NANOSECONDS),
    ("min", 60 * NANOSECONDS),
    ("h", 3_600 * NANOSECONDS),
    ("d", 86_400 * NANOSECONDS),
    ("w", 7 * 86_400 * NANOSECONDS),
];
const NANOSECONDS: u128 = 1_000_000_000;

/// Parses a whole number from 0, for what has no unit and is small, such as a port.
pub fn whole<T: Whole>(text: &str) -> Result<T, String> {
    if text.is_empty() || text.contains(|c: char| !c.is_ascii_digit()) {
        return Err(format!("`{text}` is not a whole number; write digits alone, from 0 to {}", T::MAX));
    }
    text.parse().map_err(|_| format!("`{text}` is too large; write a whole number up to {}", T::MAX))
}

/// Parses a number of things: `1000`, `2M`, `1.5k`, `64Ki`.
pub fn count<T: Whole>(text: &str) -> Result<T, String> {
    number(text, &[], "a number, such as 1000, 1.5k, 2M or 64Ki")
}

/// As [`count`], from 1.
pub fn positive_count<T: Whole + PartialEq + From<u8>>(text: &str) -> Result<T, String> {
    match count::<T>(text)? {
        zero if zero == T::from(0) => Err(format!("`{text}` is 0; write a whole number from 1 on")),
        number => Ok(number),
    }
}

/// Parses a number of bytes: `2048`, `64MiB`, `64M` or `64MB` for 64,000,000.
pub fn size<T: Whole>(text: &str) -> Result<T, String> {
    number(text, &["b"], "a number of bytes, such as 2048, 64MiB or 64MB")
}

/// Parses a number of packets per second: `1000`, `2M`, `10kpps`, `2M/s`.
pub fn rate<T: Whole>(text: &str) -> Result<T, String> {
    number(text, &["pps", "p/s", "/s"], "a number of packets per second, such as 1000, 10k, 2M/s or 2Mpps")
}

/// Parses a length of time: seconds without a unit, or numbers with units, the largest first: `10`, `0.5`, `500ms`,
/// `8s`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a length of time, such as 10 or 0.5 (seconds), 500ms, 8s or 1m30s");
    let too_long = || format!("`{text}` is too long; write up to {}s", u64::MAX);
    let joined_text = joined(text).ok_or_else(wrong)?;
    let mut rest = joined_text.as_str();
    if rest.contains(['e', 'E']) && !rest.contains("sec") {
        let seconds = rest.parse().map_err(|_| wrong())?;
        return Duration::try_from_secs_f64(seconds).map_err(|_| if seconds > 0.0 { too_long() } else { wrong() });
    }
    let mut sum = 0_u128;
    let mut previous = u128::MAX;
    while !rest.is_empty() || previous == u128::MAX {
        let (number, after) = rest.split_at(rest.find(|c: char| !is_of_number(c)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        let factor = match unit {
            "" if previous == u128::MAX => NANOSECONDS,
            _ => TIMES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?,
        };
        // `30s1m` and `1m1m` are slips.
        if factor >= previous {
            return Err(wrong());
        }
        let amount = match scaled(number, factor) {
            Ok(amount) => amount,
            Err(NotWhole::TooLarge) => return Err(too_long()),
            Err(NotWhole::Fraction | NotWhole::NoNumber) => return Err(wrong()),
        };
        sum = sum.checked_add(amount).ok_or_else(too_long)?;
        (previous, rest) = (factor, after);
    }
    let seconds = u64::try_from(sum / NANOSECONDS).map_err(|_| too_long())?;
    Ok(Duration::new(seconds, (sum % NANOSECONDS) as u32))
}

/// As [`duration`], from `least` to `most`.
pub fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    match duration(text)? {
        short if short < least => Err(format!("`{text}` is too short; write at least {}", least.as_secs_f64())),
        long if long > most => Err(format!("`{text}` is too long; write at most {}", most.as_secs_f64())),
        fits => Ok(fits),
    }
}

/// The longest name: the path of a run's control socket must fit in a socket address.
const LONGEST_NAME: usize = 64;

/// Parses the name of a run, which is part of file names.
pub fn instance_name(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() {
        return Err(format!("a name begins with a letter; for a number of datagrams write -c {text}"));
    }
    name(text)
}

/// Parses the name of a run or of a subscription. None can be taken for an id, a subscription or a path.
pub fn name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.chars().next() {
        Some(first) if !first.is_ascii_alphabetic() => Err("a name begins with a letter from A to Z".to_owned()),
        None => Err("a name has at least one letter".to_owned()),
        _ if text.len() > LONGEST_NAME => Err(format!("a name has at most {LONGEST_NAME} characters")),
        _ if !text.chars().all(is_part) => Err("a name has letters, digits, `-`, `_` and `.` only".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Parses one of the names of a setting. The names complete, and a refusal suggests one that is close.
pub fn one_of<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    let names: Vec<&'static str> = names.into_iter().collect();
    let parse = {
        let names = names.clone();
        move |text: &str| {
            text.parse::<T>().map_err(|error| match closest(text, names.iter().copied()) {
                Some(meant) => format!("{error}. Did you mean {meant}?"),
                None => error.to_string(),
            })
        }
    };
    OneOf { names, parse }
}

/// A parser and the names that it takes.
#[derive(Clone)]
struct OneOf<P> {
    names: Vec<&'static str>,
    parse: P,
}

impl<P: TypedValueParser> TypedValueParser for OneOf<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<P::Value, clap::Error> {
        self.parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(PossibleValue::new)))
    }
}

/// Parses a receive mode.
pub fn mode() -> impl TypedValueParser<Value = ModeRequest> {
    one_of(["auto"].into_iter().chain(ReceiveMode::ALL.into_iter().map(ReceiveMode::name)))
}

/// Parses a number with a prefix and, after it, one of these units in lower case, or none.
fn number<T: Whole>(text: &str, units: &[&str], form: &str) -> Result<T, String> {
    let plain = joined(text).ok_or_else(|| format!("`{text}` is not {form}"))?.replace('_', "").to_ascii_lowercase();
    let (digits, unit) = plain.split_at(plain.find(|c: char| !is_of_number(c)).unwrap_or(plain.len()));
    let prefix = units.iter().find_map(|name| unit.strip_suffix(name)).unwrap_or(unit);
    let factor = PREFIXES.iter().find(|(name, _)| *name == prefix).map(|(_, factor)| *factor);
    let number = factor.ok_or(NotWhole::NoNumber).and_then(|factor| scaled(digits, factor));
    match number.map(T::try_from) {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(_)) | Err(NotWhole::TooLarge) => {
            Err(format!("`{text}` is too large; write a whole number up to {}", T::MAX))
        }
        Err(NotWhole::Fraction) => Err(format!("`{text}` is not a whole number; write {form}")),
        Err(NotWhole::NoNumber) => Err(format!("`{text}` is not {form}")),
    }
}

/// The text without its spaces, unless one of them stands inside a number: `1 30` may be a slip.
fn joined(text: &str) -> Option<String> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        if joined.ends_with(is_of_number) && word.starts_with(is_of_number) {
            return None;
        }
        joined.push_str(word);
    }
    Some(joined)
}

/// Returns true for what a number consists of, without its unit.
fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// Why digits and a factor make no whole number.
enum NotWhole {
    Fraction,
    NoNumber,
    TooLarge,
}

/// `digits`, which may have a decimal point, times `factor`, without rounding.
fn scaled(digits: &str, factor: u128) -> Result<u128, NotWhole> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if digits.trim_matches('.').is_empty() || fraction.contains('.') {
        return Err(NotWhole::NoNumber);
    }
    let parsed = |digits: &str, otherwise| match digits {
        "" => Ok(0_u128),
        _ => digits.parse().map_err(|_| otherwise),
    };
    let whole = parsed(whole, NotWhole::TooLarge)?.checked_mul(factor).ok_or(NotWhole::TooLarge)?;
    // No factor has as many digits as a fraction that overflows.
    let part = parsed(fraction, NotWhole::Fraction)?.checked_mul(factor).ok_or(NotWhole::Fraction)?;
    let parts = 10_u128.checked_pow(fraction.len() as u32).ok_or(NotWhole::Fraction)?;
    if part % parts != 0 {
        return Err(NotWhole::Fraction);
    }
    whole.checked_add(part / parts).ok_or(NotWhole::TooLarge)
}

#[cfg(test)]
mod tests;
