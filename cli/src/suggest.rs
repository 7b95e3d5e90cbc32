//! The name that was probably meant by one that does not exist.

/// The least similarity, from 0 to 1, of a name that is suggested.
const SIMILAR: f64 = 0.7;

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
