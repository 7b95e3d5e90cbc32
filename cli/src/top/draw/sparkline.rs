//! The course of a rate in one row.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::text::put;
use super::theme::Theme;
use crate::top::model::History;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', '-', '~', '=', '+', '*', '#'];

/// Draws the latest rates so that the last one is at the right end. The highest of them has the full height; a rate of
/// 0 leaves its cell empty.
pub fn draw(buffer: &mut Buffer, area: Rect, row: u16, column: u16, width: u16, history: &History, theme: &Theme) {
    let rates: Vec<f32> = history.latest(width.into()).collect();
    let text = bars(&rates, theme.unicode);
    put(buffer, area, row, column + width - rates.len() as u16, &text, theme.course());
}

fn bars(rates: &[f32], unicode: bool) -> String {
    let set = if unicode { BARS } else { ASCII };
    let highest = rates.iter().copied().fold(0.0, f32::max);
    let bar = |&rate: &f32| match rate {
        rate if rate > 0.0 => set[((rate / highest * 8.0).ceil() as usize).clamp(1, 8) - 1],
        _ => ' ',
    };
    rates.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_has_the_full_height_and_none_is_empty() {
        assert_eq!(bars(&[0.0, 1.0, 4.0, 8.0], true), " ▁▄█");
        assert_eq!(bars(&[8.0, 0.001, 0.0], false), "#_ ");
        assert_eq!(bars(&[0.0, 0.0], true), "  ");
        assert_eq!(bars(&[], true), "");
        assert_eq!(bars(&[f32::NAN, f32::INFINITY], true).chars().count(), 2);
    }
}
