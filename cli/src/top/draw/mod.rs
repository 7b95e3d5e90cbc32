//! The dashboard as cells: one file for each panel. Only what is visible is made.

mod drops;
mod events;
mod feeds;
mod footer;
mod header;
mod help;
mod layout;
mod log;
mod mode;
#[cfg(test)]
mod picture;
mod queues;
mod selected;
mod sparkline;
mod subscriptions;
#[cfg(test)]
mod tests;
mod text;
mod theme;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::keys::{Page, Panel, State};
use super::model::Model;

pub use layout::Layout;
pub use theme::Theme;

/// Draws everything. `state` must have been fitted to the same layout.
pub fn draw(buffer: &mut Buffer, layout: &Layout, model: &Model, state: &State, theme: &Theme) {
    header::draw(buffer, layout.header, model, state, theme);
    match state.page {
        Page::Subscriptions => subscriptions::draw(buffer, layout, model, state, theme),
        Page::Feeds => feeds::draw(buffer, layout, model, state, theme),
    }
    for &(panel, area) in &layout.panels {
        draw_panel(buffer, panel, area, layout, model, state, theme);
    }
    footer::draw(buffer, layout.footer, model, state, theme);
    if state.help {
        help::draw(buffer, buffer.area, theme);
    }
}

fn draw_panel(
    buffer: &mut Buffer,
    panel: Panel,
    area: Rect,
    layout: &Layout,
    model: &Model,
    state: &State,
    theme: &Theme,
) {
    let area = text::title(buffer, area, panel, layout, state, theme);
    // Only the chosen panel is scrolled.
    let skip = if panel == state.panel { state.scrolled } else { 0 };
    match panel {
        Panel::Drops => drops::draw(buffer, area, model, skip, theme),
        Panel::Queues => queues::draw(buffer, area, model, skip, theme),
        Panel::Events => events::draw(buffer, area, model, skip, theme),
        Panel::Selected => selected::draw(buffer, area, model, state, skip, theme),
        Panel::Mode => mode::draw(buffer, area, model, skip, theme),
        Panel::Log => log::draw(buffer, area, model, skip, theme),
    }
}
