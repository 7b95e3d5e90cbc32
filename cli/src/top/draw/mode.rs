//! The receive mode, why there is no faster one, and the receiver's warnings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::paragraphs;
use super::theme::Theme;
use crate::errors::one_paragraph;
use crate::top::model::Model;

/// Draws them as paragraphs.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, skip: usize, theme: &Theme) {
    let stats = model.stats();
    if !model.is_known() {
        return;
    }
    let shared = if stats.share { ", shared: the kernel gets each packet too" } else { "" };
    let mut all = vec![(format!("mode {}{shared}", stats.mode), theme.title())];
    for warning in &stats.warnings {
        all.push((format!("warning: {warning}"), theme.warning()));
    }
    for refused in &stats.refused_modes {
        all.push((format!("not {}: {}", refused.mode, one_paragraph(&refused.reason)), Style::new()));
    }
    if stats.refused_modes.is_empty() {
        all.push(("no faster mode was refused".to_owned(), theme.dim()));
    }
    paragraphs(buffer, area, &all, skip, theme);
}
