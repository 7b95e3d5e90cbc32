//! Text in cells.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::layout::Layout;
use super::theme::Theme;
use crate::top::keys::{Panel, State};

/// Writes a text into a row of an area, from this column on. Returns the column behind it.
pub fn put(buffer: &mut Buffer, area: Rect, row: u16, column: u16, text: &str, style: Style) -> u16 {
    if row >= area.height || column >= area.width {
        return column;
    }
    let room = area.width - column;
    let (end, _) = buffer.set_stringn(area.x + column, area.y + row, text, room.into(), style);
    end - area.x
}

/// Writes a text that ends before this column of an area; what does not fit is left out at the beginning.
pub fn put_right(buffer: &mut Buffer, area: Rect, row: u16, end: u16, text: &str, style: Style) -> u16 {
    let end = end.min(area.width);
    let length = text.chars().count();
    let skip = length.saturating_sub(end.into());
    let text: String = text.chars().skip(skip).collect();
    let start = end - (length - skip) as u16;
    put(buffer, area, row, start, &text, style);
    start
}

/// The words of a text on as many lines of a width as they need. A word that is longer than a line is broken.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut room = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if length < room => {
                line.push(' ');
                line.push_str(word);
                room -= length + 1;
            }
            _ => {
                let characters: Vec<char> = word.chars().collect();
                for part in characters.chunks(width) {
                    lines.push(part.iter().collect());
                    room = width - part.len();
                }
            }
        }
    }
    lines
}

/// Paragraphs that are scrolled by a number of lines. What does not fit is left out, with a word in the last row.
pub fn paragraphs(buffer: &mut Buffer, area: Rect, all: &[(String, Style)], skip: usize, theme: &Theme) {
    const INDENT: usize = 2;
    let width = usize::from(area.width).saturating_sub(INDENT);
    let lines = all.iter().flat_map(|(text, style)| {
        let lines = wrapped(text, width).into_iter().enumerate();
        lines.map(move |(number, line)| (if number == 0 { 0 } else { INDENT as u16 }, line, *style))
    });
    let lines: Vec<_> = lines.collect();
    let room = usize::from(area.height);
    let skip = skip.min(lines.len().saturating_sub(room));
    for (row, (column, line, style)) in lines.iter().skip(skip).take(room).enumerate() {
        put(buffer, area, row as u16, *column, line, *style);
    }
    more(buffer, area, lines.len().saturating_sub(skip + room), theme);
}

/// Writes into the last row that there is more.
pub fn more(buffer: &mut Buffer, area: Rect, lines: usize, theme: &Theme) {
    if lines > 0 && area.height > 0 {
        put_right(buffer, area, area.height - 1, area.width, &format!(" +{lines} more, + scrolls"), theme.dim());
    }
}

/// The title of a panel, on a line over its whole width: with the titles of all panels if it is the only one. Returns
/// the rest of the area.
pub fn title(buffer: &mut Buffer, area: Rect, panel: Panel, layout: &Layout, state: &State, theme: &Theme) -> Rect {
    if area.height == 0 {
        return area;
    }
    put(buffer, area, 0, 0, &theme.line().repeat(area.width.into()), theme.dim());
    let alone = layout.panels.len() == 1;
    let mut column = 1;
    for (number, title) in (1..).zip(Panel::ALL) {
        if !alone && title != panel {
            continue;
        }
        let style = if title == state.panel { theme.title() } else { theme.dim() };
        // A mark beside the style: the chosen one is seen without attributes, too.
        let (open, close) = if title == state.panel { ('[', ']') } else { (' ', ' ') };
        let text = format!("{open}{number} {}{close}", title.title());
        column = put(buffer, area, 0, column, &text, style);
    }
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_long_ones_broken() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one abcdefghij k", 4), ["one", "abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), Vec::<String>::new());
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn text_stays_in_its_area() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 3));
        let area = Rect::new(2, 1, 5, 1);
        assert_eq!(put(&mut buffer, area, 0, 3, "abcdef", Style::new()), 5);
        put(&mut buffer, area, 1, 0, "below", Style::new());
        put_right(&mut buffer, area, 0, 3, "12345", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["          ", "  345ab   ", "          "]));
    }
}
