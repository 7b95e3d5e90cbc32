//! The page of feeds: a row for each feed, leg and stream. Only visible rows are made.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::layout::Layout;
use super::text::put;
use super::theme::Theme;
use crate::feeds::FeedReport;
use crate::top::keys::State;
use crate::top::model::Model;
use crate::view::feeds::{Part, TITLES, Tone, cells, grid, tone};

/// Draws the titles and the visible rows.
pub fn draw(buffer: &mut Buffer, layout: &Layout, model: &Model, state: &State, theme: &Theme) {
    let area = layout.list;
    if area.is_empty() {
        return;
    }
    let visible: Vec<(&FeedReport, Part, bool)> = state.feeds.visible(model).collect();
    let titles = u16::from(layout.has_titles());
    if visible.is_empty() && model.is_known() {
        let text = match state.filter() {
            "" => "the run has no feeds: `receiver run --feed` names the protocol of one".to_owned(),
            filter => format!("no feed, leg or stream has `{filter}` in its name or state; Esc clears the filter"),
        };
        put(buffer, area, titles, 0, &text, theme.warning());
    }
    let rows: Vec<_> =
        [titles_of(state, visible.len())].into_iter().chain(visible.iter().map(|row| cells(row.0, row.1))).collect();
    let mut lines = grid(&rows, area.width.into()).into_iter();
    let title = lines.next().unwrap_or_default();
    if titles > 0 {
        put(buffer, area, 0, 0, &title, theme.title());
    }
    for ((row, text), &(feed, part, selected)) in (titles..).zip(lines).zip(&visible) {
        let style = theme.tone(tone(feed, part));
        let text = if theme.unicode { text } else { text.replace('…', "~").replace('µ', "u") };
        put(buffer, area, row, 0, &text, style);
        if selected {
            let style = Style { fg: style.fg.or(Some(Color::Reset)), ..style }.add_modifier(Modifier::REVERSED);
            let line = Rect { y: area.y + row, height: 1, ..area };
            buffer.set_style(line.intersection(area), style);
        }
    }
}

/// The titles, with the visible rows if they are not all.
fn titles_of(state: &State, visible: usize) -> [String; TITLES.len()] {
    let mut titles = TITLES.map(str::to_owned);
    if visible < state.len() {
        let first = state.feeds.first();
        titles[0] = format!("{} {}-{} of {}", titles[0], first + 1, first + visible, state.len());
    }
    titles
}

/// What is wrong with a feed and needs a look first.
pub fn alert(model: &Model) -> Option<(String, Tone)> {
    let worst = model.feeds().iter().filter(|feed| tone(feed, Part::Feed) > Tone::Plain);
    let feed = worst.max_by_key(|feed| tone(feed, Part::Feed))?;
    let text = format!("feed {}; f shows the feeds", crate::view::feeds::sentence(feed));
    Some((text, tone(feed, Part::Feed)))
}
