//! The latest lines of the log, which the terminal would show without the dashboard.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{put, wrapped};
use super::theme::Theme;
use crate::top::model::Model;

/// Draws the last lines, the latest at the bottom.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, skip: usize, theme: &Theme) {
    if model.log().len() == 0 {
        put(buffer, area, 0, 0, "nothing was logged to this terminal", theme.dim());
        return;
    }
    let skip = skip.min(model.log().len() - 1);
    let mut row = area.height;
    for text in model.log().rev().skip(skip) {
        let style = if text.contains(" WARN ") || text.contains(" ERROR ") { theme.warning() } else { Style::new() };
        for line in wrapped(text, area.width.into()).iter().rev() {
            if row == 0 {
                return;
            }
            row -= 1;
            put(buffer, area, row, 0, line, style);
        }
    }
}
