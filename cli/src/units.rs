//! Numbers for people: three digits with a decimal prefix, and spans of time.

/// A count or a rate with at most three digits before or after the point: `950`, `1.23 k`, `45.6 M`.
pub fn short(value: f64) -> String {
    const PREFIXES: [&str; 6] = ["", " k", " M", " G", " T", " P"];
    let mut scaled = value.max(0.0);
    let mut at = 0;
    // 999.5 would be shown as 1000.
    while scaled >= 999.5 && at + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        at += 1;
    }
    let decimals = match scaled {
        _ if at == 0 && (scaled.fract() == 0.0 || scaled >= 99.95) => 0,
        _ if scaled >= 99.95 => 0,
        _ if scaled >= 9.995 => 1,
        _ if at == 0 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{}", PREFIXES[at])
}

/// As [`short`], with a unit after the prefix: `12 bit/s`, `19.0 Mbit/s`.
pub fn with_unit(value: f64, unit: &str) -> String {
    let text = short(value);
    if text.contains(' ') { text + unit } else { format!("{text} {unit}") }
}

/// A span of time: `0.4 s`, `75 s`, `12 min`, `3 h 20 min`.
pub fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..100 => format!("{whole} s"),
        100..6000 => format!("{} min", whole / 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// A short span of time: `850 ns`, `12.3 µs`, `1.24 ms`, `3.00 s`.
pub fn span(nanoseconds: u64) -> String {
    let (scaled, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (nanoseconds as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanoseconds as f64 / 1e6, "ms"),
        _ => (nanoseconds as f64 / 1e9, "s"),
    };
    let decimals = match scaled {
        _ if scaled >= 100.0 => 0,
        _ if scaled >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$} {unit}")
}

/// A share from 0 to 1: `51 %`, `1.2 %`, `0.034 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        _ if percent == 0.0 || percent >= 9.95 => 0,
        _ if percent >= 0.95 => 1,
        _ if percent >= 0.095 => 2,
        _ => 3,
    };
    if percent > 0.0 && percent < 0.0005 { "<0.001 %".to_owned() } else { format!("{percent:.decimals$} %") }
}

/// `1 packet`, `2 packets`.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-1.0, "0"),
            (0.5, "0.5"),
            (7.0, "7"),
            (12.34, "12.3"),
            (950.2, "950"),
            (999.4, "999"),
            (999.6, "1.00 k"),
            (1234.0, "1.23 k"),
            (9_996.0, "10.0 k"),
            (99_960.0, "100 k"),
            (999_600.0, "1.00 M"),
            (12_345_678.0, "12.3 M"),
            (4e9, "4.00 G"),
            (4e21, "4000000 P"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn units_follow_the_prefix() {
        assert_eq!(with_unit(8.0, "bit/s"), "8 bit/s");
        assert_eq!(with_unit(19.0e6, "bit/s"), "19.0 Mbit/s");
        assert_eq!(with_unit(1500.0, "B"), "1.50 kB");
    }

    #[test]
    fn spans_and_shares() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (850, "850 ns"),
            (12_345, "12.3 µs"),
            (1_240_000, "1.24 ms"),
            (450_000_000, "450 ms"),
            (3_000_000_000, "3.00 s"),
        ] {
            assert_eq!(span(nanoseconds), text);
        }
        for (share, text) in [
            (0.0, "0 %"),
            (0.000_001, "<0.001 %"),
            (0.000_34, "0.034 %"),
            (0.001, "0.10 %"),
            (0.012, "1.2 %"),
            (0.512, "51 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn ages() {
        for (seconds, text) in [
            (-0.1, "0.0 s"),
            (0.42, "0.4 s"),
            (9.99, "10.0 s"),
            (75.9, "75 s"),
            (754.0, "12 min"),
            (12_000.0, "3 h 20 min"),
        ] {
            assert_eq!(age(seconds), text);
        }
        assert_eq!((count(1, "packet").as_str(), count(2, "packet").as_str()), ("1 packet", "2 packets"));
    }
}
