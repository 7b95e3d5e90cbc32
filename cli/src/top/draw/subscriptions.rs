//! The table of subscriptions. Only visible rows are made.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::layout::Layout;
use super::sparkline;
use super::text::{put, put_right};
use super::theme::Theme;
use crate::top::keys::{Column, State};
use crate::top::model::{Model, Status};
use crate::top::stats::Subscription;
use crate::units::{age, short};
use crate::view::{group_of, shortened};

/// The width of a state: `SILENT 3 h 20 min`.
const STATE: u16 = 13;
/// The least and the greatest width of the course of the rate.
const COURSE: (u16, u16) = (8, 60);
/// The width of a subscription with one source.
const NAME: u16 = 24;

/// A column of numbers: its title, its width, its text, and the order that it stands for.
struct Number {
    title: &'static str,
    width: u16,
    text: fn(&Subscription) -> String,
    order: Option<Column>,
}

/// In the order in which they are shown; a column with a higher number is left out earlier for want of room.
const NUMBERS: [(u8, Number); 6] = [
    (
        0,
        Number {
            title: "packets/s",
            width: 9,
            text: |one| short(one.flow.packets_per_second),
            order: Some(Column::PacketRate),
        },
    ),
    (2, Number { title: "bit/s", width: 7, text: |one| short(one.flow.bits_per_second), order: Some(Column::BitRate) }),
    (
        1,
        Number {
            title: "blocked/s",
            width: 9,
            text: |one| one.flow.blocked_per_second.map_or_else(|| "unknown".to_owned(), short),
            order: Some(Column::BlockRate),
        },
    ),
    (3, Number { title: "packets", width: 13, text: |one| one.flow.packets.to_string(), order: Some(Column::Packets) }),
    (4, Number { title: "bytes", width: 7, text: |one| short(one.flow.bytes as f64), order: None }),
    (
        5,
        Number {
            title: "others",
            width: 6,
            text: |one| one.other_members.map_or_else(|| "-".to_owned(), |members| members.to_string()),
            order: None,
        },
    ),
];

/// Where the columns are.
struct Columns {
    name: u16,
    numbers: Vec<(u16, &'static Number)>,
    course: Option<(u16, u16)>,
}

impl Columns {
    /// For an area; `longest` is the length of the longest visible name.
    fn new(width: u16, longest: u16) -> Self {
        let state = Self::start(width);
        let mut left = width.saturating_sub(state);
        let mut name = left.min(NAME.min(longest.max(12)));
        left -= name;
        let mut chosen = [false; NUMBERS.len()];
        let take = |chosen: &mut [bool; NUMBERS.len()], left: &mut u16, ranks: std::ops::Range<u8>| {
            for rank in ranks {
                let at = NUMBERS.iter().position(|(of, _)| *of == rank).unwrap_or(0);
                if NUMBERS[at].1.width < *left {
                    chosen[at] = true;
                    *left -= NUMBERS[at].1.width + 1;
                }
            }
        };
        take(&mut chosen, &mut left, 0..3);
        let mut course = 0;
        if left > COURSE.0 {
            course = COURSE.0;
            left -= COURSE.0 + 1;
        }
        // The whole name before further numbers.
        let more = longest.saturating_sub(name).min(left);
        (name, left) = (name + more, left - more);
        if course > 0 {
            take(&mut chosen, &mut left, 3..6);
            let more = left.min(COURSE.1 - COURSE.0);
            (course, left) = (course + more, left - more);
        }
        let mut end = state + name + left;
        name += left;
        let mut numbers = Vec::new();
        for (at, (_, number)) in NUMBERS.iter().enumerate() {
            if chosen[at] {
                end += number.width + 1;
                numbers.push((end, number));
            }
        }
        Self { name, numbers, course: (course > 0).then_some((end + 1, course)) }
    }

    /// The column at which names begin.
    fn start(width: u16) -> u16 {
        if width > NAME + STATE { STATE + 1 } else { 0 }
    }
}

/// Draws the titles and the visible rows.
pub fn draw(buffer: &mut Buffer, layout: &Layout, model: &Model, state: &State, theme: &Theme) {
    let area = layout.list;
    if area.is_empty() {
        return;
    }
    let visible: Vec<(&Subscription, bool)> = state.arrangement.visible(model).collect();
    let longest = visible.iter().map(|(one, _)| one.label().len()).max().unwrap_or(0);
    let columns = Columns::new(area.width, u16::try_from(longest).unwrap_or(u16::MAX));
    let mut row = 0;
    if layout.has_titles() {
        titles(buffer, area, &columns, visible.len(), state, theme);
        row = 1;
    }
    if visible.is_empty() && model.is_known() {
        let text = if state.arrangement.filter().is_empty() {
            "no subscription is joined".to_owned()
        } else {
            format!("no subscription has `{}` in its name or state; Esc clears the filter", state.arrangement.filter())
        };
        put(buffer, area, row, 0, &text, theme.warning());
    }
    for (one, selected) in visible {
        draw_row(buffer, area, row, &columns, one, model, theme);
        if selected {
            // One colour for the whole row: behind several, the words are hard to read.
            let style = match model.status(one) {
                Status::Receiving => Style::new(),
                status => theme.status(status),
            };
            let style = Style { fg: style.fg.or(Some(Color::Reset)), ..style }.add_modifier(Modifier::REVERSED);
            let line = Rect { y: area.y + row, height: 1, ..area };
            buffer.set_style(line.intersection(area), style);
        }
        row += 1;
    }
}

/// `visible` is the number of rows below the titles.
fn titles(buffer: &mut Buffer, area: Rect, columns: &Columns, visible: usize, state: &State, theme: &Theme) {
    let (sorted, reversed) = state.arrangement.column();
    let style = theme.title();
    let down = match (theme.unicode, reversed) {
        (true, false) => "▼",
        (true, true) => "▲",
        (false, false) => "v",
        (false, true) => "^",
    };
    let start = Columns::start(area.width);
    let mark = |of: Column| if of == sorted { down } else { "" };
    if start > 0 {
        put(buffer, area, 0, 0, &format!("state{}", mark(Column::State)), style);
    }
    let shown = state.arrangement.len();
    let first = state.arrangement.first();
    let place = if visible == shown { String::new() } else { format!(" {}-{} of {shown}", first + 1, first + visible) };
    let joined = if sorted == Column::Joined { format!(" as joined{down}") } else { String::new() };
    let names = Rect { width: (start + columns.name).min(area.width), ..area };
    let titles = [format!("subscription{}{joined}{place}", mark(Column::Name)), place.trim_start().to_owned()];
    let fits = |title: &&String| title.chars().count() <= columns.name.into() && !title.is_empty();
    put(buffer, names, 0, start, titles.iter().find(fits).unwrap_or(&titles[0]), style);
    for (end, number) in &columns.numbers {
        let mark = number.order.map_or("", mark);
        put_right(buffer, area, 0, *end, &format!("{}{mark}", number.title), style);
    }
    if let Some((start, _)) = columns.course {
        put(buffer, area, 0, start, "course", style);
    }
}

fn draw_row(
    buffer: &mut Buffer,
    area: Rect,
    row: u16,
    columns: &Columns,
    one: &Subscription,
    model: &Model,
    theme: &Theme,
) {
    let status = model.status(one);
    let style = theme.status(status);
    let start = Columns::start(area.width);
    if start > 0 {
        put(buffer, Rect { width: STATE.min(area.width), ..area }, row, 0, &state_of(status), style);
    }
    let name_style = if status == Status::Receiving { Style::new() } else { style };
    let mut name = name_of(one, columns.name.into());
    if !theme.unicode {
        name = name.replace('…', "~");
    }
    put(buffer, area, row, start, &name, name_style);
    for (end, number) in &columns.numbers {
        put_right(buffer, area, row, *end, &(number.text)(one), Style::new());
    }
    if let Some(((start, width), history)) = columns.course.zip(model.history(one)) {
        sparkline::draw(buffer, area, row, start, width, history, theme);
    }
}

fn state_of(status: Status) -> String {
    match status {
        Status::Silent(seconds) => format!("{} {}", status.word(), brief(seconds)),
        Status::Receiving | Status::Never => status.word().to_owned(),
    }
}

/// A span of time in six characters: `75 s`, `12 min`, `3.3 h`, `12 d`.
fn brief(seconds: f64) -> String {
    match seconds {
        _ if seconds < 6000.0 => age(seconds),
        _ if seconds < 359_000.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// Name and subscription, cut to a width: the name and the group are kept before the sources.
fn name_of(one: &Subscription, width: usize) -> String {
    let Some(name) = &one.name else { return shortened(&one.subscription, width) };
    let length = name.chars().count();
    match width.checked_sub(length + 1) {
        Some(room) if room >= group_of(&one.subscription).len() => {
            format!("{name} {}", shortened(&one.subscription, room))
        }
        _ => name.chars().take(width).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_with_the_width_and_the_whole_name_is_kept() {
        let titles = |width, longest| {
            let columns = Columns::new(width, longest);
            let numbers: Vec<&str> = columns.numbers.iter().map(|(_, number)| number.title).collect();
            (columns.name, numbers.join(" "), columns.course.map(|(_, width)| width))
        };
        assert_eq!(titles(20, 23), (20, String::new(), None));
        assert_eq!(titles(80, 23), (23, "packets/s bit/s blocked/s".into(), Some(14)));
        let (name, numbers, course) = titles(120, 50);
        assert_eq!((name >= 50, numbers.as_str(), course), (true, "packets/s bit/s blocked/s packets", Some(13)));
        let (_, numbers, course) = titles(200, 60);
        assert_eq!(numbers, "packets/s bit/s blocked/s packets bytes others");
        assert!(course > Some(8), "{course:?}");
        for width in 0..300 {
            for longest in [0, 5, 23, 60, 2000] {
                let columns = Columns::new(width, longest);
                let end = columns.course.map(|(start, course)| start + course);
                assert!(end.unwrap_or(0) <= width, "{width} {longest}");
                assert!(columns.numbers.iter().all(|&(end, _)| end <= width), "{width} {longest}");
            }
        }
    }

    #[test]
    fn silence_fits_its_column() {
        for seconds in [0.0, 9.99, 75.0, 5999.0, 6000.0, 358_999.0, 359_000.0, 3e7] {
            assert!(state_of(Status::Silent(seconds)).len() <= STATE.into(), "{seconds}: {}", brief(seconds));
        }
    }

    #[test]
    fn a_name_stands_before_the_group() {
        let one = Subscription {
            subscription: "10.0.0.1@232.1.1.1:5000".into(),
            name: Some("market-a".into()),
            ..Subscription::default()
        };
        assert_eq!(name_of(&one, 40), "market-a 10.0.0.1@232.1.1.1:5000");
        assert_eq!(name_of(&one, 24), "market-a 232.1.1.1:5000");
        assert_eq!(name_of(&one, 20), "market-a");
        assert_eq!(name_of(&one, 4), "mark");
    }
}
