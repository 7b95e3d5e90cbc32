//! Which part of the window is for what.

use ratatui::layout::Rect;

use crate::top::keys::Panel;

/// The height of a panel where one is shown, with its title.
const PANEL: u16 = 8;

/// The parts of the window. A part without room is empty.
#[derive(Clone, Debug)]
pub struct Layout {
    pub header: Rect,
    /// The subscriptions or the feeds, with the row of titles.
    pub list: Rect,
    pub panels: Vec<(Panel, Rect)>,
    pub footer: Rect,
}

impl Layout {
    /// For a window of this size, where this panel is chosen, and the list has this number of rows.
    pub fn new(area: Rect, chosen: Panel, length: usize) -> Self {
        let (width, height) = (area.width, area.height);
        let header = match height {
            0..4 => height.min(1),
            4..8 => 1,
            8..12 => 2,
            _ => 3,
        };
        let footer = u16::from(height >= 4);
        let left = height - header - footer;
        let (columns, rows) = match (width, height) {
            (150.., 40..) => (3, 2),
            (110.., 34..) => (2, 2),
            (110.., 20..) => (2, 1),
            (_, 18..) => (1, 1),
            _ => (0, 0),
        };
        // Up to half of the window, and what the list leaves free below a free row.
        let least = if rows == 2 { (left / 4).max(PANEL - 1) } else { PANEL };
        let needed = u16::try_from(length).unwrap_or(u16::MAX).max(1).saturating_add(2);
        let panel = left.saturating_sub(needed).checked_div(rows).map_or(0, |free| least.max(free));
        let panels = panel * rows;
        let list = left - panels.min(left);
        let at = |y: u16, height: u16| Rect::new(area.x, area.y + y, width, height);
        let shown = chosen_of(chosen, usize::from(columns * rows));
        let panels = shown.into_iter().enumerate().map(|(number, shown)| {
            let (column, row) = (number as u16 % columns, number as u16 / columns);
            let (start, end) = (width * column / columns, width * (column + 1) / columns);
            // A column free between two panels.
            let free = u16::from(column + 1 < columns);
            let place = Rect::new(area.x + start, area.y + header + list + row * panel, end - start - free, panel);
            (shown, place)
        });
        Self {
            header: at(0, header),
            list: at(header, list),
            panels: panels.collect(),
            footer: at(height - footer, footer),
        }
    }

    /// Rows of the list.
    pub fn rows(&self) -> usize {
        usize::from(self.list.height.saturating_sub(u16::from(self.has_titles())))
    }

    /// Returns true if the columns of the list have titles.
    pub fn has_titles(&self) -> bool {
        self.list.height >= 3
    }
}

/// The panels to show where there is room for this number. They keep their places, but for the last, which gives way to
/// the chosen one.
fn chosen_of(chosen: Panel, room: usize) -> Vec<Panel> {
    let mut shown: Vec<Panel> = Panel::ALL.into_iter().take(room).collect();
    if let Some(last) = shown.last_mut()
        && !Panel::ALL[..room].contains(&chosen)
    {
        *last = chosen;
    } else if room == 1 {
        shown = vec![chosen];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_each_window_and_do_not_overlap() {
        for width in (1..250).step_by(7) {
            for height in 1..90 {
                let area = Rect::new(0, 0, width, height);
                for (chosen, count) in Panel::ALL.into_iter().zip([0, 1, 7, 30, 100, 10_000]) {
                    let layout = Layout::new(area, chosen, count);
                    let parts = [layout.header, layout.list, layout.footer];
                    let all: Vec<Rect> =
                        parts.into_iter().chain(layout.panels.iter().map(|&(_, place)| place)).collect();
                    for (at, part) in all.iter().enumerate() {
                        assert_eq!(part.intersection(area), *part, "{width}x{height}: {part}");
                        for other in &all[at + 1..] {
                            assert!(part.intersection(*other).is_empty(), "{width}x{height}: {part} {other}");
                        }
                    }
                    assert!(layout.rows() >= 1 || height < 2, "{width}x{height}: {layout:?}");
                    assert!(layout.panels.is_empty() || layout.panels.iter().any(|&(panel, _)| panel == chosen));
                }
            }
        }
    }

    #[test]
    fn more_panels_have_room_in_larger_windows() {
        let panels = |width, height| Layout::new(Rect::new(0, 0, width, height), Panel::Log, 50).panels.len();
        assert_eq!([panels(20, 5), panels(80, 24), panels(120, 40), panels(200, 60)], [0, 1, 4, 6]);
    }
}
