//! The text of a subscription: what is parsed is written so that it is parsed to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_membership::Subscription;

fuzz_target!(|text: &str| {
    let Ok(subscription) = text.parse::<Subscription>() else { return };
    let written = subscription.to_string();
    assert_eq!(written.parse(), Ok(subscription), "{text} was written as {written}");
});
