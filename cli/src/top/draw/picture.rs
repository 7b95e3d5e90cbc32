//! docs/top.svg: the dashboard as README shows it. The test compares the file with what the code draws;
//! `RECEIVER_PICTURE=1 cargo test -p receiver-cli --bin receiver picture` writes it.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::tests::picture;
use super::*;
use crate::top::keys::Key;
use crate::top::stats::Stats;

/// Columns and rows.
const SIZE: (u16, u16) = (120, 36);
/// The size of a cell, and the margin around all of them.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 12.0;
/// Answers until the picture: the course of the rates.
const SECONDS: u32 = 70;

const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d7dae0";

/// Name, subscription, packets a second, and when it fell silent: seconds before the picture.
const SUBSCRIPTIONS: [(&str, &str, f64, Option<f64>); 9] = [
    ("equities-a", "198.51.100.10@232.20.1.1:31001", 184_000.0, None),
    ("equities-b", "198.51.100.138@232.20.1.129:31001", 184_000.0, Some(12.0)),
    ("futures-a", "198.51.100.11@232.20.2.1:31011", 96_400.0, None),
    ("futures-b", "198.51.100.139@232.20.2.129:31011", 96_400.0, None),
    ("options", "198.51.100.12,198.51.100.13@232.20.3.1:31021", 412_000.0, None),
    ("tv-1", "[2001:db8:5::21]@[ff3e::8000:501]:5004", 4_210.0, None),
    ("tv-2", "[2001:db8:5::22]@[ff3e::8000:502]:5004", 3_870.0, None),
    ("clock", "!203.0.113.66@239.192.0.9:7000", 50.0, None),
    ("reference", "198.51.100.40@232.20.9.1:31090", 0.0, Some(f64::MAX)),
];

/// A rate that rises and falls as traffic does.
fn rate(base: f64, number: usize, second: u32) -> f64 {
    let phase = f64::from(second) / 6.0 + number as f64;
    base * (1.0 + 0.35 * phase.sin() + 0.15 * (phase * 2.7).sin())
}

fn answer(second: u32) -> Stats {
    let left = f64::from(SECONDS - second);
    let subscriptions: Vec<Value> = SUBSCRIPTIONS
        .iter()
        .enumerate()
        .map(|(number, &(name, subscription, base, silent))| {
            let silence = silent.map(|silent| silent - left).filter(|&silence| silence > 0.0);
            let rate = if silence.is_some() { 0.0 } else { rate(base, number, second) };
            let last = match silence {
                Some(seconds) if seconds > 1e6 => None,
                other => Some(other.unwrap_or(0.0)),
            };
            let packets = (base * (36_000.0 - left)) as u64;
            json!({"subscription": subscription, "name": name, "id": number, "packets": packets, "bytes": packets * 220,
                   "packets_per_second": rate, "bits_per_second": rate * 1760.0, "blocked": 40 * u64::from(second),
                   "blocked_per_second": if name == "clock" { 40.0 } else { 0.0 }, "last_packet_seconds_ago": last})
        })
        .collect();
    let total = |name: &str| subscriptions.iter().filter_map(|one| one[name].as_f64()).sum::<f64>();
    let taken = u64::from(second) * 245_000;
    let ring = |full: u64| {
        json!({"in_ring": 3, "leased": 0, "rx_ring_full": full, "rx_dropped": 0,
                                  "rx_fill_ring_empty_descs": 0, "rx_invalid_descs": 0})
    };
    let queues: Vec<Value> = (0..4)
        .map(|queue| {
            let full = if queue == 2 { 1380 } else { 0 };
            json!({"queue": queue, "taken": taken - taken / 16 * queue, "ring": ring(full)})
        })
        .collect();
    let link_events = [("down", 3900.0), ("up", 3897.5)];
    serde_json::from_value(json!({
        "name": "market", "interface": "enp1s0f0", "mode": "zero-copy", "refused_modes": [], "link_up": true,
        "elapsed_seconds": 36_000.0 - left, "interval_seconds": 1.0, "queues": queues,
        "packets_per_second": total("packets_per_second"), "bits_per_second": total("bits_per_second"),
        "blocked_per_second": 40.0, "lost": 1380, "in_flight": 12, "unaccounted": null,
        "ledger": {"dropped_blocked": 40 * u64::from(second) + 1_440_000, "xsk_rx_ring_full": 1380, "udp_checksum": 3},
        "link_events": link_events.map(|(event, ago)| json!({"event": event, "seconds_ago": ago - left})),
        "subscriptions": subscriptions, "warnings": [],
    }))
    .expect("an answer")
}

fn drawn() -> Buffer {
    let mut model = Model::new(Duration::from_secs(1));
    for second in 0..=SECONDS {
        model.update(answer(second));
    }
    let mut state = State::new(false);
    state.arrangement.fit(5);
    state.arrangement.refresh(&model);
    state.key(Key::Home, &model);
    picture(SIZE, &model, &mut state, &Theme { colour: true, unicode: true })
}

fn shade(colour: Color) -> &'static str {
    match colour {
        Color::Red => "#ff6b6b",
        Color::Yellow => "#e5c07b",
        Color::Green => "#7fc98a",
        Color::Cyan => "#56b6c2",
        _ => FOREGROUND,
    }
}

/// The level of a character of a course, 1 to 8.
fn bar(symbol: &str) -> Option<u32> {
    let code = symbol.chars().next()? as u32;
    (0x2581..=0x2588).contains(&code).then(|| code - 0x2580)
}

fn svg(buffer: &Buffer) -> String {
    let (width, height) = (f64::from(buffer.area.width) * CELL.0, f64::from(buffer.area.height) * CELL.1);
    let mut out = String::new();
    let (all_width, all_height) = (width + 2.0 * MARGIN, height + 2.0 * MARGIN);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all_width:.0} {all_height:.0}\" role=\"img\" \
         font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace\" \
         font-size=\"14\">\n<title>receiver top</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>"
    );
    for row in 0..buffer.area.height {
        draw_row(&mut out, buffer, row);
    }
    out.push_str("</svg>\n");
    out
}

fn draw_row(out: &mut String, buffer: &Buffer, row: u16) {
    let cells: Vec<&Cell> = (0..buffer.area.width).map(|column| &buffer[(column, row)]).collect();
    let top = MARGIN + f64::from(row) * CELL.1;
    let mut column = 0;
    while column < cells.len() {
        let first = cells[column];
        let is_bar = |cell: &Cell| bar(cell.symbol()).is_some() || cell.symbol() == "─";
        let same =
            |cell: &&&Cell| (cell.fg, cell.modifier) == (first.fg, first.modifier) && !is_bar(cell) && !is_bar(first);
        let length = cells[column..].iter().take_while(same).count().max(1);
        run(out, &cells[column..column + length], column, top);
        column += length;
    }
}

/// Cells of one style, as one piece of text, or one cell that is a shape.
fn run(out: &mut String, cells: &[&Cell], column: usize, top: f64) {
    let (first, left) = (cells[0], MARGIN + column as f64 * CELL.0);
    let width = cells.len() as f64 * CELL.0;
    let reversed = first.modifier.contains(Modifier::REVERSED);
    let ink = if reversed { BACKGROUND } else { shade(first.fg) };
    if reversed {
        let paper = shade(first.fg);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{paper}\"/>",
            width + 0.3,
            CELL.1
        );
    }
    let opacity = if first.modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let shape = match bar(first.symbol()) {
        Some(level) => Some((f64::from(level) / 8.0 * (CELL.1 - 2.0), 0.0)),
        None if first.symbol() == "─" => Some((1.0, CELL.1 / 2.0)),
        None => None,
    };
    if let Some((height, lift)) = shape {
        let y = top + CELL.1 - height - lift;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{ink}\"{opacity}/>",
            CELL.0 + 0.2
        );
        return;
    }
    let text: String = cells.iter().map(|cell| cell.symbol()).collect();
    let used = text.trim_end().chars().count();
    if used == 0 {
        return;
    }
    let text = text.trim_end().replace('&', "&amp;").replace('<', "&lt;");
    let weight = if first.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{:.1}\" xml:space=\"preserve\" fill=\"{ink}\"{weight}{opacity}>\
         {text}</text>",
        top + CELL.1 - 4.5,
        used as f64 * CELL.0
    );
}

#[test]
fn the_picture_of_the_readme_is_what_is_drawn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/top.svg");
    let now = svg(&drawn());
    if std::env::var_os("RECEIVER_PICTURE").is_some() {
        std::fs::write(&path, &now).expect("the file is written");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == now,
        "docs/top.svg is not what the dashboard draws; RECEIVER_PICTURE=1 cargo test -p receiver-cli --bin receiver \
         picture writes it"
    );
}
