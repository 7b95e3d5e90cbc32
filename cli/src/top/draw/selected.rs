//! The selected row: all that is known of a subscription, and why it receives nothing; of a feed, a leg or a stream, in
//! words.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::paragraphs;
use super::theme::Theme;
use crate::top::keys::{Page, State};
use crate::top::model::{Model, Status};
use crate::top::stats::Subscription;
use crate::units::{age, count, short, with_unit};
use crate::view::feeds::{details, sentence};

/// Draws it as paragraphs.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, state: &State, skip: usize, theme: &Theme) {
    let mut all = Vec::new();
    if state.page == Page::Feeds
        && let Some((feed, part)) = state.feeds.selected(model)
    {
        let words = details(feed, part).into_iter().map(|line| (line, Style::new()));
        all.extend([(sentence(feed), theme.title())].into_iter().chain(words));
    }
    if let Some(one) = state.subscription(model) {
        of_subscription(&mut all, one, model, theme);
    }
    paragraphs(buffer, area, &all, skip, theme);
}

fn of_subscription(all: &mut Vec<(String, Style)>, one: &Subscription, model: &Model, theme: &Theme) {
    let status = model.status(one);
    let flow = one.flow;
    all.push((one.label(), theme.title()));
    let last = match (status, one.last_packet_seconds_ago) {
        (Status::Never, _) => "no packet yet".to_owned(),
        (Status::Silent(seconds), _) => format!("SILENT, last packet {} ago", age(seconds)),
        (_, seconds) => format!("receives, last packet {} ago", age(seconds.unwrap_or(0.0))),
    };
    all.push((last, theme.status(status)));
    all.push((
        format!(
            "{} with {} of payload; {} packets/s, {}",
            count(flow.packets, "packet"),
            with_unit(flow.bytes as f64, "B"),
            short(flow.packets_per_second),
            with_unit(flow.bits_per_second, "bit/s")
        ),
        Style::new(),
    ));
    let mut unwanted = match flow.blocked {
        Some(blocked) => format!("unwanted sources: {} blocked", count(blocked, "frame")),
        None => "unwanted sources: not known in mode socket".to_owned(),
    };
    if let Some(passed) = one.passed_shared.filter(|&passed| passed > 0) {
        unwanted += &format!(", {passed} passed to other programs");
    }
    if let Some(members) = one.other_members.filter(|&members| members > 0) {
        unwanted += &format!("; other programs on this host in the group: {members}");
    }
    all.push((unwanted, Style::new()));
    match model.findings(&one.key()) {
        Some(findings) => {
            all.extend(findings.iter().map(|finding| (format!("why: {finding}"), theme.warning())));
        }
        None if status == Status::Never => all.push(("Enter asks why".to_owned(), theme.dim())),
        None => {}
    }
}
