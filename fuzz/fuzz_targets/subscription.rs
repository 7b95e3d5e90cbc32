//! The text of a subscription: a parsed subscription is written as a text that parses to the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_membership::Subscription;

fuzz_target!(|text: &str| {
    let subscription = match text.parse::<Subscription>() {
        Ok(subscription) => subscription,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = Subscription::new(subscription.group(), subscription.port(), subscription.filter().clone());
    assert_eq!(again, Ok(subscription.clone()), "{text}");
    let written = subscription.to_string();
    assert_eq!(written.parse(), Ok(subscription), "{text} was written as {written}");
});
