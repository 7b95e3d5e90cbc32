//! What has happened, the latest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::text::{put, put_right, wrapped};
use super::theme::Theme;
use crate::top::model::Model;
use crate::units::age;

/// The width of `3 h 20 min ago`, and of the word for the weight.
const WIDTHS: (u16, u16) = (14, 5);

/// Draws as many as there is room for.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, skip: usize, theme: &Theme) {
    let start = WIDTHS.0 + 2 + WIDTHS.1;
    let mut row = 0;
    let mut occurrences = model.occurrences().skip(skip).peekable();
    if occurrences.peek().is_none() && model.is_known() {
        put(buffer, area, 0, 0, "nothing has happened since the dashboard was opened", theme.dim());
    }
    for (ago, occurrence) in occurrences {
        if row >= area.height {
            break;
        }
        let style = theme.weight(occurrence.weight);
        put_right(buffer, area, row, WIDTHS.0, &format!("{} ago", age(ago)), theme.dim());
        put(buffer, area, row, WIDTHS.0 + 2, occurrence.weight.word(), style);
        for line in wrapped(&occurrence.text, area.width.saturating_sub(start).into()).iter().take(3) {
            put(buffer, area, row, start, line, style);
            row += 1;
        }
    }
}
