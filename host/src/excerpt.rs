//! Input of others, as an error message shows it.

/// Characters of an input that a message shows.
const EXCERPT: usize = 80;

/// The first 80 characters of an input, with characters escaped that are invisible or could control a terminal.
pub fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT).flat_map(char::escape_debug).collect();
    if text.chars().nth(EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}
