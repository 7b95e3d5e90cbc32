//! The table on a terminal: the rate of each stream, and the streams that have stopped.

use std::io::{self, Write};
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table, Widget};

use super::feeds::{self, Tone};
use super::lines::{heading, unaccounted, why_not_better, write_summary};
use super::screen::{Screen, terminal_size};
use super::shorten::{group_of, shortened};
use super::traits::View;
use crate::figures::{Facts, Figures, Flow, Stream, drops};
use crate::outlet::Units;
use crate::units::{age, short};
use crate::{color, log};

/// A stream counts as stopped after this number of intervals without a packet.
pub const STOPPED_AFTER: u32 = 3;

/// Shows the table on standard output.
pub struct TableView {
    screen: Screen<Units>,
    patience: Duration,
}

impl TableView {
    /// A table that is updated at this interval. Until it is dropped, log lines are held back and appear above it.
    pub fn new(out: Units, interval: Duration) -> Self {
        log::hold();
        let screen = Screen::new(out).styled(color::on_stdout());
        Self { screen, patience: interval.saturating_mul(STOPPED_AFTER) }
    }

    fn draw(&mut self, facts: &Facts, figures: Option<&Figures>) -> io::Result<()> {
        let size = terminal_size();
        let block = render(facts, figures, self.patience.as_secs_f64(), size);
        // Standard error is a terminal where lines are held: this one.
        self.screen.draw(size, &block, &log::take())
    }
}

impl View for TableView {
    fn start(&mut self, facts: &Facts) -> anyhow::Result<()> {
        Ok(self.draw(facts, None)?)
    }

    fn interval(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        Ok(self.draw(facts, Some(figures))?)
    }

    fn resized(&mut self, facts: &Facts, figures: Option<&Figures>) -> anyhow::Result<()> {
        Ok(self.draw(facts, figures)?)
    }

    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        let held = log::take();
        log::release();
        self.screen.out().write_all(&held)?;
        Ok(write_summary(self.screen.out(), facts, figures)?)
    }
}

impl Drop for TableView {
    fn drop(&mut self) {
        log::release();
    }
}

/// The whole block. It leaves one column and one row of the terminal free; the cursor is in the row below it.
fn render(facts: &Facts, figures: Option<&Figures>, patience: f64, size: (u16, u16)) -> Buffer {
    // A line that ends in the last column wraps on some terminals.
    let width = size.0.saturating_sub(1).max(1);
    let height = usize::from(size.1.saturating_sub(1).max(1));
    let columns = Columns::new(width, figures.map_or(&[], |figures| &figures.streams));
    let elapsed = figures.map_or(String::new(), |figures| format!(", {}", age(figures.elapsed)));
    let mut head = vec![Line::styled(format!("{}{elapsed}", heading(facts)), Style::new().bold())];
    for reason in why_not_better(facts) {
        let words: Vec<String> = reason.split_whitespace().map(str::to_owned).collect();
        let lines = wrapped("", &words, " ", width.into());
        head.extend(lines.into_iter().map(|line| Line::styled(line, Style::new().dim())));
    }
    let (mut grid, mut foot) = (Vec::new(), Vec::new());
    if let Some(figures) = figures {
        // Up to a third of the window is for feeds.
        foot = feed_lines(figures, usize::from(width), height / 3);
        foot.extend(footer(figures, usize::from(width)));
        // Title, total and one stream must have room. Without it, the reasons are left out first.
        if head.len() + 3 + foot.len() > height {
            head.truncate(1);
        }
        let room = height.saturating_sub(head.len() + 2 + foot.len()).max(1);
        grid = rows_of(figures, patience, room, &columns);
    }
    let used = (head.len() + grid.len() + foot.len()).min(height);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, u16::try_from(used).unwrap_or(u16::MAX)));
    let mut put = |at: usize, line: &Line<'_>| {
        if at < used {
            buffer.set_line(0, at as u16, line, width);
        }
    };
    for (at, line) in head.iter().enumerate() {
        put(at, line);
    }
    let below = head.len() + grid.len();
    for (at, line) in foot.iter().enumerate() {
        put(below + at, line);
    }
    let area = Rect::new(0, head.len().min(used) as u16, width, grid.len().min(used - head.len().min(used)) as u16);
    Table::new(grid, columns.constraints()).column_spacing(1).render(area, &mut buffer);
    buffer
}

/// The title and the width of each column of numbers.
const NUMBERS: [(&str, u16); 5] =
    [("packets/s", 9), ("bit/s", 8), ("blocked/s", 9), ("packets", 12), ("last packet", 11)];
/// The columns to leave out first if there is no room for a subscription with one source.
const DISPENSABLE: [usize; 3] = [3, 1, 2];
/// The columns to leave out if there is no room for group and port alone.
const DISPENSABLE_FOR_GROUP: [usize; 5] = [3, 1, 2, 4, 0];
/// The width of a subscription with one source, such as `10.0.0.1@232.1.1.1:5000`.
const NAME: usize = 24;

/// The columns for which a width has room.
struct Columns {
    /// Indices of the columns of numbers.
    numbers: Vec<usize>,
    /// The width of the name.
    name: usize,
}

impl Columns {
    fn new(width: u16, streams: &[Stream]) -> Self {
        let mut numbers: Vec<usize> = (0..NUMBERS.len()).collect();
        let name = |numbers: &[usize]| {
            let taken: u16 = numbers.iter().map(|&at| NUMBERS[at].1 + 1).sum();
            usize::from(width.saturating_sub(taken))
        };
        let longest_group = streams.iter().map(|stream| group_of(&stream.subscription).len()).max().unwrap_or(0);
        for (dispensable, needed) in [(&DISPENSABLE[..], NAME), (&DISPENSABLE_FOR_GROUP, longest_group)] {
            for dispensable in dispensable {
                if name(&numbers) < needed {
                    numbers.retain(|at| at != dispensable);
                }
            }
        }
        Self { name: name(&numbers), numbers }
    }

    fn constraints(&self) -> impl Iterator<Item = Constraint> {
        let numbers = self.numbers.iter().map(|&at| Constraint::Length(NUMBERS[at].1));
        [Constraint::Fill(1)].into_iter().chain(numbers)
    }

    fn row(&self, name: String, numbers: [String; 5]) -> Row<'static> {
        let cell = |&at: &usize| Cell::from(Text::from(numbers[at].clone()).alignment(Alignment::Right));
        Row::new([Cell::from(name)].into_iter().chain(self.numbers.iter().map(cell)))
    }
}

/// The title, streams, a row for the streams without room, and the total.
fn rows_of(figures: &Figures, patience: f64, room: usize, columns: &Columns) -> Vec<Row<'static>> {
    let title = NUMBERS.map(|(title, _)| title.to_owned());
    let mut rows = vec![columns.row("subscription".to_owned(), title).style(Style::new().bold())];
    let chosen = choose(&figures.streams, room, patience);
    for &at in &chosen {
        let Stream { subscription, flow, last_seconds_ago, .. } = &figures.streams[at];
        let stopped = is_stopped(&figures.streams[at], patience);
        let last = match last_seconds_ago {
            None => "never".to_owned(),
            Some(seconds) if stopped => format!("stop {}", age(*seconds)),
            Some(seconds) => age(*seconds),
        };
        let numbers = [short(flow.packet_rate), short(flow.bit_rate), block_rate(flow), exact(flow.packets), last];
        let style = if stopped { Style::new().red().bold() } else { Style::new() };
        rows.push(columns.row(shortened(subscription, columns.name), numbers).style(style));
    }
    if chosen.len() < figures.streams.len() {
        rows.push(rest(figures, &chosen, patience, columns));
    }
    let total = figures.total;
    let numbers =
        [short(total.packet_rate), short(total.bit_rate), block_rate(&total), exact(total.packets), String::new()];
    rows.push(columns.row("total".to_owned(), numbers).style(Style::new().bold()));
    rows
}

fn block_rate(flow: &Flow) -> String {
    flow.block_rate.map_or_else(|| "not known".to_owned(), short)
}

fn rest(figures: &Figures, chosen: &[usize], patience: f64, columns: &Columns) -> Row<'static> {
    let mut shown = chosen.iter().copied().peekable();
    let others: Vec<&Stream> =
        figures.streams.iter().enumerate().filter(|(at, _)| shown.next_if_eq(at).is_none()).map(|(_, s)| s).collect();
    let stopped = others.iter().filter(|stream| is_stopped(stream, patience)).count();
    let last = if stopped > 0 { format!("{stopped} stopped") } else { String::new() };
    let numbers = [
        short(others.iter().map(|stream| stream.flow.packet_rate).sum()),
        short(others.iter().map(|stream| stream.flow.bit_rate).sum()),
        String::new(),
        exact(others.iter().map(|stream| stream.flow.packets).sum()),
        last,
    ];
    let style = if stopped > 0 { Style::new().red() } else { Style::new().dim() };
    columns.row(format!("and {} more", others.len()), numbers).style(style)
}

fn feed_lines(figures: &Figures, width: usize, most: usize) -> Vec<Line<'static>> {
    let styled = |(at, (text, tone)): (usize, (String, Tone))| {
        let style = match tone {
            Tone::Plain if at == 0 => Style::new().bold(),
            Tone::Plain => Style::new(),
            Tone::Warning => Style::new().yellow(),
            Tone::Bad => Style::new().red().bold(),
        };
        Line::styled(text, style)
    };
    feeds::table(&figures.feeds, width, most).into_iter().enumerate().map(styled).collect()
}

fn footer(figures: &Figures, width: usize) -> Vec<Line<'static>> {
    let (lost, unaccounted) = (figures.ledger.lost(), unaccounted(figures));
    let style = if lost > 0 || unaccounted.is_some() { Style::new().yellow() } else { Style::new() };
    let parts = [format!("{lost} lost"), format!("{} in flight", figures.in_flight)];
    let parts: Vec<String> = parts.into_iter().chain(unaccounted).collect();
    let mut lines: Vec<_> =
        wrapped("", &parts, ", ", width).into_iter().map(|line| Line::styled(line, style)).collect();
    let dropped: Vec<String> = drops(&figures.ledger).iter().map(|(name, count)| format!("{name} {count}")).collect();
    lines.extend(wrapped("dropped: ", &dropped, ", ", width).into_iter().map(Line::raw));
    if let Some(probe) = &figures.probe {
        lines.push(Line::raw(format!("probe: {probe}")));
    }
    lines
}

/// The parts in a row, on as many lines as they need.
fn wrapped(title: &str, parts: &[String], between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.len() + between.len() + part.len() <= width => {
                line.push_str(between);
                line.push_str(part);
            }
            None => lines.push(format!("{title}{part}")),
            Some(_) => lines.push(format!("{:1$}{part}", "", title.len())),
        }
    }
    lines
}

fn is_stopped(stream: &Stream, patience: f64) -> bool {
    stream.last_seconds_ago.is_some_and(|seconds| seconds > patience)
}

/// The streams to show, in their order. If there is no room for all, up to a third is for those that stopped last, and
/// the rest for the busiest.
fn choose(streams: &[Stream], room: usize, patience: f64) -> Vec<usize> {
    if streams.len() <= room {
        return (0..streams.len()).collect();
    }
    // One row is for the rest.
    let room = room.saturating_sub(1);
    let (mut stopped, mut going): (Vec<usize>, Vec<usize>) =
        (0..streams.len()).partition(|&at| is_stopped(&streams[at], patience));
    let silence = |at: usize| streams[at].last_seconds_ago.unwrap_or(f64::MAX);
    stopped.sort_by(|&a, &b| silence(a).total_cmp(&silence(b)));
    let rate = |at: usize| (streams[at].flow.packet_rate, streams[at].flow.packets as f64);
    going.sort_by(|&a, &b| rate(b).0.total_cmp(&rate(a).0).then(rate(b).1.total_cmp(&rate(a).1)));
    let for_stopped = stopped.len().min((room / 3).max(room.saturating_sub(going.len())));
    let mut chosen: Vec<usize> =
        stopped.into_iter().take(for_stopped).chain(going.into_iter().take(room - for_stopped)).collect();
    chosen.sort_unstable();
    chosen
}

fn exact(count: u64) -> String {
    if count < 1_000_000_000_000 { count.to_string() } else { short(count as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Dropped;
    use receiver::{Ledger, ReceiveMode, Refused};

    fn facts() -> Facts {
        Facts {
            interface: "eth1".into(),
            mode: ReceiveMode::Copy,
            share: false,
            refused: vec![Refused { mode: ReceiveMode::ZeroCopy, reason: "the driver cannot".into() }],
            queues: vec![0, 1],
            subscriptions: Vec::new(),
        }
    }

    fn stream(number: usize, packet_rate: f64, last: Option<f64>) -> Stream {
        let flow = Flow { packets: 7 * u64::from(last.is_some()), packet_rate, ..Flow::default() };
        Stream {
            id: 0,
            name: None,
            subscription: format!("10.0.0.{number}@232.1.1.1:5000"),
            flow,
            passed_shared: Some(0),
            other_members: Some(0),
            last_seconds_ago: last,
        }
    }

    fn figures(streams: Vec<Stream>) -> Figures {
        let total = Flow { packets: 7000, ..Flow::default() };
        Figures {
            elapsed: 5.0,
            span: 1.0,
            streams,
            total,
            ledger: Ledger::default(),
            in_flight: 3,
            unaccounted: None,
            feeds: Vec::new(),
            probe: None,
            warnings: Vec::new(),
            dropped: Dropped::default(),
            evidence: receiver::Evidence::default(),
        }
    }

    fn lines(figures: &Figures, size: (u16, u16)) -> Vec<String> {
        let buffer = render(&facts(), Some(figures), 3.0, size);
        let text = |row: u16| (0..buffer.area.width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|row| text(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn shows_mode_reasons_rates_and_who_stopped() {
        let figures = figures(vec![stream(1, 1234.0, Some(0.1)), stream(2, 0.0, Some(3.1)), stream(3, 0.0, None)]);
        let lines = lines(&figures, (100, 24));
        assert_eq!(lines[0], "eth1: mode copy, queues 0,1, 5.0 s");
        assert_eq!(lines[1], "not zero-copy: the driver cannot");
        assert!(lines[3].starts_with("10.0.0.1@232.1.1.1:5000 ") && lines[3].contains("1.23 k"), "{lines:#?}");
        assert!(lines[3].ends_with(" 0.1 s") && lines[4].ends_with("stop 3.1 s") && lines[5].ends_with("never"));
        assert!(lines[6].starts_with("total") && lines[6].contains("7000"));
        assert_eq!(lines[7], "0 lost, 3 in flight");
        let buffer = render(&facts(), Some(&figures), 3.0, (100, 24));
        assert_eq!(buffer[(0, 4)].fg, ratatui::style::Color::Red);
        assert_ne!(buffer[(0, 3)].fg, ratatui::style::Color::Red);
    }

    #[test]
    fn feeds_have_rows_below_the_subscriptions() {
        let mut figures = figures((0..50).map(|n| stream(n, 1234.0, Some(0.1))).collect());
        figures.feeds = vec![feeds::tests::with_gaps()];
        let lines = lines(&figures, (100, 24));
        let at = lines.iter().position(|line| line.starts_with("feed ")).expect("the feeds");
        assert!(lines[at - 1].starts_with("total ") && lines[at + 1].starts_with("itch "), "{lines:#?}");
        assert!(lines[at + 3].starts_with("  b ") && lines[at + 3].contains("LOST"), "{lines:#?}");
        let buffer = render(&facts(), Some(&figures), 3.0, (100, 24));
        assert_eq!(buffer[(2, (at + 3) as u16)].fg, ratatui::style::Color::Red);
        figures.feeds = vec![feeds::tests::complete(); 30];
        let lines = self::lines(&figures, (100, 24));
        assert!(lines.iter().any(|line| line == "and 25 more feeds"), "{lines:#?}");
        assert!(
            lines.iter().any(|line| line.starts_with("and 40 more ")),
            "the subscriptions keep their part: {lines:#?}"
        );
    }

    #[test]
    fn fits_any_window() {
        let figures = figures((0..200).map(|n| stream(n, n as f64, Some(0.0))).collect());
        let feeds = vec![feeds::tests::with_gaps(); 20];
        let with_feeds = Figures { feeds, ..self::figures(vec![stream(1, 1.0, None)]) };
        for (size, figures) in [(1, 1), (10, 2), (20, 5), (80, 24), (300, 100)]
            .into_iter()
            .flat_map(|size| [(size, &figures), (size, &with_feeds)])
        {
            let buffer = render(&facts(), Some(figures), 3.0, size);
            assert!(buffer.area.width <= size.0 && buffer.area.height < size.1.max(2), "{size:?} {:?}", buffer.area);
        }
    }

    #[test]
    fn eighty_columns_have_room_for_blocked_frames() {
        let lines = lines(&figures(vec![stream(1, 1234.0, Some(0.1))]), (80, 24));
        let title = lines.iter().find(|line| line.starts_with("subscription ")).expect("a title");
        let words: Vec<&str> = title.split_whitespace().collect();
        assert_eq!(words, ["subscription", "packets/s", "bit/s", "blocked/s", "packets", "last", "packet"]);
        assert!(lines.iter().any(|line| line.starts_with("10.0.0.1@232.1.1.1:5000 ")), "{lines:#?}");
    }

    #[test]
    fn forty_columns_keep_the_whole_group() {
        for group in ["232.1.1.1:5000", "239.255.255.255:65535", "[ff3e::8000:1]:65535"] {
            let mut figures = figures(vec![stream(1, 1234.0, Some(0.1))]);
            figures.streams[0].subscription = format!("10.100.200.30,10.100.200.31@{group}");
            let lines = lines(&figures, (40, 24));
            let shown = lines.iter().find(|line| line.contains(group)).unwrap_or_else(|| panic!("{group}: {lines:#?}"));
            assert!(shown.contains("1.23 k"), "{shown}");
        }
    }

    #[test]
    fn what_stays_unaccounted_is_shown() {
        let mut figures = figures(vec![stream(1, 1.0, Some(0.1))]);
        (figures.in_flight, figures.unaccounted) = (0, Some(11));
        assert_eq!(lines(&figures, (80, 24)).last().map(String::as_str), Some("0 lost, 0 in flight, 11 unaccounted"));
        figures.unaccounted = Some(0);
        assert_eq!(lines(&figures, (80, 24)).last().map(String::as_str), Some("0 lost, 0 in flight"));
    }

    #[test]
    fn a_narrow_window_keeps_the_names() {
        let figures = figures(vec![stream(1, 1234.0, Some(0.1))]);
        let lines = lines(&figures, (60, 24));
        let shown = lines.iter().find(|line| line.starts_with("10.0.0.1@232.1.1.1:5000 ")).expect("the name");
        assert!(shown.contains("1.23 k") && shown.ends_with("0.1 s"), "{shown}");
        assert!(lines.iter().any(|line| line.starts_with("subscription ") && !line.contains("bit/s")), "{lines:#?}");
    }

    #[test]
    fn many_streams_leave_the_busiest_and_a_line_for_the_rest() {
        let mut streams: Vec<Stream> = (0..200).map(|n| stream(n, n as f64, Some(0.0))).collect();
        streams[5].last_seconds_ago = Some(60.0);
        let lines = lines(&figures(streams), (100, 14));
        assert_eq!(lines.len(), 13);
        assert!(lines.iter().any(|line| line.starts_with("10.0.0.199@")), "the busiest: {lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("10.0.0.5@")), "the one that stopped: {lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("10.0.0.100@")));
        assert!(lines.iter().any(|line| line.starts_with("and 193 more")), "{lines:#?}");
    }

    #[test]
    fn lists_are_cut_to_the_width() {
        let parts: Vec<String> = ["alpha 1", "beta 2", "gamma 3"].map(str::to_owned).into();
        assert_eq!(wrapped("d: ", &parts, ", ", 18), ["d: alpha 1, beta 2", "   gamma 3"]);
        assert_eq!(wrapped("d: ", &[], ", ", 18), Vec::<String>::new());
    }
}
