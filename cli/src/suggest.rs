//! The name that was probably meant by one that does not exist.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error};

/// The least similarity, from 0 to 1, of a name that is suggested.
const SIMILAR: f64 = 0.66;

/// The candidate that is closest to the word, if one is close.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let score = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        // Two letters that changed places count as one slip, which Jaro-Winkler sees worse in short names.
        strsim::normalized_damerau_levenshtein(&word, &candidate).max(strsim::jaro_winkler(&word, &candidate) - 0.05)
    };
    let scored = candidates.into_iter().map(|candidate| (score(candidate), candidate));
    let (score, best) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (score >= SIMILAR).then_some(best)
}

/// Adds a suggestion to a usage error where clap has none: it does not find letters that changed places.
pub fn complete(mut error: Error, command: &Command) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => valid.clone(),
        _ => Vec::new(),
    };
    let lacks = |kind| error.get(kind).is_none();
    if let (Some(word), true) = (text(ContextKind::InvalidSubcommand), lacks(ContextKind::SuggestedSubcommand)) {
        let names = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
        if let Some(meant) = closest(&word, names) {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant.to_owned()]));
        }
    } else if let (Some(word), true) = (text(ContextKind::InvalidValue), lacks(ContextKind::SuggestedValue))
        && let Some(meant) = closest(&word, valid.iter().map(String::as_str))
    {
        error.insert(ContextKind::SuggestedValue, ContextValue::String(meant.to_owned()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        const NAMES: [&str; 5] = ["eth0", "enp1s0f0np0", "veth-rx", "wlan0", "br-lan"];
        for (slip, meant) in [
            ("veht-rx", "veth-rx"),
            ("eht0", "eth0"),
            ("ETH0", "eth0"),
            ("enp1s0f0", "enp1s0f0np0"),
            ("veth", "veth-rx"),
            ("eth1", "eth0"),
        ] {
            assert_eq!(closest(slip, NAMES), Some(meant), "{slip}");
        }
        for other in ["", "x", "mlx5_0", "tun7", "\u{1b}[31m"] {
            assert_eq!(closest(other, NAMES), None, "{other}");
        }
        assert_eq!(closest("eth0", []), None);
    }
}
