//! The live chart: rates, drain time with its set-point, the stage and the reason, from 80 × 24 up. Pure: draws a view.
//!
//! Every series has a shape of its own, so that it can be read without colour.

use lagvalve::units::HumanCount;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Paragraph, Wrap};

use super::measure::Bin;
use super::story::StageKind;
use super::view::View;

/// Draws `view` over the whole frame; in colour when `colour`.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View<'_>, colour: bool) {
    let palette = Palette { colour };
    let area = frame.area();
    let [title, banner, rates, drain, figures, reason, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(2),
        Constraint::Length(4),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, title, view, &palette);
    draw_banner(frame, banner, view, &palette);
    draw_rates(frame, rates, view, &palette);
    draw_drain(frame, drain, view, &palette);
    frame.render_widget(Paragraph::new(figure_lines(view, &palette)), figures);
    let text = Line::from(vec![palette.bold("Why: "), Span::raw(view.reason())]);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), reason);
    let help = "q ends it: what is written is read to the end, then the figures";
    frame.render_widget(Paragraph::new(palette.dim(help)), keys);
}

struct Palette {
    colour: bool,
}

impl Palette {
    fn paint(&self, color: Color) -> Style {
        if self.colour { Style::new().fg(color) } else { Style::new() }
    }

    fn bold(&self, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
    }

    fn dim(&self, text: impl Into<String>) -> Span<'static> {
        let style = if self.colour { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
        Span::styled(text.into(), style)
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, palette: &Palette) {
    let left = format!("lagvalve demo  {}  {}", view.story.scenario.name(), view.cluster);
    let right = format!("{:.0} s of {:.0} s", view.t, view.end());
    let [start, end] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(right.len() as u16)]).areas(area);
    frame.render_widget(Paragraph::new(palette.bold(left)), start);
    frame.render_widget(Paragraph::new(right), end);
}

fn draw_banner(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, palette: &Palette) {
    let stage = view.stage();
    let fault = !matches!(stage.kind, StageKind::Observe | StageKind::Enforce | StageKind::CaughtUp);
    let style = palette.paint(if fault { Color::Yellow } else { Color::Green }).add_modifier(Modifier::REVERSED);
    let banner = format!(" {} of {} {} ", view.stage + 1, view.story.stages.len(), stage.kind.title());
    let text = Line::from(vec![
        Span::styled(banner, style),
        Span::raw(format!(" {}", view.story.text(stage, view.set_point))),
    ]);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, palette: &Palette) {
    let capacity = view.story.stages.iter().map(|stage| stage.capacity).fold(0.0, f64::max);
    // A flood is cut off at the top: what matters is production against consumption.
    let top = capacity * RATE_HEADROOM;
    let series = |of: fn(&Bin) -> f64| view.bins.iter().map(|bin| (bin.t, of(bin).min(top))).collect::<Vec<_>>();
    let production = series(|bin| bin.production);
    let consumption = every(series(|bin| bin.consumption), area.width, view.end());
    let marks = stage_marks(view, top);
    let datasets = vec![
        dataset(&marks, Marker::Custom('┊'), palette.paint(Color::DarkGray)),
        line(&production, palette.paint(Color::Cyan)),
        dataset(&consumption, Marker::Custom('o'), palette.paint(Color::Green)),
    ];
    let over = view.bins.last().filter(|bin| bin.production > top);
    let mut title = vec![
        Span::raw(" records/s   "),
        Span::styled("⠒⠒ production", palette.paint(Color::Cyan)),
        Span::raw("   "),
        Span::styled("o consumption ", palette.paint(Color::Green)),
    ];
    if let Some(bin) = over {
        title.push(palette.bold(format!("  above the chart: {} ", HumanCount(bin.production))));
    }
    let labels = [0.0, capacity, top].map(|value| label(&HumanCount(value).to_string()));
    // The middle label stands in the middle of the axis: the capacity, as the headroom is twice of it.
    let chart = Chart::new(datasets)
        .block(Block::new().borders(Borders::TOP).title(Line::from(title)))
        // Its labels stand below the other chart: both have the same width.
        .x_axis(Axis::default().bounds([0.0, view.end()]))
        .y_axis(Axis::default().bounds([0.0, top]).labels(labels));
    frame.render_widget(chart, area);
}

fn draw_drain(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, palette: &Palette) {
    let highest = view.bins.iter().map(|bin| bin.drain_peak).fold(0.0, f64::max);
    let top = (view.set_point * 2.5).max((highest / 5.0).ceil() * 5.0);
    let drain: Vec<(f64, f64)> = view.bins.iter().map(|bin| (bin.t, bin.drain)).collect();
    let columns = u32::from(area.width.max(1));
    let set_point: Vec<(f64, f64)> =
        (0..columns).step_by(2).map(|x| (f64::from(x) / f64::from(columns) * view.end(), view.set_point)).collect();
    let marks = stage_marks(view, top);
    let datasets = vec![
        dataset(&marks, Marker::Custom('┊'), palette.paint(Color::DarkGray)),
        dataset(&set_point, Marker::Custom('-'), palette.paint(Color::Red)),
        line(&drain, palette.paint(Color::Magenta)),
    ];
    let title = Line::from(vec![
        Span::raw(" seconds   "),
        Span::styled("⠒⠒ drain time", palette.paint(Color::Magenta)),
        Span::raw("   "),
        Span::styled(format!("-- set-point {} s ", view.set_point), palette.paint(Color::Red)),
    ]);
    let labels = [0.0, top / 2.0, top].map(|value| label(&format!("{value:.1}")));
    let chart = Chart::new(datasets)
        .block(Block::new().borders(Borders::TOP).title(title))
        .x_axis(time_axis(view))
        .y_axis(Axis::default().bounds([0.0, top]).labels(labels));
    frame.render_widget(chart, area);
}

/// Two lines: the rates, and what they come to.
fn figure_lines(view: &View<'_>, palette: &Palette) -> Vec<Line<'static>> {
    let rate = |value: f64| format!("{}/s", HumanCount(value));
    let bin = view.bins.last().copied().unwrap_or_default();
    let decided = view.record.as_ref().map_or_else(|| "?".to_owned(), |record| record.rate_decided.to_string());
    let offered = bin.offered.map_or_else(|| "all it can".to_owned(), rate);
    let mut first = vec![Span::raw("offered "), palette.bold(offered), Span::raw("  decided "), palette.bold(decided)];
    first.extend([Span::raw("  production "), palette.bold(rate(bin.production))]);
    first.extend([Span::raw("  consumption "), palette.bold(rate(bin.consumption))]);
    let mut second = vec![Span::raw("drain time "), palette.bold(format!("{:.1} s", view.drain()))];
    second.extend([Span::raw(format!(" of {} s", view.set_point))]);
    second.extend([Span::raw("  unread "), palette.bold(HumanCount(view.totals.unread() as f64).to_string())]);
    if let Some(withheld) = view.withheld_percent() {
        second.extend([Span::raw("  withheld "), palette.bold(format!("{withheld:.0} %"))]);
    }
    if let Some(record) = &view.record {
        second.extend([Span::raw("  bound by "), palette.bold(record.bound_by.name())]);
    }
    vec![Line::from(first), Line::from(second)]
}

fn line<'a>(points: &'a [(f64, f64)], style: Style) -> Dataset<'a> {
    Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(points)
}

fn dataset<'a>(points: &'a [(f64, f64)], marker: Marker, style: Style) -> Dataset<'a> {
    Dataset::default().marker(marker).graph_type(GraphType::Scatter).style(style).data(points)
}

/// Of one width in both charts, so that their times stand below each other.
fn label(text: &str) -> String {
    format!("{text:>LABEL_WIDTH$}")
}

fn time_axis(view: &View<'_>) -> Axis<'static> {
    let end = view.end();
    let labels = [0.0, 0.5, 1.0].map(|share| format!("{:.0} s", share * end));
    Axis::default().bounds([0.0, end]).labels(labels)
}

/// A dotted vertical where each stage began.
fn stage_marks(view: &View<'_>, top: f64) -> Vec<(f64, f64)> {
    let begun = view.story.stages.iter().skip(1).filter(|stage| stage.from <= view.t);
    begun
        .flat_map(|stage| (0..MARK_DOTS).map(|dot| (stage.from, f64::from(dot) / f64::from(MARK_DOTS) * top)))
        .collect()
}

/// About one point for every third column, so that single marks stay apart and the line below them shows.
fn every(points: Vec<(f64, f64)>, columns: u16, end: f64) -> Vec<(f64, f64)> {
    let step = ((3.0 * end / f64::from(columns.max(1))).round() as usize).max(1);
    points.into_iter().step_by(step).collect()
}

/// The top of the rates' axis, in capacities: the middle is then the capacity.
const RATE_HEADROOM: f64 = 2.0;
const MARK_DOTS: u32 = 60;
const LABEL_WIDTH: usize = 7;

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::args::Scenario;
    use super::super::story::Story;
    use super::super::truth::Totals;
    use super::*;

    fn screen(width: u16, height: u16) -> Vec<String> {
        let story = Story::new(Scenario::TenToTwo, 120.0);
        let bins: Vec<Bin> = (1..=60)
            .map(|second| Bin {
                t: f64::from(second),
                offered: Some(10_000.0),
                production: if second < 8 { 10_000.0 } else { 2_000.0 },
                consumption: 2_000.0,
                capacity: 2_000.0,
                drain: if second < 20 { 14.0 } else { 2.0 },
                drain_peak: 14.0,
                ..Bin::default()
            })
            .collect();
        let view = View {
            story: &story,
            stage: 0,
            cluster: "embedded broker",
            t: 60.0,
            bins: &bins,
            totals: Totals { produced: 124_000, consumed: 120_000, ..Totals::default() },
            set_point: 2.0,
            record: None,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view, false)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>()).collect()
    }

    #[test]
    fn everything_is_on_a_small_and_on_a_large_screen() {
        for (width, height) in [(80, 24), (200, 60)] {
            let rows = screen(width, height);
            let text = rows.join("\n");
            for part in [
                "lagvalve demo  ten-to-two  embedded broker",
                "60 s of 170 s",
                "1 of 2 ENFORCE",
                "Writers offer 10,000/s",
                "⠒⠒ production",
                "o consumption",
                "⠒⠒ drain time",
                "-- set-point 2 s",
                "offered 10,000/s",
                "production 2,000/s",
                "drain time 2.0 s of 2 s",
                "unread 4,000",
                "withheld 80 %",
                "Why: the valve starts",
                "q ends it",
            ] {
                assert!(text.contains(part), "{part} is missing at {width} x {height}:\n{text}");
            }
        }
    }

    #[test]
    fn series_differ_by_shape_not_only_by_colour() {
        let rows = screen(80, 24);
        let body = rows[5..19].join("\n");
        let braille = |symbol: char| ('\u{2801}'..='\u{28ff}').contains(&symbol);
        assert!(body.contains(braille) && body.contains('o') && body.contains('-'), "{body}");
    }

    #[test]
    fn a_tiny_terminal_does_not_panic() {
        for (width, height) in [(1, 1), (10, 5), (40, 12)] {
            screen(width, height);
        }
    }
}
