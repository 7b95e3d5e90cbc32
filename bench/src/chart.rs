//! The results as an SVG chart: delivered packets per second by row and by length of payload, and the cost of receiving
//! alone. The background is white, so that the chart is readable on dark pages, too.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Color, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend,
    Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::conditions::Conditions;
use crate::measured::Measured;
use crate::rows::{AGAIN, Measures, ROWS};
use crate::statistics::Interval;

const WIDTH: u32 = 1000;
/// Heights in pixels: of a bar, of a panel's title and axis, of the caption.
const BAR: u32 = 24;
const AROUND: u32 = 80;
const CAPTION: u32 = 60;
/// Width of the names beside the bars.
const NAMES: u32 = 210;
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const PEERS: RGBColor = RGBColor(0x8a, 0x8a, 0x8a);
/// The rows that are not this project's.
const FOREIGN: [&str; 7] = ["recvmmsg", "packet_v3", "iperf2", "testpmd", "xdpsock", "xsk_read", "xdp_drop"];
const MILLION: f64 = 1e6;
const FONT: &str = "sans-serif";

/// One bar: a name and a value with its confidence interval.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    name: String,
    is_ours: bool,
    value: f64,
    low: f64,
    high: f64,
}

impl Bar {
    /// `unit` is what the chart's unit is in the interval's.
    fn new(row: &str, interval: Interval, unit: f64) -> Self {
        Self {
            name: row.to_owned(),
            is_ours: !FOREIGN.contains(&row),
            value: interval.median / unit,
            low: interval.low / unit,
            high: interval.high / unit,
        }
    }
}

/// A part of the chart.
struct Panel {
    title: String,
    bars: Vec<Bar>,
}

/// Draws what was measured. A table that was not measured is left out.
pub fn draw(path: &Path, measured: &Measured, conditions: &Conditions) -> Result<()> {
    let caption = format!(
        "Linux {}, {}, {} cores; {} rounds; bars: medians, lines: 90 % confidence intervals; blue: this receiver",
        conditions.kernel, conditions.cpu, conditions.cores, conditions.rounds
    );
    let text = render(&panels(measured), &caption)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn panels(measured: &Measured) -> Vec<Panel> {
    let delivered = ROWS.iter().filter(|row| row.measures == Measures::Delivered && row.name != AGAIN);
    let ceiling = ROWS.iter().filter(|row| row.name == "xdp_drop");
    let main = delivered
        .clone()
        .chain(ceiling)
        .filter_map(|row| Some(Bar::new(row.name, measured.throughput.interval(row.name)?, MILLION)))
        .collect();
    let mut by_size: Vec<(usize, Vec<Bar>)> = Vec::new();
    for row in &ROWS {
        for (payload, rate) in measured.sizes.rates(row.name) {
            let bar = Bar::new(row.name, rate, MILLION);
            match by_size.iter_mut().find(|(bytes, _)| *bytes == payload) {
                Some((_, bars)) => bars.push(bar),
                None => by_size.push((payload, vec![bar])),
            }
        }
    }
    let cost =
        delivered.filter_map(|row| Some(Bar::new(row.name, measured.receive_cost.costs(row.name)?, 1.0))).collect();
    let mut panels =
        vec![Panel { title: "64-byte frames from the generator, million packets/s".to_owned(), bars: main }];
    panels.extend(
        by_size
            .into_iter()
            .map(|(payload, bars)| Panel { title: format!("{payload} bytes of payload, million packets/s"), bars }),
    );
    panels.push(Panel {
        title: "Receiving alone: nanoseconds of a delivered 64-byte frame, shorter is better".to_owned(),
        bars: cost,
    });
    panels.retain(|panel| !panel.bars.is_empty());
    panels
}

fn height(panel: &Panel) -> u32 {
    AROUND + BAR * panel.bars.len() as u32
}

fn render(panels: &[Panel], caption: &str) -> Result<String> {
    let mut text = String::new();
    {
        let size = (WIDTH, CAPTION + panels.iter().map(height).sum::<u32>());
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| anyhow!("drawing the chart: {error}"))?;
        let mut rest = root.clone();
        for panel in panels {
            let (area, below) = rest.split_vertically(height(panel));
            draw_panel(&area, panel).map_err(|error| anyhow!("drawing the chart: {error}"))?;
            rest = below;
        }
        let font = (FONT, 16).into_font().color(&BLACK);
        rest.draw(&Text::new(caption.to_owned(), (12, 20), font))
            .map_err(|error| anyhow!("drawing the chart: {error}"))?;
        root.present().map_err(|error| anyhow!("drawing the chart: {error}"))?;
    }
    Ok(text)
}

/// A value with two or no decimals.
fn shown(value: f64) -> String {
    if value < 20.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<(), Box<dyn std::error::Error>> {
    let most = panel.bars.iter().map(|bar| bar.high.max(bar.value)).fold(0.0, f64::max) * 1.12;
    let count = panel.bars.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FONT, 22).into_font().color(&BLACK))
        .margin(10)
        .set_label_area_size(plotters::prelude::LabelAreaPosition::Left, NAMES)
        .set_label_area_size(plotters::prelude::LabelAreaPosition::Bottom, 24)
        .build_cartesian_2d(0.0..most.max(0.1), 0.0..count)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().x_labels(8).x_label_style((FONT, 16)).draw()?;
    let right = (FONT, 17).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    for (nth, bar) in panel.bars.iter().enumerate() {
        // The first row is at the top.
        let bottom = count - nth as f64 - 1.0;
        let (middle, color) = (bottom + 0.5, if bar.is_ours { OURS } else { PEERS });
        chart.draw_series([Rectangle::new([(0.0, bottom + 0.15), (bar.value, bottom + 0.85)], color.filled())])?;
        chart.draw_series([PathElement::new([(bar.low, middle), (bar.high, middle)], BLACK.stroke_width(2))])?;
        let (x, y) = chart.backend_coord(&(0.0, middle));
        let (left, top) = area.get_base_pixel();
        area.draw(&Text::new(format!("{}  {}", bar.name, shown(bar.value)), (x - left - 6, y - top), right.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_names_are_drawn() {
        let rate = Interval { median: 2.5e6, low: 2.0e6, high: 3.0e6 };
        let bars = vec![Bar::new("mapped", rate, MILLION), Bar::new("xdpsock", rate, MILLION)];
        assert!(bars[0].is_ours && !bars[1].is_ours);
        let text = render(&[Panel { title: "a title".to_owned(), bars }], "the machine").expect("no error");
        for part in ["<svg", "a title", "mapped  2.50", "xdpsock  2.50", "the machine", "#1F6FB2", "#FFFFFF"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((shown(2.5), shown(88.4)), ("2.50".to_owned(), "88".to_owned()));
        assert!(panels(&Measured::default()).is_empty());
    }
}
