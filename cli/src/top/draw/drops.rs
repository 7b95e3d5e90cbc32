//! Who dropped what: each cause with its count, its rate, and what it means.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{more, put, put_right};
use super::theme::Theme;
use crate::top::model::Model;
use crate::units::short;

/// The width of the longest cause.
const CAUSE: u16 = 22;

/// Draws a row for each cause.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, skip: usize, theme: &Theme) {
    let drops = model.drops();
    if drops.is_empty() && model.is_known() {
        put(buffer, area, 0, 0, "nothing was dropped", theme.good());
        return;
    }
    let room = usize::from(area.height);
    let skip = skip.min(drops.len().saturating_sub(room));
    // Where the explanation has no room beside the counts, it stands below them.
    let below = area.width < 80 && room >= 2 * drops.len();
    let rows = (0..area.height).step_by(if below { 2 } else { 1 });
    for (row, drop) in rows.zip(&drops[skip..]) {
        // A loss that is over is not as grave as one that goes on.
        let style = if drop.rate > 0.0 { theme.cause(drop.kind) } else { Style::new() };
        put(buffer, area, row, 0, drop.kind.word(), style);
        put(buffer, Rect { width: (9 + CAUSE).min(area.width), ..area }, row, 9, &drop.cause, style);
        put_right(buffer, area, row, 9 + CAUSE + 7, &short(drop.count as f64), style);
        put_right(buffer, area, row, 9 + CAUSE + 17, &format!("{}/s", short(drop.rate)), style);
        let (row, column) = if below { (row + 1, 9) } else { (row, 9 + CAUSE + 19) };
        put(buffer, area, row, column, &drop.explanation, theme.dim());
    }
    more(buffer, area, drops.len().saturating_sub(skip + room), theme);
}
