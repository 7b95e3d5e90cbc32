//! The dashboard in windows of several sizes, as cells.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::*;
use crate::feeds::FeedReport;
use crate::top::keys::Key;
use crate::top::stats::Stats;
use crate::view::feeds::tests::{complete, with_gaps as gaps};

const THEME: Theme = Theme { colour: true, unicode: true };
const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (200, 60), (20, 5)];

fn subscription(number: u64, text: &str, rate: f64, ago: Option<f64>) -> Value {
    json!({"subscription": text, "id": number, "packets": 1000 * number, "bytes": 1_000_000, "packets_per_second": rate,
           "bits_per_second": 8000.0 * rate, "blocked": 12, "blocked_per_second": 3.0, "other_members": 1,
           "last_packet_seconds_ago": ago})
}

fn answer(elapsed: f64, subscriptions: Vec<Value>) -> Stats {
    serde_json::from_value(json!({
        "interface": "enp1s0f0", "mode": "copy", "elapsed_seconds": elapsed, "interval_seconds": 1.0,
        "queues": [{"queue": 0, "taken": 1000 * elapsed as u64, "ring": {"rx_ring_full": 7}}, {"queue": 1, "taken": 5}],
        "refused_modes": [{"mode": "zero-copy", "reason": "the driver has no zero-copy; a newer kernel may have it"}],
        "packets_per_second": 1234.0, "bits_per_second": 9.9e6, "blocked_per_second": 3.0, "lost": 7, "in_flight": 3,
        "unaccounted": 0, "subscriptions": subscriptions,
        "ledger": {"xsk_rx_ring_full": 7, "dropped_not_included": (100.0 * elapsed) as u64, "redirected": 99},
        "warnings": ["an older querier makes IGMPv2 reports"],
    }))
    .expect("an answer")
}

fn three() -> Vec<Value> {
    vec![
        subscription(1, "10.0.0.1@232.1.1.1:5000", 1234.0, Some(0.1)),
        subscription(2, "10.0.0.2@232.1.1.2:5000", 0.0, Some(75.0)),
        subscription(
            3,
            "[2001:db8:1111:2222:3333:4444:5555:6666]@[ff3e:1111:2222:3333:4444:5555:6666:7777]:65535",
            0.0,
            None,
        ),
    ]
}

fn model(subscriptions: &[Value]) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    model.update(answer(100.0, subscriptions.to_vec()));
    model.update(answer(101.0, subscriptions.to_vec()));
    model
}

/// What a terminal of this size shows.
pub fn picture(size: (u16, u16), model: &Model, state: &mut State, theme: &Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("memory");
    terminal
        .draw(|frame| {
            state.refresh(model);
            let layout = Layout::new(frame.area(), state.panel, state.len());
            state.fit(layout.rows());
            draw(frame.buffer_mut(), &layout, model, state, theme);
        })
        .expect("memory");
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let text = |row: u16| (0..buffer.area.width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|row| text(row).trim_end().to_owned()).collect()
}

fn shown(size: (u16, u16), model: &Model, state: &mut State) -> Vec<String> {
    lines(&picture(size, model, state, &THEME))
}

fn find<'a>(lines: &'a [String], text: &str) -> &'a str {
    lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"))
}

#[test]
fn eighty_by_twenty_four_shows_who_is_silent_and_who_dropped_what() {
    let (model, mut state) = (model(&three()), State::new(false));
    let lines = shown((80, 24), &model, &mut state);
    assert!(lines[0].starts_with("enp1s0f0  mode copy  2 queues  up ") && lines[0].ends_with("1 of 3 SILENT, 1 never"));
    assert!(lines[1].contains("1.23 k packets/s  9.90 Mbit/s  3 blocked/s  7 lost  3 in flight  0 unaccounted"));
    assert_eq!(lines[2], "an older querier makes IGMPv2 reports");
    assert!(lines[3].starts_with("state▼") && lines[3].contains("packets/s") && lines[3].contains("course"));
    assert!(lines[4].starts_with("SILENT 75 s   10.0.0.2@232.1.1.2:5000"), "the silent one comes first: {lines:#?}");
    assert!(lines[5].starts_with("never         ") && lines[6].starts_with("receives      10.0.0.1@"), "{lines:#?}");
    assert!(lines[6].contains("1.23 k") && lines[6].contains('█'), "{}", lines[6]);
    assert!(find(&lines, "[1 Drops]").contains("6 Log"));
    let full = find(&lines, "xsk_rx_ring_full");
    assert!(full.starts_with("lost ") && full.contains(" 7 ") && full.contains("the worker is too slow"), "{full}");
    assert!(find(&lines, "dropped_not_included").contains("100/s"), "{lines:#?}");
    assert!(
        find(&lines, "? help").contains("b/u block") && lines[23].contains("q quit") && lines[23].contains("Tab panel"),
        "{lines:#?}"
    );
}

#[test]
fn each_panel_has_its_key_and_says_what_it_knows() {
    let (mut model, mut state) = (model(&three()), State::new(false));
    for (key, texts) in [
        ('2', &["queue", "packets/s", "ring full", "1.00 k"][..]),
        ('3', &["an older querier", "warn"]),
        ('4', &["SILENT, last packet 75 s ago", "12 frames blocked", "other programs on this host"]),
        ('5', &["not zero-copy: the driver has no zero-copy; a newer kernel may have it", "mode copy"]),
        ('6', &["nothing was logged"]),
    ] {
        state.key(Key::Char(key), &model);
        let all = shown((80, 24), &model, &mut state).join("\n");
        for text in texts {
            assert!(all.contains(text), "{key}: {text}: {all}");
        }
    }
    model.take_log(b"2026 WARN receiver: the link is down\n");
    assert!(shown((80, 24), &model, &mut state).join("\n").contains("the link is down"));
    state.key(Key::Char('4'), &model);
    state.key(Key::Down, &model);
    assert!(shown((80, 24), &model, &mut state).join("\n").contains("Enter asks why"));
    model.take_findings("3".into(), vec!["no frame arrived on enp1s0f0; check the cable".into()]);
    assert!(shown((80, 24), &model, &mut state).join("\n").contains("why: no frame arrived on enp1s0f0"));
}

fn with_feeds(feeds: Vec<FeedReport>) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    for elapsed in [100.0, 101.0] {
        model.update(Stats { feeds: feeds.clone(), ..answer(elapsed, three()) });
    }
    model
}

#[test]
fn a_key_shows_the_feeds_with_legs_and_streams() {
    let (model, mut state) = (with_feeds(vec![complete(), gaps()]), State::new(false));
    let lines = shown((80, 24), &model, &mut state);
    assert!(lines[0].contains("2 feeds") && lines[23].contains("f feeds"), "{lines:#?}");
    assert!(lines[2].starts_with("feed itch: recovering, 1000 messages in 2 streams, 12 missing"), "{}", lines[2]);
    state.key(Key::Char('f'), &model);
    let lines = shown((80, 24), &model, &mut state);
    assert!(lines[3].starts_with("feed ") && lines[3].contains("messages/s"), "{lines:#?}");
    assert!(lines[4].starts_with("itch ") && lines[4].contains("live"), "{lines:#?}");
    let leg = find(&lines, "LOST  ");
    assert!(leg.starts_with("  b ") && leg.contains("991") && leg.contains("49 %"), "{leg}");
    assert!(find(&lines, "MORNING002").contains("recovering"));
    assert!(lines[23].contains("f subscriptions"), "{}", lines[23]);
    for key in "4/lost\r".chars() {
        state.key(if key == '\r' { Key::Enter } else { Key::Char(key) }, &model);
    }
    let lines = shown((80, 24), &model, &mut state);
    assert!(lines[4].starts_with("itch ") && lines[5].starts_with("  b ") && lines[6].is_empty(), "{lines:#?}");
    assert!(lines[23].starts_with("filter `lost`: 2 (Esc clears)"), "{}", lines[23]);
    state.key(Key::Down, &model);
    let all = shown((80, 24), &model, &mut state).join("\n");
    for text in
        ["9 lost on the network, 3 in the ring", "leg b: 991 packets, first 49 %", "lag 9.00 µs (99 %: 30.0 µs)"]
    {
        assert!(all.replace("\n  ", " ").contains(text), "{text}: {all}");
    }
}

#[test]
fn large_windows_show_several_panels_at_once_and_long_names_whole() {
    let (model, mut state) = (model(&three()), State::new(false));
    let all = shown((120, 40), &model, &mut state).join("\n");
    for text in ["1 Drops", "2 Queues", "3 Events", "4 Subscription"] {
        assert!(all.contains(text), "{text}: {all}");
    }
    let all = shown((200, 60), &model, &mut state);
    for text in ["Drops", "Queues", "Events", "Subscription", "Mode", "Log", "others", "bytes"] {
        find(&all, text);
    }
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]@[ff3e:1111:2222:3333:4444:5555:6666:7777]:65535";
    assert!(find(&all, long).starts_with("never "), "{all:#?}");
    let narrow = shown((80, 24), &model, &mut state);
    assert!(!narrow.iter().any(|line| line.contains(long)), "it is cut");
}

#[test]
fn a_small_window_shows_states_and_names() {
    let (model, mut state) = (model(&three()), State::new(false));
    let lines = shown((20, 5), &model, &mut state);
    assert!(lines[0].contains("SILENT"), "{lines:#?}");
    assert!(lines[1].contains("232.1.1.2:5000") || lines[2].contains("232.1.1.2:5000"), "{lines:#?}");
}

#[test]
fn no_window_and_no_state_panics() {
    let long = three();
    let many: Vec<Value> =
        (0..300).map(|n| subscription(n, &format!("10.0.0.{n}@232.1.1.1:5000"), n as f64, Some(n as f64))).collect();
    let mut lost = model(&long);
    lost.lose("the run has ended".into());
    let mut streams = gaps();
    streams.streams = vec![streams.streams[1].clone(); 300];
    let feeds = with_feeds(vec![complete(), streams, FeedReport::default()]);
    for model in [&Model::default(), &model(&[]), &model(&long), &model(&many), &lost, &feeds] {
        for keys in ["", "?", "2", "3", "4", "5", "6", "/x", "b10.", "p", "++++++", "G", "ssss", "f", "fG4", "f/lost"] {
            for ends_run in [true, false] {
                let mut state = State::new(ends_run);
                for key in keys.chars() {
                    state.key(Key::Char(key), model);
                }
                let sizes = SIZES.into_iter().chain((1..30).map(|n| (n, n))).chain([(1, 60), (300, 1), (300, 3)]);
                for size in sizes {
                    picture(size, model, &mut state, &THEME);
                }
            }
        }
    }
}

#[test]
fn without_colour_each_state_is_a_word_and_no_cell_is_coloured() {
    let (model, mut state) = (model(&three()), State::new(false));
    let plain = Theme { colour: false, unicode: false };
    let buffer = picture((80, 24), &model, &mut state, &plain);
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()), "{:#?}", lines(&buffer));
    let coloured = picture((80, 24), &model, &mut state, &THEME);
    assert_eq!(coloured[(0, 4)].fg, Color::Red);
    let words = |buffer: &Buffer| lines(buffer).join("\n").replace(|c: char| !c.is_ascii_alphanumeric(), "");
    for word in ["SILENT75s", "never", "receives", "lostxskrxringfull"] {
        assert!(words(&buffer).contains(word), "{word}: {}", words(&buffer));
    }
    assert!(buffer[(0, 4)].modifier.contains(Modifier::REVERSED), "the selected row");
}

#[test]
fn a_question_an_answer_and_the_help_are_shown() {
    let (model, mut state) = (model(&three()), State::new(true));
    shown((80, 24), &model, &mut state);
    state.key(Key::Char('b'), &model);
    state.key(Key::Char('7'), &model);
    let lines = shown((80, 24), &model, &mut state);
    assert!(lines[23].starts_with("source to block on 232.1.1.2:5000 (Esc cancels): 7"), "{}", lines[23]);
    state.key(Key::Enter, &model);
    assert!(shown((80, 24), &model, &mut state)[23].starts_with("`7` is not an IP address; write one such as"));
    state.key(Key::Escape, &model);
    state.key(Key::Char('?'), &model);
    let all = shown((80, 24), &model, &mut state).join("\n");
    assert!(all.contains("any key closes this help") && all.contains("dropped as the subscriptions ask"), "{all}");
    state.key(Key::Char('x'), &model);
    state.key(Key::Char('q'), &model);
    assert!(shown((80, 24), &model, &mut state)[23].starts_with("end the run? y ends it"));
}

#[test]
fn a_filter_without_a_match_says_so() {
    let (model, mut state) = (model(&three()), State::new(true));
    for key in "/nobody".chars() {
        state.key(Key::Char(key), &model);
    }
    let all = shown((80, 24), &model, &mut state).join("\n");
    assert!(all.contains("no subscription has `nobody` in its name or state"), "{all}");
}

/// Ten thousand subscriptions cost no more than those that are visible: the order is made once, and as many names are
/// written as there are rows.
#[test]
fn ten_thousand_subscriptions_cost_what_is_visible() {
    let many: Vec<Value> = (0..10_000)
        .map(|n| subscription(n, &format!("10.0.{}.{}@232.1.1.1:5000", n / 250, n % 250), n as f64, Some(0.0)))
        .collect();
    let (model, mut state) = (model(&many), State::new(false));
    let layout = Layout::new(ratatui::layout::Rect::new(0, 0, 80, 24), state.panel, 10_000);
    for _ in 0..100 {
        state.key(Key::PageDown, &model);
        picture((80, 24), &model, &mut state, &THEME);
        assert_eq!(state.arrangement.visible(&model).count(), layout.rows());
    }
    assert_eq!(state.arrangement.made(), 1);
    let lines = shown((80, 24), &model, &mut state);
    assert!(find(&lines, "of 10000").contains("packets/s"), "{lines:#?}");
}
