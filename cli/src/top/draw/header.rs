//! The rows above the subscriptions: what runs, how fast, and what needs a look first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{put, put_right};
use super::theme::Theme;
use super::{feeds, sparkline};
use crate::causes::Kind;
use crate::top::keys::State;
use crate::top::model::Model;
use crate::units::{age, count, short, with_unit};
use crate::view::feeds::Tone;

/// Draws one to three rows.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, state: &State, theme: &Theme) {
    run(buffer, area, model, state, theme);
    rates(buffer, area, model, theme);
    alert(buffer, area, model, theme);
}

fn run(buffer: &mut Buffer, area: Rect, model: &Model, state: &State, theme: &Theme) {
    let stats = model.stats();
    let (text, style) = states(model, theme);
    let text = if state.paused { format!("PAUSED  {text}") } else { text };
    let style = if state.paused { theme.warning() } else { style };
    let start = put_right(buffer, area, 0, area.width, &text, style);
    // The states come first: what runs takes the room that is left.
    let left = Rect { width: start.saturating_sub(2), ..area };
    let name = stats.name.as_deref().map_or_else(String::new, |name| format!("{name}  "));
    let mut parts = vec![format!("{name}{}", stats.interface)];
    if !stats.mode.is_empty() {
        let fallback = if is_fallback(model) { " (no XDP)" } else { "" };
        let shared = if stats.share { ", shared" } else { "" };
        parts.push(format!("mode {}{fallback}{shared}", stats.mode));
    }
    match model.queues().len() {
        0 => {}
        1 => parts.push("1 queue".to_owned()),
        many => parts.push(format!("{many} queues")),
    }
    match model.feeds().len() {
        0 => {}
        feeds => parts.push(count(feeds as u64, "feed")),
    }
    if model.is_known() {
        parts.push(format!("up {}", age(stats.elapsed_seconds)));
    }
    put(buffer, left, 0, 0, &parts.join("  "), theme.title());
}

/// What the subscriptions do, in words.
fn states(model: &Model, theme: &Theme) -> (String, Style) {
    if model.lost().is_some() {
        return ("NO CONNECTION".to_owned(), theme.bad());
    }
    if !model.is_known() {
        return ("waiting for the run".to_owned(), theme.warning());
    }
    let all = model.subscriptions().len();
    match model.silent() {
        (0, 0) => (format!("all {all} receive"), theme.good()),
        (0, never) => (format!("{never} of {all} never received"), theme.warning()),
        (silent, 0) => (format!("{silent} of {all} SILENT"), theme.bad()),
        (silent, never) => (format!("{silent} of {all} SILENT, {never} never"), theme.bad()),
    }
}

fn rates(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    if !model.is_known() {
        return;
    }
    let stats = model.stats();
    let total = stats.total;
    let blocked = total.blocked_per_second.map_or_else(String::new, |rate| format!("  {} blocked/s", short(rate)));
    let bits = with_unit(total.bits_per_second, "bit/s");
    let rates = format!("{} packets/s  {bits}{blocked}  ", short(total.packets_per_second));
    let mut column = put(buffer, area, 1, 0, &rates, theme.title());
    let lost = if stats.lost > 0 { theme.bad() } else { theme.good() };
    column = put(buffer, area, 1, column, &format!("{} lost  ", short(stats.lost as f64)), lost);
    let in_flight = format!("{} in flight  ", short(stats.in_flight as f64));
    column = put(buffer, area, 1, column, &in_flight, Style::new());
    let (text, style) = match stats.unaccounted {
        Some(0) => ("0 unaccounted".to_owned(), theme.good()),
        Some(frames) => (format!("{} UNACCOUNTED", short(frames as f64)), theme.bad()),
        None => (String::new(), theme.dim()),
    };
    column = put(buffer, area, 1, column, &text, style);
    // Whether the number of unaccounted frames is shown changes; the course stays where it is.
    let start = column.max(72).saturating_add(2);
    if area.height > 1 && area.width > start + 4 {
        sparkline::draw(buffer, area, 1, start, (area.width - start).min(80), model.total(), theme);
    }
}

/// What needs a look first.
fn alert(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let stats = model.stats();
    let loss = model.drops().iter().find(|drop| drop.kind == Kind::Lost && drop.rate > 0.0);
    let feed = feeds::alert(model);
    let (text, style) = if let Some(why) = model.lost() {
        (format!("no connection, trying again: {why}"), theme.bad())
    } else if stats.link_up == Some(false) {
        ("THE LINK IS DOWN; panel 3 has what happened to it".to_owned(), theme.bad())
    } else if let Some(drop) = loss {
        let rate = short(drop.rate);
        (format!("losing {rate} packets/s: {} ({})", drop.cause, drop.explanation), theme.bad())
    } else if let Some((text, Tone::Bad)) = &feed {
        (text.clone(), theme.bad())
    } else if is_fallback(model) {
        (format!("XDP is not available: {}; panel 5 has each mode", first_reason(model)), theme.warning())
    } else if let Some((text, tone)) = feed {
        (text, theme.tone(tone))
    } else if let Some(warning) = stats.warnings.last() {
        (warning.clone(), theme.warning())
    } else if !stats.refused_modes.is_empty() {
        (format!("no faster mode: {}; panel 5 has each mode", first_reason(model)), theme.dim())
    } else {
        return;
    };
    put(buffer, area, 2, 0, &text, style);
}

fn first_reason(model: &Model) -> String {
    let words = model.stats().refused_modes.last().map_or("", |refused| &refused.reason);
    let words = crate::errors::one_paragraph(words);
    words.split_once("; ").map_or(words.as_str(), |(first, _)| first).to_owned()
}

/// Returns true if kernel sockets stand in for XDP.
fn is_fallback(model: &Model) -> bool {
    model.stats().mode == "socket" && !model.stats().refused_modes.is_empty()
}
