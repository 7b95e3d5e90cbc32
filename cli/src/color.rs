//! Whether text has colour: `--color`, then NO_COLOR and CLICOLOR_FORCE, then whether a terminal reads it. Clap follows
//! the same rules for help and usage errors.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::{ColorChoice, ValueEnum};
use ratatui::crossterm::style::force_color_output;

use super::view::has_cursor;

static CHOICE: OnceLock<ColorChoice> = OnceLock::new();

/// Sets the choice for the whole process. Only the first call has an effect.
pub fn set(choice: ColorChoice) {
    // The second of two choices comes from the same words.
    let _ = CHOICE.set(choice);
    // The library of the table and the dashboard looks at NO_COLOR alone.
    match choice {
        ColorChoice::Always => force_color_output(true),
        ColorChoice::Never => force_color_output(false),
        ColorChoice::Auto => {}
    }
}

/// Returns true if text on standard output has colour.
pub fn on_stdout() -> bool {
    is_wanted(io::stdout().is_terminal())
}

/// Returns true if text on standard error has colour.
pub fn on_stderr() -> bool {
    is_wanted(io::stderr().is_terminal())
}

fn is_wanted(is_terminal: bool) -> bool {
    let choice = CHOICE.get().copied().unwrap_or(ColorChoice::Auto);
    decide(choice, is_terminal && has_cursor(), |name| env::var_os(name))
}

fn decide(choice: ColorChoice, is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    let is_on = |name| variable(name).is_some_and(|value| value != "0");
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if is_set("NO_COLOR") => false,
        ColorChoice::Auto => is_on("CLICOLOR_FORCE") || is_terminal,
    }
}

/// The choice among the words of a command line that is not parsed yet: an error in parsing it has colour too.
pub fn asked(words: impl IntoIterator<Item = OsString>) -> ColorChoice {
    let mut words = words.into_iter().take_while(|word| word != "--");
    let mut choice = ColorChoice::Auto;
    while let Some(word) = words.next() {
        let value = match word.to_str().and_then(|word| word.strip_prefix("--color")) {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(OsString::from),
            None => None,
        };
        // Clap refuses what is no choice.
        let named = value.as_deref().and_then(OsStr::to_str).and_then(|text| ColorChoice::from_str(text, false).ok());
        choice = named.unwrap_or(choice);
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_comes_first_then_the_environment_then_the_terminal() {
        let wanted = |choice, is_terminal, set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
            decide(choice, is_terminal, variable)
        };
        let (no, force) = (("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"));
        assert!(wanted(ColorChoice::Auto, true, &[]) && !wanted(ColorChoice::Auto, false, &[]));
        assert!(!wanted(ColorChoice::Auto, true, &[no]) && wanted(ColorChoice::Auto, true, &[("NO_COLOR", "")]));
        assert!(wanted(ColorChoice::Auto, false, &[force]));
        assert!(!wanted(ColorChoice::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wanted(ColorChoice::Auto, false, &[no, force]));
        assert!(wanted(ColorChoice::Always, false, &[no]) && !wanted(ColorChoice::Never, true, &[force]));
    }

    #[test]
    fn the_choice_is_found_before_the_words_are_parsed() {
        for (words, choice) in [
            ("run --color never x", ColorChoice::Never),
            ("--color=always run", ColorChoice::Always),
            ("run --color", ColorChoice::Auto),
            ("run --color x --colors never", ColorChoice::Auto),
            ("run -- --color never", ColorChoice::Auto),
        ] {
            assert_eq!(asked(words.split(' ').map(OsString::from)), choice, "{words}");
        }
    }
}
