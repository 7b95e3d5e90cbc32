//! The text of a sink's target: a parsed target is written as a text that parses to the same one. And the template of
//! a subject: what it makes is a subject.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/sink"]
mod sink {
    pub mod grammar;
    pub mod nats {
        pub mod server;
    }
    pub mod publish {
        pub mod template;
    }
}

use sink::grammar;
use sink::publish::template::{Template, Values};

/// Stands in for the suggestions of the command, which need its other crates.
mod suggest {
    pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        candidates.into_iter().find(|candidate| candidate.starts_with(word))
    }
}

/// Stands in for the units of the command, which need its other crates.
mod values {
    use std::time::Duration;

    pub fn size(text: &str) -> Result<u64, std::num::ParseIntError> {
        text.parse()
    }

    pub fn duration(text: &str) -> Result<Duration, ()> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let factor = match &text[end..] {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "" | "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(()),
        };
        let number: u64 = text[..end].parse().map_err(drop)?;
        number.checked_mul(factor).map(Duration::from_nanos).ok_or(())
    }
}

fuzz_target!(|text: &str| {
    match grammar::parse(text) {
        Ok(target) => {
            assert!(!target.kind.name().is_empty());
            let written = target.to_string();
            assert_eq!(grammar::parse(&written), Ok(target), "{text} was written as {written}");
        }
        // A password in front of the `@` is not repeated.
        Err(error) => assert!(error.to_string().contains(text) || error.to_string().contains("nats://...@")),
    }
    if let Some(template) = Template::parse(text) {
        let group = "232.1.1.1".parse().expect("an address");
        for name in [None, Some("a b.*")] {
            let subject = template.subject(&Values { stream: "S", name, group, port: 5000 });
            assert!(subject.split('.').all(|token| !token.is_empty() && !token.contains([' ', '*', '>'])), "{subject}");
            assert!(!template.wildcard("S").is_empty());
        }
    }
});
