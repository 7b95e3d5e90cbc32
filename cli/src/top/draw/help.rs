//! What the keys do, over everything else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{put, wrapped};
use super::theme::Theme;

/// Keys, and what each does. A row without keys is a heading.
const ROWS: [(&str, &str); 20] = [
    ("", "The dashboard: any key closes this help"),
    ("Up Down PgUp PgDn", "select a subscription (also j k; Home End, g G)"),
    ("s S", "sort by the next or the previous column"),
    ("r", "reverse the order"),
    ("/", "show only rows with a text in name or state (silent, lost)"),
    ("f", "show the feeds with their legs and streams; the subscriptions again"),
    ("Esc", "clear the filter, cancel a question"),
    ("Enter", "ask why the selected subscription receives nothing"),
    ("b u", "block or unblock a source of the selected subscription"),
    ("1-6 Tab", "choose a panel: drops, queues, events, subscription, mode, log"),
    ("+ -", "scroll the chosen panel"),
    ("p Space", "pause: the picture stands still, the run goes on"),
    ("Ctrl-L Ctrl-Z", "draw everything anew; suspend"),
    ("q Ctrl-C", "quit"),
    ("", "States and causes"),
    ("receives", "packets come"),
    ("SILENT 12 s", "packets came, and none for three intervals or more"),
    ("never", "no packet has come yet: Enter asks why"),
    ("lost bad", "the receiver lost it; it was damaged: the column beside names the cause"),
    ("unwanted", "dropped as the subscriptions ask"),
];
/// The width of the keys.
const KEYS: u16 = 18;

/// Draws the help.
pub fn draw(buffer: &mut Buffer, area: Rect, theme: &Theme) {
    let width = area.width.min(86);
    let x = area.x + (area.width - width) / 2;
    let lines: Vec<(&str, String)> = ROWS
        .iter()
        .flat_map(|(keys, text)| {
            let room = if keys.is_empty() { width } else { width.saturating_sub(KEYS + 2) };
            let lines = wrapped(text, room.into()).into_iter().enumerate();
            lines.map(move |(at, line)| (if at == 0 { *keys } else { " " }, line))
        })
        .collect();
    let height = (lines.len() as u16).min(area.height);
    let place = Rect::new(x, area.y + (area.height - height) / 2, width, height);
    for row in 0..height {
        put(buffer, place, row, 0, &" ".repeat(width.into()), Style::reset());
    }
    for (row, (keys, text)) in (0..height).zip(&lines) {
        match *keys {
            "" => {
                put(buffer, place, row, 0, text, theme.title());
            }
            keys => {
                put(buffer, place, row, 1, keys, theme.title());
                put(buffer, place, row, KEYS + 1, text, Style::new());
            }
        }
    }
}
