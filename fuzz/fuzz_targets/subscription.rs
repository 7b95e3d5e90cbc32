//! The text of a subscription: a parsed subscription is written as a text that parses to the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_membership::Subscription;

fuzz_target!(|text: &str| {
    let Ok(subscription) = text.parse::<Subscription>() else { return };
    let written = subscription.to_string();
    assert_eq!(written.parse(), Ok(subscription), "{text} was written as {written}");
});
