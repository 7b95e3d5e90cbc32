//! The last row: a question, the answer to a key, or what the keys do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::text::put;
use super::theme::Theme;
use crate::top::keys::{Page, State};
use crate::top::model::Model;

/// Draws it.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, state: &State, theme: &Theme) {
    if let Some(message) = &state.message {
        let style = if message.failed { theme.bad() } else { theme.good() };
        put(buffer, area, 0, 0, &message.text, style);
        return;
    }
    if let Some(prompt) = &state.prompt {
        let column = put(buffer, area, 0, 0, &format!("{} ", prompt.question()), theme.title());
        // The end of a long text is what is being typed.
        let room = usize::from(area.width.saturating_sub(column + 1));
        let skip = prompt.text().chars().count().saturating_sub(room);
        let text: String = prompt.text().chars().skip(skip).collect();
        let end = put(buffer, area, 0, column, &text, Style::new());
        put(buffer, area, 0, end, " ", Style::new().add_modifier(Modifier::REVERSED));
        return;
    }
    let pause = if state.paused { "p go on" } else { "p pause" };
    let quit = if state.ends_run { "q end run" } else { "q quit" };
    let page = match state.page {
        Page::Feeds => "f subscriptions",
        Page::Subscriptions if model.feeds().is_empty() => "",
        Page::Subscriptions => "f feeds",
    };
    let keys = ["? help", quit, page, "s sort", "/ filter", pause, "b/u block", "Enter why", "Tab panel"];
    let mut column = 0;
    // Always in sight: rows that are not shown must not be forgotten.
    if !state.filter().is_empty() {
        let text = format!("filter `{}`: {} (Esc clears)", state.filter(), state.len());
        column = put(buffer, area, 0, 0, &text, theme.warning()).saturating_add(2);
    }
    for key in keys.into_iter().filter(|key| !key.is_empty()) {
        if usize::from(column) + key.len() > area.width.into() {
            break;
        }
        column = put(buffer, area, 0, column, key, theme.dim()).saturating_add(2);
    }
}
