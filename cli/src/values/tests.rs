//! The forms of values, their bounds, and what their refusals say.

use super::*;

use proptest::prelude::*;

#[test]
fn digits_alone() {
    assert_eq!((whole::<u32>("0"), whole::<usize>("2048")), (Ok(0), Ok(2048)));
    for (text, says) in [
        ("1k", "`1k` is not a whole number; write digits alone, from 0 to 65535"),
        ("-1", "`-1` is not a whole number; write digits alone, from 0 to 65535"),
        ("+1", "`+1` is not a whole number; write digits alone, from 0 to 65535"),
        ("", "`` is not a whole number; write digits alone, from 0 to 65535"),
        ("65536", "`65536` is too large; write a whole number up to 65535"),
    ] {
        assert_eq!(whole::<u16>(text).expect_err(text), says, "{text}");
    }
}

#[test]
fn counts_sizes_and_rates() {
    for (text, number) in [
        ("0", 0),
        ("64M", 64_000_000),
        ("1.5k", 1_500),
        ("1.50K", 1_500),
        (".5k", 500),
        ("1_000", 1_000),
        ("64 Ki", 65_536),
        ("0.5Mi", 524_288),
        ("4294967295", u32::MAX),
        ("4.294967295G", u32::MAX),
    ] {
        assert_eq!(count::<u32>(text), Ok(number), "{text}");
        assert_eq!(size::<u32>(text), Ok(number), "{text}");
        assert_eq!(rate::<u32>(text), Ok(number), "{text}");
    }
    for (text, number) in [("64MiB", 64 << 20), ("64MB", 64_000_000), ("2 GiB", 2 << 30), ("100B", 100)] {
        assert_eq!(size::<u64>(text), Ok(number), "{text}");
    }
    for (text, number) in [("10kpps", 10_000), ("2M/s", 2_000_000), ("2 Mpps", 2_000_000), ("7 p/s", 7)] {
        assert_eq!(rate::<u64>(text), Ok(number), "{text}");
    }
    assert_eq!((positive_count::<u64>("1"), positive_count::<u64>("2k")), (Ok(1), Ok(2_000)));
}

#[test]
fn what_is_no_number() {
    const COUNT: &str = "a number, such as 1000, 1.5k, 2M or 64Ki";
    for text in
        ["", "-1", "+1", "1e6", "12x", "k", ".", "1.2.3", "1k5", "64MB", "2M/s", "0x10", "1,5k", "1 kk", "1 000"]
    {
        assert_eq!(count::<u32>(text).expect_err(text), format!("`{text}` is not {COUNT}"));
    }
    for text in ["0.5", "1.0005k", "0.1Ki", "0.00000000000000000000000000000000000000000001"] {
        assert_eq!(count::<u32>(text).expect_err(text), format!("`{text}` is not a whole number; write {COUNT}"));
    }
    for text in
        ["4294967296", "5G", "4Gi", "99999999999999999999999999999999999999999999", "9999999999999999999999999999T"]
    {
        let says = format!("`{text}` is too large; write a whole number up to 4294967295");
        assert_eq!(count::<u32>(text).expect_err(text), says);
    }
    let says = "`64Mbit` is not a number of bytes, such as 2048, 64MiB or 64MB";
    assert_eq!(size::<u64>("64Mbit").expect_err("bits"), says);
    let says = "`2MB/s` is not a number of packets per second, such as 1000, 10k, 2M/s or 2Mpps";
    assert_eq!(rate::<u64>("2MB/s").expect_err("bytes"), says);
    assert_eq!(positive_count::<u64>("0k").expect_err("0"), "`0k` is 0; write a whole number from 1 on");
}

#[test]
fn lengths_of_time() {
    for (text, nanoseconds) in [
        ("0", 0),
        ("10", 10_000_000_000),
        ("0.5", 500_000_000),
        (".5", 500_000_000),
        ("1e-3", 1_000_000),
        ("8s", 8_000_000_000),
        ("8 sec", 8_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1min 30s", 90_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("1d12h", 129_600_000_000_000),
        ("1w", 604_800_000_000_000),
        ("500ms", 500_000_000),
        ("20us", 20_000),
        ("20µs", 20_000),
        ("7ns", 7),
        ("1s500ms", 1_500_000_000),
        ("0.000000001", 1),
    ] {
        assert_eq!(duration(text).map(|time| time.as_nanos()), Ok(nanoseconds), "{text}");
    }
    assert_eq!(duration("18446744073709551615s"), Ok(Duration::from_secs(u64::MAX)));
    for text in [
        "", "-1", "-1s", "nan", "inf", "1x", "s", "1s30m", "1m1m", "1m30", "1 30", "1.2.3s", "0.5ns", "1M", "1:30",
        "1e", "-1e3", "nane",
    ] {
        let says = format!("`{text}` is not a length of time, such as 10 or 0.5 (seconds), 500ms, 8s or 1m30s");
        assert_eq!(duration(text).expect_err(text), says);
    }
    for text in
        ["1e30", "18446744073709551616", "18446744073709551615s999ms999999us1000ns", "300000000000000d5000000000000h"]
    {
        assert_eq!(duration(text).expect_err(text), format!("`{text}` is too long; write up to 18446744073709551615s"));
    }
    let within = |text| duration_within(text, Duration::from_millis(10), Duration::from_secs(1_000_000_000));
    assert_eq!(within("10ms"), Ok(Duration::from_millis(10)));
    assert_eq!(within("0").expect_err("short"), "`0` is too short; write at least 0.01");
    assert_eq!(within("12000d").expect_err("long"), "`12000d` is too long; write at most 1000000000");
}

#[test]
fn names_of_runs_say_what_to_write() {
    let says = "a name begins with a letter; for a number of datagrams write -c 100";
    assert_eq!(instance_name("100").expect_err("a number"), says);
    assert_eq!(instance_name(&"x".repeat(64)), Ok("x".repeat(64)));
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*") {
        let _ = (whole::<u16>(&text), positive_count::<u64>(&text), size::<u64>(&text), rate::<u64>(&text));
        let _ = (duration(&text), instance_name(&text));
    }

    #[test]
    fn nothing_that_looks_like_a_value_panics(text in "[0-9._]{0,50}[kKmMgGtTiBpsehd/ ]{0,5}[0-9.]{0,50}[smh]{0,2}") {
        let _ = (whole::<u16>(&text), positive_count::<u64>(&text), size::<u64>(&text), rate::<u64>(&text));
        let _ = duration(&text);
    }

    #[test]
    fn each_whole_number_is_read_with_each_prefix(number in 0_u64..1 << 23, at in 0..PREFIXES.len()) {
        let (prefix, factor) = PREFIXES[at];
        let expected = Ok(u64::try_from(u128::from(number) * factor).expect("it fits"));
        prop_assert_eq!(count::<u64>(&format!("{number}{prefix}")), expected.clone());
        prop_assert_eq!(size::<u64>(&format!("{number}{}B", prefix.to_uppercase())), expected.clone());
        prop_assert_eq!(rate::<u64>(&format!("{number} {prefix}pps")), expected);
    }

    #[test]
    fn a_number_of_thousands_is_the_same_number(number in any::<u64>()) {
        let text = format!("{}.{:03}k", number / 1000, number % 1000);
        prop_assert_eq!(count::<u64>(&text), Ok(number));
        prop_assert_eq!(count::<u64>(&number.to_string()), Ok(number));
        let next = u128::from(u64::MAX) + 1 + u128::from(number);
        prop_assert!(count::<u64>(&next.to_string()).expect_err("too large").contains("too large"));
    }

    #[test]
    fn a_length_of_time_is_the_sum_of_its_parts(parts in [0_u64..10_000, 0..10_000, 0..10_000, 0..10_000]) {
        let [h, m, s, ms] = parts;
        let expected = Duration::from_secs(h * 3600 + m * 60 + s) + Duration::from_millis(ms);
        prop_assert_eq!(duration(&format!("{h}h{m}m{s}s{ms}ms")), Ok(expected));
        prop_assert_eq!(duration(&format!("{h}h {m}min {s}.{ms:04}s")), Ok(Duration::from_secs(h * 3600 + m * 60 + s)
            + Duration::from_micros(ms * 100)));
        prop_assert_eq!(duration(&format!("{expected:?}").replace("µ", "u")), Ok(expected));
    }

    #[test]
    fn seconds_without_a_unit_are_seconds(nanoseconds in any::<u64>()) {
        let time = Duration::from_nanos(nanoseconds);
        let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
        prop_assert_eq!(duration(&text), Ok(time));
        prop_assert_eq!(duration(&format!("{text}s")), Ok(time));
        prop_assert_eq!(duration(&format!("{nanoseconds}ns")), Ok(time));
    }
}
