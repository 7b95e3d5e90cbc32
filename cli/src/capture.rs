//! What recordings hold: the wanted packets, and frames that were not delivered, by the verdict of the XDP program.

use std::fmt;
use std::str::FromStr;

use receiver::{TapConfig, VerdictSet};

/// What `--capture` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The packets of the subscriptions.
    pub wanted: bool,
    /// The verdicts whose frames are copied by the XDP program.
    pub verdicts: VerdictSet,
}

impl Default for Capture {
    fn default() -> Self {
        Self { wanted: true, verdicts: VerdictSet::NONE }
    }
}

impl Capture {
    /// The tap that it takes.
    pub fn tap(self) -> Option<TapConfig> {
        (!self.verdicts.is_empty()).then(|| TapConfig { verdicts: self.verdicts, ..TapConfig::default() })
    }
}

impl FromStr for Capture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self { wanted: false, verdicts: VerdictSet::NONE };
        for part in text.split(',') {
            match part {
                "wanted" => all.wanted = true,
                "all" => (all.wanted, all.verdicts) = (true, VerdictSet::UNDELIVERED),
                "redirected" | "mapped" => return Err(format!("`{part}` is what `wanted` stands for; write wanted")),
                _ => {
                    let set = part.parse().map_err(|_| {
                        let shown = receiver::printable(part, 80);
                        format!(
                            "`{shown}` cannot be captured; write wanted, blocked, passed, lost, all, or verdicts such \
                             as dropped_blocked, with commas between them"
                        )
                    })?;
                    all.verdicts = all.verdicts.union(set);
                }
            }
        }
        Ok(all)
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.wanted, self.verdicts.is_empty()) {
            (true, true) => f.write_str("wanted"),
            (true, false) => write!(f, "wanted,{}", self.verdicts),
            (false, _) => write!(f, "{}", self.verdicts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let of = |text: &str| text.parse::<Capture>().expect(text);
        assert_eq!(of("wanted"), Capture::default());
        assert_eq!(of("blocked"), Capture { wanted: false, verdicts: VerdictSet::BLOCKED });
        assert_eq!(of("all"), Capture { wanted: true, verdicts: VerdictSet::UNDELIVERED });
        assert_eq!(of("wanted,passed,blocked,lost"), of("all"));
        assert_eq!(of("wanted,dropped_blocked").to_string(), "wanted,dropped_blocked");
        assert_eq!(of(&of("all").to_string()), of("all"));
        assert_eq!((of("wanted").tap(), of("blocked").tap()), (None, Some(TapConfig::default())));
    }

    #[test]
    fn what_cannot_be_captured_is_named() {
        for wrong in ["", "wanted,", "everything", "Blocked"] {
            let error = wrong.parse::<Capture>().expect_err(wrong);
            assert!(error.contains("cannot be captured; write wanted, blocked"), "{error}");
        }
        assert!("mapped".parse::<Capture>().expect_err("wanted").contains("write wanted"));
    }
}
