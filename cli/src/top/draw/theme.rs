//! Colours, and characters for the course of a rate. Colour only adds to the words: without it nothing is lost.

use ratatui::style::{Color, Modifier, Style};

use crate::causes::Kind;
use crate::color;
use crate::top::model::{Status, Weight};
use crate::view::feeds::Tone;

/// How the dashboard looks on this terminal.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// The terminal shows colours, and they are wanted.
    pub colour: bool,
    /// The terminal shows characters beyond ASCII.
    pub unicode: bool,
}

impl Theme {
    /// What the terminal of this process can show, and the options allow.
    pub fn of_terminal() -> Self {
        let text = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default();
        let locale = locale.to_string_lossy().to_uppercase();
        Self { colour: color::on_stdout(), unicode: locale.contains("UTF-8") || locale.contains("UTF8") }
    }

    /// What needs a hand.
    pub fn bad(&self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What needs a look.
    pub fn warning(&self) -> Style {
        if self.colour { Style::new().fg(Color::Yellow) } else { Style::new().add_modifier(Modifier::BOLD) }
    }

    /// What is as it should be.
    pub fn good(&self) -> Style {
        self.coloured(Color::Green)
    }

    /// What is of less interest.
    pub fn dim(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Titles.
    pub fn title(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The course of a rate.
    pub fn course(&self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// Of a subscription's state.
    pub fn status(&self, status: Status) -> Style {
        match status {
            Status::Receiving => self.good(),
            Status::Silent(_) => self.bad(),
            Status::Never => self.warning(),
        }
    }

    /// Of a row of a feed.
    pub fn tone(&self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Warning => self.warning(),
            Tone::Bad => self.bad(),
        }
    }

    /// Of a cause of drops.
    pub fn cause(&self, kind: Kind) -> Style {
        match kind {
            Kind::Lost => self.bad(),
            Kind::Bad => self.warning(),
            Kind::Unwanted => Style::new(),
        }
    }

    /// Of what happened.
    pub fn weight(&self, weight: Weight) -> Style {
        match weight {
            Weight::Good => self.good(),
            Weight::Plain => Style::new(),
            Weight::Warning => self.warning(),
            Weight::Bad => self.bad(),
        }
    }

    /// A horizontal line.
    pub const fn line(&self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    fn coloured(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}
