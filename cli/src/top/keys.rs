//! What the keys do: the choice of order, filter, selection and panel, and the requests to the run. Pure.

mod arrangement;
mod column;
mod feed_rows;
mod list;
mod prompt;
mod viewport;

#[cfg(test)]
mod tests;

use super::model::Model;
use super::stats::Subscription;
use crate::view::feeds::Part;

pub use arrangement::Arrangement;
pub use column::Column;
pub use feed_rows::FeedRows;
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

/// What the list above the panels has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    #[default]
    Subscriptions,
    Feeds,
}

/// A panel below the list.
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
    pub page: Page,
    pub arrangement: Arrangement,
    pub feeds: FeedRows,
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
            page: Page::default(),
            arrangement: Arrangement::default(),
            feeds: FeedRows::default(),
            panel: Panel::Drops,
            prompt: None,
            help: false,
            paused: false,
            message: None,
            scrolled: 0,
            ends_run,
        }
    }

    /// Makes the list of the page anew if the run has answered since.
    pub fn refresh(&mut self, model: &Model) {
        match self.page {
            Page::Subscriptions => self.arrangement.refresh(model),
            Page::Feeds => self.feeds.refresh(model),
        }
    }

    /// The list of the page has room for this number of rows.
    pub fn fit(&mut self, rows: usize) {
        match self.page {
            Page::Subscriptions => self.arrangement.fit(rows),
            Page::Feeds => self.feeds.fit(rows),
        }
    }

    /// Rows of the page's list, visible or not.
    pub fn len(&self) -> usize {
        match self.page {
            Page::Subscriptions => self.arrangement.len(),
            Page::Feeds => self.feeds.len(),
        }
    }

    /// The filter of the page.
    pub fn filter(&self) -> &str {
        match self.page {
            Page::Subscriptions => self.arrangement.filter(),
            Page::Feeds => self.feeds.filter(),
        }
    }

    fn set_filter(&mut self, text: &str, model: &Model) {
        match self.page {
            Page::Subscriptions => self.arrangement.set_filter(text, model),
            Page::Feeds => self.feeds.set_filter(text, model),
        }
    }

    fn page_rows(&self) -> isize {
        match self.page {
            Page::Subscriptions => self.arrangement.page(),
            Page::Feeds => self.feeds.page(),
        }
    }

    /// The selected subscription: on the page of feeds, that of the selected leg.
    pub fn subscription<'a>(&self, model: &'a Model) -> Option<&'a Subscription> {
        if self.page == Page::Subscriptions {
            return self.arrangement.selected(model);
        }
        let (feed, Part::Leg(at)) = self.feeds.selected(model)? else { return None };
        let of_leg = &feed.legs[at].subscription;
        model.subscriptions().iter().find(|one| one.subscription == *of_leg)
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
                    self.set_filter(&before, model);
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
                    self.set_filter(text, model);
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
            Key::PageUp => self.select(-self.page_rows(), model),
            Key::PageDown => self.select(self.page_rows(), model),
            Key::Home | Key::Char('g') => self.select(isize::MIN, model),
            Key::End | Key::Char('G') => self.select(isize::MAX, model),
            Key::Char('s') | Key::Right => self.sort(Arrangement::sort_by_next, model),
            Key::Char('S') | Key::Left => self.sort(Arrangement::sort_by_previous, model),
            Key::Char('r') => self.sort(Arrangement::reverse, model),
            Key::Char('/') => {
                let text = self.filter().to_owned();
                self.prompt = Some(Prompt::Filter { before: text.clone(), text });
            }
            Key::Escape => self.set_filter("", model),
            Key::Char('f') => self.turn_page(model),
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

    fn turn_page(&mut self, model: &Model) {
        self.page = match self.page {
            Page::Subscriptions => Page::Feeds,
            Page::Feeds => Page::Subscriptions,
        };
        self.scrolled = 0;
        self.refresh(model);
    }

    fn show(&mut self, panel: Panel) {
        (self.panel, self.scrolled) = (panel, 0);
    }

    /// The column may have no room, so that the footer names it.
    fn sort(&mut self, sort: fn(&mut Arrangement, &Model), model: &Model) {
        if self.page == Page::Feeds {
            return self.answer("streams in trouble come first; f shows the subscriptions, which can be sorted", false);
        }
        sort(&mut self.arrangement, model);
        let (column, reversed) = self.arrangement.column();
        self.answer(format!("sorted by {}{}", column.title(), if reversed { ", reversed" } else { "" }), false);
    }

    fn select(&mut self, by: isize, model: &Model) {
        match self.page {
            Page::Subscriptions => self.arrangement.select(by, model),
            Page::Feeds => self.feeds.select(by, model),
        }
        if self.panel == Panel::Selected {
            self.scrolled = 0;
        }
    }

    fn ask_source(&mut self, model: &Model, block: bool) {
        match self.subscription(model) {
            Some(one) => {
                let (key, subscription) = (one.key(), one.subscription.clone());
                self.prompt = Some(Prompt::Source { block, key, subscription, text: String::new() });
            }
            None => self.answer(self.nothing_selected(), true),
        }
    }

    fn nothing_selected(&self) -> &'static str {
        match self.page {
            Page::Subscriptions => "no subscription is selected",
            Page::Feeds => "no leg is selected; a leg has a subscription",
        }
    }

    fn explain(&mut self, model: &Model) -> Option<Request> {
        let Some(one) = self.subscription(model) else {
            self.answer(self.nothing_selected(), true);
            return None;
        };
        let action = Action { kind: ActionKind::Explain, key: one.key(), subscription: one.subscription.clone() };
        self.show(Panel::Selected);
        Some(Request::Run(action))
    }
}
