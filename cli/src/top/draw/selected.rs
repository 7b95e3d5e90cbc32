//! The selected subscription: all that is known of it, and why it receives nothing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::paragraphs;
use super::theme::Theme;
use crate::top::keys::State;
use crate::top::model::{Model, Status};
use crate::units::{age, count, short, with_unit};

/// Draws it as paragraphs.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, state: &State, skip: usize, theme: &Theme) {
    let Some(one) = state.arrangement.selected(model) else { return };
    let status = model.status(one);
    let flow = one.flow;
    let mut all = vec![(one.label(), theme.title())];
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
    paragraphs(buffer, area, &all, skip, theme);
}
