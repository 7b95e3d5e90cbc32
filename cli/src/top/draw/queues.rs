//! The receive queues: rates, rings, and what was lost there.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{more, put, put_right};
use super::theme::Theme;
use crate::top::model::{Model, Queue};
use crate::units::short;

/// A column: its title, the name of its count, and how it is shown.
struct Count {
    title: &'static str,
    name: &'static str,
    show: Show,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Rate,
    Count,
    /// A count that is bad if it is not 0.
    Loss,
}

const COUNTS: [Count; 9] = [
    Count { title: "packets/s", name: "taken", show: Show::Rate },
    Count { title: "in ring", name: "in_ring", show: Show::Count },
    Count { title: "leased", name: "leased", show: Show::Count },
    Count { title: "ring full", name: "rx_ring_full", show: Show::Loss },
    Count { title: "no frame", name: "rx_dropped", show: Show::Loss },
    Count { title: "fill empty", name: "rx_fill_ring_empty_descs", show: Show::Count },
    Count { title: "invalid", name: "rx_invalid_descs", show: Show::Loss },
    Count { title: "not copied", name: "not_copied", show: Show::Loss },
    Count { title: "refused", name: "refused", show: Show::Loss },
];
/// The same, of all queues together, as the ledger has them.
const TOTALS: [(&str, &str, Show); 9] = [
    ("taken by XDP", "xdp_taken", Show::Count),
    ("taken by sockets", "kernel_taken", Show::Count),
    ("in the rings", "xsk_in_ring", Show::Count),
    ("leased", "xsk_leased", Show::Count),
    ("RX ring full", "xsk_rx_ring_full", Show::Loss),
    ("no free frame", "xsk_rx_dropped", Show::Loss),
    ("mapped ring full", "dropped_ring_full", Show::Loss),
    ("socket buffer full", "kernel_dropped", Show::Loss),
    ("fill ring empty", "xsk_rx_fill_ring_empty_descs", Show::Count),
];
/// The width of a queue's number, and of each count.
const WIDTHS: (u16, u16) = (7, 11);

/// Draws a row for each queue; the counts of all together, if a run does not give those of each.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, skip: usize, theme: &Theme) {
    let queues = model.queues();
    if queues.iter().all(|queue| queue.counts.is_empty()) {
        together(buffer, area, model, theme);
        return;
    }
    put(buffer, area, 0, 0, "queue", theme.title());
    // A count that no queue has takes no room.
    let counts = COUNTS.iter().filter(|count| queues.iter().any(|queue| queue.count(count.name).is_some()));
    let room = usize::from(area.height.saturating_sub(1));
    let skip = skip.min(queues.len().saturating_sub(room));
    for (row, queue) in (1..area.height).zip(&queues[skip..]) {
        put(buffer, area, row, 0, &name_of(queue), Style::new());
    }
    let mut end = WIDTHS.0;
    for count in counts {
        end += WIDTHS.1;
        if end > area.width {
            break;
        }
        put_right(buffer, area, 0, end, count.title, theme.title());
        for (row, queue) in (1..area.height).zip(&queues[skip..]) {
            let Some((number, rate)) = queue.count(count.name) else { continue };
            let shown = if count.show == Show::Rate { rate } else { number as f64 };
            let style = if count.show == Show::Loss && number > 0 { theme.bad() } else { Style::new() };
            put_right(buffer, area, row, end, &short(shown), style);
        }
    }
    more(buffer, area, queues.len().saturating_sub(skip + room), theme);
}

fn name_of(queue: &Queue) -> String {
    queue.number.map_or_else(|| "kernel".to_owned(), |number| number.to_string())
}

fn together(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let numbers: Vec<String> = model.queues().iter().map(name_of).collect();
    let text = match numbers.as_slice() {
        [] if !model.is_known() => return,
        [] => "kernel sockets receive; no queue is served by XDP".to_owned(),
        [one] => format!("queue {one}"),
        many => format!("queues {}, all together:", many.join(",")),
    };
    put(buffer, area, 0, 0, &text, theme.title());
    let columns = (area.width / 30).max(1);
    let width = area.width / columns;
    for (number, (title, cause, show)) in (0..).zip(TOTALS) {
        let (column, row) = (number % columns, 1 + number / columns);
        let Some(&count) = model.stats().ledger.get(cause) else { continue };
        let style = if show == Show::Loss && count > 0 { theme.bad() } else { Style::new() };
        let cell = Rect { x: area.x + column * width, width: width.saturating_sub(2), ..area };
        put(buffer, cell, row, 0, title, style);
        put_right(buffer, cell, row, cell.width, &short(count as f64), style);
    }
}
