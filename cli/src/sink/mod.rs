//! Sinks: where received data goes beyond being counted. A new kind is one file here and one row of [`KINDS`].

mod discard;
mod file;
mod hex;
mod set;
mod standard_output;
mod traits;
mod written;

use std::ffi::OsStr;

pub use set::{Sinks, lock};
pub use traits::{Context, SinkReport, Target};

/// Takes a target's text if it is of its kind.
type Parse = fn(&OsStr) -> Option<Box<dyn Target>>;

/// The kinds of targets. The first one that takes a text has it, and a path is any text.
const KINDS: [Parse; 3] = [standard_output::parse, discard::parse, file::parse];

/// The targets that the options ask for, in this order.
pub fn targets(output: Option<&OsStr>, hex: bool) -> Vec<Box<dyn Target>> {
    let output = output.and_then(|text| KINDS.iter().find_map(|parse| parse(text)));
    let takes_stdout = output.as_ref().is_some_and(|target| target.takes_stdout());
    output.into_iter().chain(hex.then(|| hex::target(takes_stdout))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn target(text: &str) -> Box<dyn Target> {
        targets(Some(OsStr::new(text)), false).pop().expect("each text is a target")
    }

    #[test]
    fn each_text_has_its_kind() {
        assert!(target("-").takes_stdout() && target("-").file().is_none());
        assert!(!target("discard:").takes_stdout() && target("discard:").file().is_none());
        for path in ["file", "./-", "./discard:", "/dev/null"] {
            assert_eq!(target(path).file(), Some(Path::new(path)));
        }
    }

    #[test]
    fn a_hex_dump_gives_way_to_payloads_on_standard_output() {
        assert!(targets(None, true)[0].takes_stdout());
        let both = targets(Some(OsStr::new("-")), true);
        assert_eq!(both.iter().map(|target| target.takes_stdout()).collect::<Vec<_>>(), [true, false]);
        assert!(targets(None, false).is_empty());
    }
}
