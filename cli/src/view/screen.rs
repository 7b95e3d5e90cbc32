//! A block of lines on the terminal that is updated in place.
//!
//! The terminal keeps its settings: no raw mode, no alternate screen, no hidden cursor. So any end of the process,
//! `kill -9` included, leaves the terminal usable, with the last block on it. After a change of size the visible part
//! is cleared, because terminals differ in where they put the old lines.

use std::io::{self, Write};

use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::cursor::{MoveTo, MoveToColumn, MoveUp};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::{Attribute, Color as Shade, Print, SetAttribute, SetForegroundColor};
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, size};
use ratatui::style::{Color, Modifier};

/// The size of a terminal that does not report it.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// Columns and rows of the terminal.
pub fn terminal_size() -> (u16, u16) {
    match size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => DEFAULT_SIZE,
    }
}

/// Returns true if the terminal moves its cursor by escape sequences: TERM names its kind, and it is not `dumb`.
pub fn has_cursor() -> bool {
    std::env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb")
}

/// Draws blocks.
pub struct Screen<W> {
    out: W,
    /// Rows of the block above the cursor.
    drawn: u16,
    size: Option<(u16, u16)>,
    /// False if the cells have neither colours nor weight.
    is_styled: bool,
}

impl<W: Write> Screen<W> {
    /// A screen on which nothing is drawn yet.
    pub fn new(out: W) -> Self {
        Self { out, drawn: 0, size: None, is_styled: true }
    }

    /// The same screen; without colours and weight if `is_styled` is false.
    pub fn styled(self, is_styled: bool) -> Self {
        Self { is_styled, ..self }
    }

    /// The writer of the screen. What is written to it follows the block.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Replaces the previous block. `above` is written first, and stays.
    pub fn draw(&mut self, size: (u16, u16), block: &Buffer, above: &[u8]) -> io::Result<()> {
        let resized = self.size.replace(size).is_some_and(|before| before != size);
        queue!(self.out, BeginSynchronizedUpdate)?;
        if resized {
            queue!(self.out, Clear(ClearType::All), MoveTo(0, 0))?;
        } else if self.drawn > 0 {
            queue!(self.out, MoveUp(self.drawn), MoveToColumn(0), Clear(ClearType::FromCursorDown))?;
        } else {
            queue!(self.out, MoveToColumn(0))?;
        }
        self.out.write_all(above)?;
        for row in 0..block.area.height {
            self.draw_row(block, row)?;
        }
        self.drawn = block.area.height;
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }

    fn draw_row(&mut self, block: &Buffer, row: u16) -> io::Result<()> {
        let cells: Vec<&Cell> = (0..block.area.width).filter_map(|column| block.cell((column, row))).collect();
        let used = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
        let mut style = (Color::Reset, Modifier::empty());
        for cell in &cells[..used] {
            if self.is_styled && (cell.fg, cell.modifier) != style {
                style = (cell.fg, cell.modifier);
                queue!(self.out, SetAttribute(Attribute::Reset))?;
                if cell.modifier.contains(Modifier::BOLD) {
                    queue!(self.out, SetAttribute(Attribute::Bold))?;
                }
                if cell.modifier.contains(Modifier::DIM) {
                    queue!(self.out, SetAttribute(Attribute::Dim))?;
                }
                match cell.fg {
                    Color::Red => queue!(self.out, SetForegroundColor(Shade::Red))?,
                    Color::Yellow => queue!(self.out, SetForegroundColor(Shade::Yellow))?,
                    _ => {}
                }
            }
            queue!(self.out, Print(cell.symbol()))?;
        }
        if style != (Color::Reset, Modifier::empty()) {
            queue!(self.out, SetAttribute(Attribute::Reset))?;
        }
        queue!(self.out, Print("\r\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    fn drawn(screen: &mut Screen<Vec<u8>>, size: (u16, u16), block: &Buffer) -> String {
        screen.out.clear();
        screen.draw(size, block, b"").expect("memory");
        String::from_utf8(screen.out.clone()).expect("UTF-8")
    }

    #[test]
    fn a_block_takes_the_place_of_the_one_before() {
        let mut screen = Screen::new(Vec::new());
        let block = Buffer::with_lines(["one", "two"]);
        let first = drawn(&mut screen, (80, 24), &block);
        assert!(first.contains("one\r\ntwo\r\n") && !first.contains("\x1b[2A"), "{first:?}");
        let second = drawn(&mut screen, (80, 24), &Buffer::with_lines(["three"]));
        assert!(second.contains("\x1b[2A") && second.contains("\x1b[J"), "{second:?}");
        let third = drawn(&mut screen, (80, 24), &block);
        assert!(third.contains("\x1b[1A"), "{third:?}");
        let resized = drawn(&mut screen, (70, 24), &block);
        assert!(resized.contains("\x1b[2J") && !resized.contains("\x1b[2A"), "{resized:?}");
    }

    #[test]
    fn looks_end_with_their_cells() {
        let mut block = Buffer::with_lines(["ab "]);
        block.set_string(1, 0, "b", Style::new().add_modifier(Modifier::BOLD));
        let text = drawn(&mut Screen::new(Vec::new()), (80, 24), &block);
        assert!(text.contains("a\x1b[0m\x1b[1mb\x1b[0m\r\n"), "{text:?}");
        let text = drawn(&mut Screen::new(Vec::new()).styled(false), (80, 24), &block);
        assert!(text.contains("ab\r\n"), "{text:?}");
    }
}
