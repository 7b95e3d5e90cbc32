//! The text of a sink's target: a parsed target is written as a text that parses to the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/sink/grammar.rs"]
mod grammar;
#[allow(dead_code)]
#[path = "../../cli/src/values.rs"]
mod values;

fuzz_target!(|text: &str| {
    match grammar::parse(text) {
        Ok(target) => {
            let written = target.to_string();
            assert_eq!(grammar::parse(&written), Ok(target), "{text} was written as {written}");
        }
        Err(error) => assert!(error.to_string().contains(text)),
    }
});
