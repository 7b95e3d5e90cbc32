//! Text from outside, made fit for messages and terminals.

/// Escapes every character that a terminal would act on or not show: control characters, changes of the writing
/// direction, a byte order mark. Cuts the text after `most` characters, and adds its length then.
///
/// ```
/// assert_eq!(receiver::printable("eth\u{1b}[31m", 80), r"eth\u{1b}[31m");
/// assert_eq!(receiver::printable("abcdef", 3), "abc... (6 characters)");
/// ```
pub fn printable(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (at, character) in text.chars().enumerate() {
        if at == most {
            out += &format!("... ({} characters)", text.chars().count());
            break;
        }
        match character {
            '"' | '\'' | '\\' => out.push(character),
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        let plain = "10.0.0.1@232.1.1.1:5000 `ä` \"x\" 'y' \\";
        assert_eq!(printable(plain, 100), plain);
        for acted_on in ["\u{1b}]0;x\u{7}", "\r", "\n", "\u{9b}31m", "\u{202e}", "\u{feff}", "\u{7f}", "\u{200b}"] {
            let shown = printable(acted_on, 100);
            assert!(shown.starts_with('\\'), "{acted_on:?}: {shown}");
            assert!(!shown.chars().any(char::is_control), "{acted_on:?}: {shown}");
        }
    }
}
