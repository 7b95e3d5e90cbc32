//! What the keys do: the choice of order, filter, selection and panel, and the requests to the run. Pure.

mod arrangement;
mod column;
mod prompt;

#[cfg(test)]
mod tests;

use super::model::Model;

pub use arrangement::Arrangement;
pub use column::Column;
pub use prompt::Prompt;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    /// With the control key.
    Control(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
}

/// What a key asks for beyond another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The end of the dashboard, and of the run if it belongs to it.
    Quit,
    /// To be stopped, as by SIGTSTP.
    Suspend,
    /// To be drawn from scratch.
    Redraw,
    /// Of the run.
    Run(Action),
}

/// What is asked of the run, for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub kind: ActionKind,
    /// The subscription's key in the model.
    pub key: String,
    /// The subscription as it is written.
    pub subscription: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// No packet of this source any more.
    Block(std::net::IpAddr),
    /// Packets of this source again.
    Unblock(std::net::IpAddr),
    /// Why it receives nothing.
    Explain,
}

/// A panel below the subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Drops,
    Queues,
    Events,
    Selected,
    Mode,
    Log,
}

impl Panel {
    /// All, in the order of their keys 1 to 6.
    pub const ALL: [Self; 6] = [Self::Drops, Self::Queues, Self::Events, Self::Selected, Self::Mode, Self::Log];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Drops => "Drops",
            Self::Queues => "Queues",
            Self::Events => "Events",
            Self::Selected => "Subscription",
            Self::Mode => "Mode",
            Self::Log => "Log",
        }
    }

    fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|&panel| panel == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

/// A line for the operator: the answer to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    pub failed: bool,
}

/// How the dashboard is looked at.
pub struct State {
    pub arrangement: Arrangement,
    pub panel: Panel,
    pub prompt: Option<Prompt>,
    pub help: bool,
    pub paused: bool,
    pub message: Option<Message>,
    /// Lines by which the chosen panel is scrolled.
    pub scrolled: usize,
    /// The end of the dashboard ends the run, so that it is asked for.
    pub ends_run: bool,
}

impl State {
    /// At the start. `ends_run`: the dashboard's end is the run's.
    pub fn new(ends_run: bool) -> Self {
        Self {
            arrangement: Arrangement::default(),
            panel: Panel::Drops,
            prompt: None,
            help: false,
            paused: false,
            message: None,
            scrolled: 0,
            ends_run,
        }
    }

    /// Shows the answer to a key.
    pub fn answer(&mut self, text: impl Into<String>, failed: bool) {
        self.message = Some(Message { text: text.into(), failed });
    }

    /// Takes a key. What it asks for beyond another look is returned.
    pub fn key(&mut self, key: Key, model: &Model) -> Option<Request> {
        match key {
            Key::Control('c') => return Some(Request::Quit),
            Key::Control('z') => return Some(Request::Suspend),
            Key::Control('l') => return Some(Request::Redraw),
            _ => {}
        }
        if self.help {
            // Any key closes the help.
            self.help = false;
            return None;
        }
        if let Some(prompt) = self.prompt.take() {
            return self.in_prompt(prompt, key, model);
        }
        self.message = None;
        self.command(key, model)
    }

    fn in_prompt(&mut self, mut prompt: Prompt, key: Key, model: &Model) -> Option<Request> {
        match key {
            Key::Escape => {
                if let Prompt::Filter { before, .. } = prompt {
                    self.arrangement.set_filter(&before, model);
                }
                None
            }
            Key::Enter => match prompt.entered() {
                Ok(request) => request,
                Err(text) => {
                    self.answer(text, true);
                    self.prompt = Some(prompt);
                    None
                }
            },
            Key::Char('y' | 'Y') if matches!(prompt, Prompt::Quit) => Some(Request::Quit),
            _ if matches!(prompt, Prompt::Quit) => None,
            _ => {
                self.message = None;
                prompt.edit(key);
                if let Prompt::Filter { text, .. } = &prompt {
                    self.arrangement.set_filter(text, model);
                }
                self.prompt = Some(prompt);
                None
            }
        }
    }

    fn command(&mut self, key: Key, model: &Model) -> Option<Request> {
        match key {
            Key::Char('q') if self.ends_run => self.prompt = Some(Prompt::Quit),
            Key::Char('q') => return Some(Request::Quit),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Up | Key::Char('k') => self.select(-1, model),
            Key::Down | Key::Char('j') => self.select(1, model),
            Key::PageUp => self.select(-self.arrangement.page(), model),
            Key::PageDown => self.select(self.arrangement.page(), model),
            Key::Home | Key::Char('g') => self.select(isize::MIN, model),
            Key::End | Key::Char('G') => self.select(isize::MAX, model),
            Key::Char('s') | Key::Right => self.sort(Arrangement::sort_by_next, model),
            Key::Char('S') | Key::Left => self.sort(Arrangement::sort_by_previous, model),
            Key::Char('r') => self.sort(Arrangement::reverse, model),
            Key::Char('/') => {
                let text = self.arrangement.filter().to_owned();
                self.prompt = Some(Prompt::Filter { before: text.clone(), text });
            }
            Key::Escape => self.arrangement.set_filter("", model),
            Key::Tab => self.show(self.panel.moved(1)),
            Key::BackTab => self.show(self.panel.moved(Panel::ALL.len() - 1)),
            Key::Char(digit @ '1'..='6') => self.show(Panel::ALL[digit as usize - '1' as usize]),
            Key::Char('l') => self.show(Panel::Log),
            Key::Char('+') => self.scrolled = self.scrolled.saturating_add(1).min(1000),
            Key::Char('-') => self.scrolled = self.scrolled.saturating_sub(1),
            Key::Char('b') => self.ask_source(model, true),
            Key::Char('u') => self.ask_source(model, false),
            Key::Enter | Key::Char('e') => return self.explain(model),
            _ => {}
        }
        None
    }

    fn show(&mut self, panel: Panel) {
        (self.panel, self.scrolled) = (panel, 0);
    }

    /// The column may have no room, so that the footer names it.
    fn sort(&mut self, sort: fn(&mut Arrangement, &Model), model: &Model) {
        sort(&mut self.arrangement, model);
        let (column, reversed) = self.arrangement.column();
        self.answer(format!("sorted by {}{}", column.title(), if reversed { ", reversed" } else { "" }), false);
    }

    fn select(&mut self, by: isize, model: &Model) {
        self.arrangement.select(by, model);
        if self.panel == Panel::Selected {
            self.scrolled = 0;
        }
    }

    fn ask_source(&mut self, model: &Model, block: bool) {
        match self.arrangement.selected(model) {
            Some(one) => {
                let (key, subscription) = (one.key(), one.subscription.clone());
                self.prompt = Some(Prompt::Source { block, key, subscription, text: String::new() });
            }
            None => self.answer("no subscription is selected", true),
        }
    }

    fn explain(&mut self, model: &Model) -> Option<Request> {
        let one = self.arrangement.selected(model)?;
        let action = Action { kind: ActionKind::Explain, key: one.key(), subscription: one.subscription.clone() };
        self.show(Panel::Selected);
        Some(Request::Run(action))
    }
}
