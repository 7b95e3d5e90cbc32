//! Values of options: any text is a number, a size, a rate or a length of time, or is refused by its name.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src"]
mod cli {
    mod suggest;
    pub mod values;
}

use std::time::Duration;

use cli::values;

fuzz_target!(|text: &str| {
    let named = |result: Result<u64, String>| match result {
        Ok(_) => {}
        Err(error) => assert!(error.contains(text), "{error}"),
    };
    named(values::whole(text));
    named(values::count(text));
    named(values::size(text));
    named(values::rate(text));
    named(values::positive_count(text));
    for name in [values::name(text), values::instance_name(text)] {
        assert!(name.is_err() || name.as_deref() == Ok(text));
    }
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(10));
    if let Ok(time) = values::duration_within(text, least, most) {
        assert!((least..=most).contains(&time));
    }
    match values::duration(text) {
        Ok(time) => assert_eq!(values::duration(&format!("{}ns", time.as_nanos())), Ok(time)),
        Err(error) => assert!(error.contains(text), "{error}"),
    }
});
