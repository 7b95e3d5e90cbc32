//! Keys as an operator types them, and as nobody does.

use std::time::Duration;

use super::*;
use crate::feeds::FeedReport;
use crate::top::stats::Stats;
use crate::view::feeds::tests::{complete, with_gaps};
use serde_json::json;

fn model_of(rates: &[f64]) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    model.update(stats(rates));
    model
}

fn stats(rates: &[f64]) -> Stats {
    let one = |(number, &rate): (usize, &f64)| {
        let ago = if rate > 0.0 { Some(0.1) } else { Some(30.0 + number as f64) };
        json!({"subscription": format!("10.0.0.{number}@232.1.1.1:5000"), "id": number, "packets_per_second": rate,
               "packets": number, "last_packet_seconds_ago": ago})
    };
    let all: Vec<_> = rates.iter().enumerate().map(one).collect();
    serde_json::from_value(json!({"elapsed_seconds": 9.0, "subscriptions": all})).expect("an answer")
}

fn started(model: &Model) -> State {
    let mut state = State::new(false);
    state.arrangement.fit(3);
    state.arrangement.refresh(model);
    state
}

fn shown(state: &State, model: &Model) -> Vec<String> {
    state.arrangement.visible(model).map(|(one, _)| one.key()).collect()
}

fn selected(state: &State, model: &Model) -> Option<String> {
    state.arrangement.selected(model).map(|one| one.key())
}

fn type_in(state: &mut State, model: &Model, text: &str) -> Option<Request> {
    text.chars().fold(None, |_, character| state.key(Key::Char(character), model))
}

#[test]
fn silent_ones_come_first_and_the_order_follows_the_keys() {
    let model = model_of(&[5.0, 0.0, 7.0, 0.0, 6.0]);
    let mut state = started(&model);
    assert_eq!(shown(&state, &model), ["1", "3", "0"], "the latest to stop comes first");
    type_in(&mut state, &model, "sss");
    assert_eq!(state.arrangement.column(), (Column::PacketRate, false));
    assert_eq!(shown(&state, &model), ["2", "4", "0"]);
    type_in(&mut state, &model, "r");
    assert_eq!(shown(&state, &model), ["3", "1", "0"]);
    type_in(&mut state, &model, "SS");
    assert_eq!(shown(&state, &model), ["0", "1", "2"], "the order of joining");
}

#[test]
fn the_selection_stays_with_its_subscription() {
    let mut model = model_of(&[5.0, 6.0, 7.0, 8.0]);
    let mut state = started(&model);
    type_in(&mut state, &model, "sss");
    assert_eq!(selected(&state, &model).as_deref(), Some("3"));
    state.key(Key::Down, &model);
    assert_eq!(selected(&state, &model).as_deref(), Some("2"));
    model.update(stats(&[5.0, 6.0, 1.0, 8.0]));
    state.arrangement.refresh(&model);
    assert_eq!(selected(&state, &model).as_deref(), Some("2"), "it is the last row now");
    assert_eq!(shown(&state, &model), ["1", "0", "2"], "and is in sight");
    state.key(Key::Home, &model);
    assert_eq!(selected(&state, &model).as_deref(), Some("3"));
    state.key(Key::PageDown, &model);
    state.key(Key::PageDown, &model);
    state.key(Key::PageDown, &model);
    assert_eq!(selected(&state, &model).as_deref(), Some("2"));
    model.update(stats(&[5.0]));
    state.arrangement.refresh(&model);
    assert_eq!(selected(&state, &model).as_deref(), Some("0"), "the selected one was left");
    model.update(stats(&[]));
    state.arrangement.refresh(&model);
    assert_eq!(selected(&state, &model), None);
}

#[test]
fn the_filter_has_its_effect_while_it_is_typed_and_escape_undoes_it() {
    let model = model_of(&[5.0, 0.0, 7.0]);
    let mut state = started(&model);
    type_in(&mut state, &model, "/.2@");
    assert_eq!(shown(&state, &model), ["2"]);
    state.key(Key::Backspace, &model);
    state.key(Key::Enter, &model);
    assert_eq!((state.arrangement.filter(), state.prompt.is_none()), (".2", true));
    type_in(&mut state, &model, "/xyz");
    assert_eq!(state.arrangement.len(), 0);
    state.key(Key::Escape, &model);
    assert_eq!(state.arrangement.filter(), ".2");
    state.key(Key::Escape, &model);
    assert_eq!(state.arrangement.len(), 3);
    type_in(&mut state, &model, "/SILENT");
    assert_eq!(shown(&state, &model), ["1"], "by the state, in either case");
    state.key(Key::Escape, &model);
    type_in(&mut state, &model, "/receives");
    assert_eq!(shown(&state, &model), ["0", "2"], "by the word that the row has");
}

#[test]
fn block_asks_for_a_source_and_refuses_what_is_none() {
    let model = model_of(&[5.0]);
    let mut state = started(&model);
    type_in(&mut state, &model, "b10.0.0.");
    assert_eq!(state.key(Key::Enter, &model), None);
    assert!(state.message.as_ref().is_some_and(|message| message.failed && message.text.contains("`10.0.0.`")));
    type_in(&mut state, &model, "9");
    let subscription = "10.0.0.0@232.1.1.1:5000".to_owned();
    let asked = state.key(Key::Enter, &model);
    let source = "10.0.0.9".parse().expect("an address");
    let action = |kind| Some(Request::Run(Action { kind, key: "0".into(), subscription: subscription.clone() }));
    assert_eq!(asked, action(ActionKind::Block(source)));
    assert_eq!(state.prompt, None);
    type_in(&mut state, &model, "u[2001:db8::1]");
    let source = "2001:db8::1".parse().expect("an address");
    assert_eq!(state.key(Key::Enter, &model), action(ActionKind::Unblock(source)));
    assert_eq!(state.key(Key::Enter, &model), action(ActionKind::Explain));
    assert_eq!(state.panel, Panel::Selected);
    type_in(&mut state, &model, "b1");
    state.key(Key::Escape, &model);
    assert_eq!(state.prompt, None);
}

#[test]
fn q_asks_first_where_it_ends_a_run_and_control_c_does_not() {
    let model = model_of(&[5.0]);
    assert_eq!(type_in(&mut started(&model), &model, "q"), Some(Request::Quit));
    let mut state = State::new(true);
    assert_eq!(type_in(&mut state, &model, "q"), None);
    assert_eq!(type_in(&mut state, &model, "n"), None);
    assert_eq!(type_in(&mut state, &model, "qy"), Some(Request::Quit));
    type_in(&mut state, &model, "?");
    assert_eq!(state.key(Key::Control('c'), &model), Some(Request::Quit), "also while the help is shown");
}

#[test]
fn nothing_is_asked_of_a_run_without_subscriptions() {
    let model = Model::default();
    let mut state = State::new(false);
    for key in [Key::Char('b'), Key::Char('u'), Key::Enter, Key::Down, Key::End, Key::PageUp] {
        assert_eq!(state.key(key, &model), None);
    }
    assert!(state.prompt.is_none());
}

#[test]
fn the_order_is_not_made_for_each_key() {
    let rates: Vec<f64> = (0..10_000).map(f64::from).collect();
    let model = model_of(&rates);
    let mut state = started(&model);
    for _ in 0..1000 {
        state.key(Key::Down, &model);
        state.arrangement.refresh(&model);
    }
    assert_eq!(state.arrangement.made(), 1);
    assert_eq!(shown(&state, &model).len(), 3);
}

mod any {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        let keys = vec![
            Key::Up,
            Key::Down,
            Key::Left,
            Key::Right,
            Key::PageUp,
            Key::PageDown,
            Key::Home,
            Key::End,
            Key::Enter,
            Key::Escape,
            Key::Backspace,
            Key::Tab,
            Key::BackTab,
        ];
        prop_oneof![
            3 => proptest::sample::select(keys),
            3 => proptest::sample::select("qhps/rbueglkjSG?123456+-y ".chars().collect::<Vec<_>>()).prop_map(Key::Char),
            1 => any::<char>().prop_map(Key::Char),
            1 => proptest::char::range('a', 'z').prop_map(Key::Control),
        ]
    }

    proptest! {
        /// Any keys, answers and window sizes: no panic, and the selected subscription is in sight.
        #[test]
        fn keys_do_not_panic(
            steps in proptest::collection::vec((key(), 0usize..30, 0usize..12), 1..80),
            ends_run in any::<bool>(),
        ) {
            let mut model = Model::default();
            let mut state = State::new(ends_run);
            for (step, (key, count, rows)) in steps.into_iter().enumerate() {
                if step % 5 == 0 {
                    let rates: Vec<f64> = (0..count).map(|n| (n * step % 7) as f64).collect();
                    model.update(stats(&rates));
                }
                state.arrangement.refresh(&model);
                state.arrangement.fit(rows);
                state.key(key, &model);
                let arrangement = &state.arrangement;
                let visible: Vec<bool> = arrangement.visible(&model).map(|(_, selected)| selected).collect();
                prop_assert!(visible.len() <= rows);
                if rows > 0 && arrangement.len() > 0 {
                    prop_assert_eq!(visible.iter().filter(|&&selected| selected).count(), 1);
                    prop_assert!(arrangement.len() < rows || visible.len() == rows, "no row is empty");
                }
            }
        }
    }
}

fn model_of_feeds(feeds: Vec<FeedReport>) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    model.update(Stats { feeds, ..stats(&[5.0, 6.0]) });
    model
}

fn selected_part(state: &State, model: &Model) -> Option<Part> {
    state.feeds.selected(model).map(|(_, part)| part)
}

#[test]
fn the_page_of_feeds_has_its_own_filter_and_selection() {
    let mut feed = with_gaps();
    feed.legs[1].subscription = "10.0.0.1@232.1.1.1:5000".into();
    let (other, model) = (FeedReport { name: "options".into(), ..complete() }, model_of_feeds(vec![feed.clone()]));
    let mut state = started(&model);
    type_in(&mut state, &model, "/.1@");
    state.key(Key::Enter, &model);
    type_in(&mut state, &model, "f");
    state.fit(3);
    assert_eq!((state.filter(), state.len()), ("", 5), "the feed, two legs, two streams");
    assert_eq!(type_in(&mut state, &model, "b"), None);
    assert_eq!(state.message.as_ref().map(|message| message.failed), Some(true), "a feed has no source");
    type_in(&mut state, &model, "jj");
    assert_eq!(selected_part(&state, &model), Some(Part::Leg(1)));
    let action = Action { kind: ActionKind::Explain, key: "1".into(), subscription: "10.0.0.1@232.1.1.1:5000".into() };
    assert_eq!(state.key(Key::Enter, &model), Some(Request::Run(action)), "of the leg's subscription");
    // The rows move, and the selection with its leg.
    let model = model_of_feeds(vec![other, feed]);
    state.refresh(&model);
    let name = state.feeds.selected(&model).map(|(feed, part)| (feed.name.as_str(), part));
    assert_eq!(name, Some(("options", Part::Leg(1))), "the same answer: nothing is made anew");
    state.key(Key::End, &model);
    assert_eq!(selected_part(&state, &model), Some(Part::Stream(0)), "the stream in trouble stands before it");
    type_in(&mut state, &model, "/morning002");
    assert_eq!(state.len(), 2, "the feed and its stream");
    type_in(&mut state, &model, "x");
    assert_eq!((state.len(), selected_part(&state, &model)), (0, None));
    state.key(Key::Escape, &model);
    type_in(&mut state, &model, "/options");
    state.key(Key::Enter, &model);
    assert_eq!(state.len(), 3, "a feed with one stream has no row for it");
    type_in(&mut state, &model, "f");
    assert_eq!((state.filter(), state.len()), (".1@", 1), "that of the subscriptions");
}
