//! The text of subscriptions, at random: what is parsed is written so that it is parsed to the same again.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::btree_set;
use proptest::prelude::*;
use receiver_membership::{SourceFilter, Subscription};

fn v4() -> impl Strategy<Value = (IpAddr, BTreeSet<IpAddr>)> {
    let group = (224..=239_u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d).into());
    let source = any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into());
    (group, btree_set(source, 0..5))
}

fn v6() -> impl Strategy<Value = (IpAddr, BTreeSet<IpAddr>)> {
    let group = any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits | 0xff << 120).into());
    let source = prop_oneof![any::<u128>(), 0..4_u128, any::<u16>().prop_map(|low| 0xfe80 << 112 | u128::from(low))]
        .prop_map(|bits| Ipv6Addr::from_bits(bits).into());
    (group, btree_set(source, 0..5))
}

/// Pieces that subscriptions are made of, in any order.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("10.0.0.1"),
        Just("232.1.1.1"),
        Just("239.1.1.1"),
        Just("[fe80::1]"),
        Just("[ff3e::1]"),
        Just("fe80::1"),
        Just("["),
        Just("]"),
        Just("!"),
        Just("@"),
        Just(":"),
        Just(","),
        Just("."),
        Just("%"),
        Just(" "),
        Just("/"),
        Just("5000"),
        Just("0"),
        Just("65536"),
        Just("05000"),
        Just("+1"),
        Just("-1"),
        Just("::"),
        Just("é"),
    ];
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

fn assert_round_trip(text: &str) -> Result<bool, TestCaseError> {
    let Ok(subscription) = text.parse::<Subscription>() else { return Ok(false) };
    let written = subscription.to_string();
    prop_assert_eq!(written.parse(), Ok(subscription), "{} was written as {}", text, written);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn valid_ones_are_written_and_read((group, sources) in prop_oneof![v4(), v6()], port: u16, exclude: bool) {
        let filter = if exclude { SourceFilter::Exclude(sources) } else { SourceFilter::Include(sources) };
        if let Ok(subscription) = Subscription::new(group, port, filter) {
            prop_assert_eq!(subscription.to_string().parse(), Ok(subscription.clone()));
            prop_assert!(assert_round_trip(&subscription.to_string())?);
        }
    }

    #[test]
    fn any_text(text: String) {
        assert_round_trip(&text)?;
    }

    #[test]
    fn pieces_in_any_order(text in nearly()) {
        assert_round_trip(&text)?;
    }
}
