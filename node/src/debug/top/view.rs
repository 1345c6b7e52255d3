//! The picture of `top`, drawn from the model alone. Readable from 80 columns and 24 lines on; wider ones show more.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table};

use super::super::facts::{How, Instance, Mailbox};
use super::super::{show, units};
use super::model::{Model, Pane};
use super::pane;

/// From so many columns on host, process and memory are shown.
const WIDE: u16 = 120;
/// Bars of the trend.
const TREND: u16 = 6;

const KEYS: [(&str, &str); 11] = [
    ("↑ ↓ j k", "select an instance"),
    ("enter", "all facts of it"),
    ("esc b", "back to the table"),
    ("tab 1 2 3", "messages that wait, who waits for whom, its log"),
    ("s", "sort by start order, depth, rate or p99"),
    ("p space", "pause the picture"),
    ("f", "freeze the mailbox as long as this runs (with --write)"),
    ("n", "let one message through a frozen mailbox (with --write)"),
    ("t", "thaw a mailbox (with --write)"),
    ("?", "this help"),
    ("q", "quit; what was frozen here thaws"),
];

/// Draws everything.
pub(super) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let [title, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(title_line(model)), title);
    if model.detail {
        detail(model, frame, body);
    } else {
        overview(model, frame, body);
    }
    frame.render_widget(Paragraph::new(foot_line(model)), foot);
    if model.help {
        help(frame);
    }
}

fn overview(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let rows = u16::try_from(model.facts.instances.len()).unwrap_or(u16::MAX).saturating_add(1);
    // A third is left for what is below, however many instances there are.
    let most = area.height.saturating_sub((area.height / 3).max(4));
    let [table, below] = Layout::vertical([Constraint::Length(rows.min(most)), Constraint::Fill(1)]).areas(area);
    instances(model, frame, table);
    pane::draw(model, frame, below);
}

fn title_line(model: &Model) -> Line<'static> {
    let count = |word: &str| model.facts.instances.iter().filter(|one| one.health() == word).count();
    let (silent, gone, frozen) = (count("silent"), count("gone"), count("frozen"));
    let all = model.facts.instances.len();
    let mut spans = vec![Span::styled(" alys debug top ", Style::new().add_modifier(Modifier::REVERSED))];
    let mut say = |text: String, style: Style| spans.extend([Span::raw("  "), Span::styled(text, style)]);
    say(units::clock(model.facts.unix_millis).get(..8).unwrap_or_default().to_owned(), Style::new());
    say(format!("{} of {all} answer", all.saturating_sub(silent).saturating_sub(gone)), Style::new());
    for (number, word) in [(silent, "silent"), (gone, "gone"), (frozen, "frozen")] {
        if number > 0 {
            say(format!("{number} {word}"), color(word));
        }
    }
    if let Some(cycle) = model.deadlocks.first() {
        say(format!("DEADLOCK {}", cycle.join(" → ")), Style::new().fg(Color::White).bg(Color::Red));
    }
    let mode = match (&model.file, model.paused, model.write) {
        (Some(file), _, _) => file.clone(),
        (None, true, _) => "PAUSED".to_owned(),
        (None, false, true) => "write".to_owned(),
        (None, false, false) => "read-only".to_owned(),
    };
    say(mode, Style::new().add_modifier(Modifier::DIM));
    Line::from(spans)
}

fn foot_line(model: &Model) -> Line<'static> {
    if let Some(notice) = &model.notice {
        return Line::styled(format!(" {notice}"), Style::new().fg(Color::Yellow));
    }
    // Fits into 80 columns; the help has the words.
    let hold = if model.write { "  f n t hold" } else { "" };
    let text = format!(" ↑↓ select  ⏎ details  tab turns  s by {}{hold}  ? help  q quit", model.sort.name());
    Line::styled(text, Style::new().add_modifier(Modifier::DIM))
}

fn instances(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let wide = area.width >= WIDE;
    let mut headings = vec!["INSTANCE", "HEALTH", "DEPTH/HI", "RATE/s", "TREND", "P50", "P99", "OLDEST"];
    let mut widths: Vec<Constraint> = [12, 8, 8, 6, TREND, 6, 6, 6].map(Constraint::Length).to_vec();
    if wide {
        headings.extend(["HOST", "PID", "MEM"]);
        widths.extend([10, 7, 7].map(Constraint::Length));
    }
    headings.push(if wide { "IN FLIGHT → WAITING ON" } else { "BUSY WITH" });
    widths.push(Constraint::Fill(1));
    let rows = model.rows();
    // The selected one stays in view when there are more than fit.
    let fit = usize::from(area.height.saturating_sub(1));
    let chosen = rows.iter().position(|row| row.instance == model.selected).unwrap_or(0);
    let skip = chosen.saturating_add(1).saturating_sub(fit);
    let shown = rows.into_iter().skip(skip).map(|instance| row(model, instance, wide));
    let heading = Row::new(headings).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(shown, widths).header(heading), area);
}

fn row(model: &Model, instance: &Instance, wide: bool) -> Row<'static> {
    let health = instance.health().to_owned();
    let style = color(&health);
    let mut cells = vec![Cell::from(instance.instance.clone()), Cell::from(health).style(style)];
    let mailbox = instance.mailbox.clone().unwrap_or_default();
    if instance.mailbox.is_some() {
        cells.push(Cell::from(format!("{}/{}", mailbox.depth, mailbox.high_water)));
        cells.push(Cell::from(model.rate(&instance.instance).map_or_else(|| "-".to_owned(), |rate| rate.to_string())));
        cells.push(Cell::from(bars(&model.trend(&instance.instance, usize::from(TREND)))).style(Style::new().fg(Color::Cyan)));
        cells.extend([mailbox.p50_micros, mailbox.p99_micros].map(|span| Cell::from(units::micros(span))));
        cells.push(Cell::from(units::millis(mailbox.oldest_millis)));
    } else {
        cells.extend((0..6).map(|_| Cell::from("")));
    }
    if wide {
        let vitals = instance.vitals.clone().unwrap_or_default();
        let pid = if vitals.pid == 0 { instance.kept.as_ref().map_or(0, |kept| kept.pid) } else { vitals.pid };
        let memory = if vitals.resident_bytes == 0 { String::new() } else { units::bytes(vitals.resident_bytes) };
        cells.extend([vitals.host, if pid == 0 { "-".to_owned() } else { pid.to_string() }, memory].map(Cell::from));
    }
    cells.push(Cell::from(busy(instance, &mailbox, wide)));
    let row = Row::new(cells);
    if instance.instance == model.selected { row.style(Style::new().add_modifier(Modifier::REVERSED)) } else { row }
}

/// What its handler does; where there is little room, the part that says most.
fn busy(instance: &Instance, mailbox: &Mailbox, wide: bool) -> String {
    match &instance.how {
        How::PostMortem { reason } => return reason.clone(),
        How::Timeout { age_millis: Some(age) } => return format!("for {}", units::millis(*age)),
        How::Timeout { age_millis: None } | How::Alive => {}
    }
    let in_flight = match mailbox.in_flight.as_str() {
        "" => String::new(),
        name => format!("{name} {}", units::millis(mailbox.busy_millis)),
    };
    match mailbox.waiting_on.as_str() {
        "" => in_flight,
        waiting if wide => format!("{in_flight} → {waiting}"),
        waiting => format!("→{waiting}"),
    }
}

/// A bar for each rate, the highest of them full.
pub(super) fn bars(rates: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = rates.iter().copied().max().unwrap_or(0).max(1);
    let bar = |rate: &u64| {
        let step = rate.saturating_mul(7).div_ceil(highest);
        usize::try_from(step).ok().and_then(|step| BARS.get(step)).copied().unwrap_or('█')
    };
    rates.iter().map(bar).collect()
}

pub(super) fn color(health: &str) -> Style {
    Style::new().fg(match health {
        "ready" | "running" => Color::Green,
        "degraded" | "draining" => Color::Yellow,
        "starting" => Color::Blue,
        "frozen" => Color::Cyan,
        "wedged" | "silent" | "gone" => Color::Red,
        _ => Color::Reset,
    })
}

fn detail(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let Some(chosen) = model.chosen() else { return };
    let lines = show::lines(&model.facts, chosen);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let text: Vec<Line<'_>> = lines
        .into_iter()
        .map(|(name, value)| {
            Line::from(vec![Span::styled(format!(" {name:<width$}  "), Style::new().fg(Color::Cyan)), Span::raw(value)])
        })
        .collect();
    let height = u16::try_from(text.len()).unwrap_or(u16::MAX).saturating_add(1).min(area.height.saturating_sub(5));
    let [facts, below] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    let block = Block::new().borders(Borders::TOP).title(format!(" {} ", chosen.instance));
    frame.render_widget(Paragraph::new(text).block(block), facts);
    pane::draw(model, frame, below);
}

fn help(frame: &mut Frame<'_>) {
    let height = u16::try_from(KEYS.len()).unwrap_or(u16::MAX).saturating_add(2);
    let [middle] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(frame.area());
    let [area] = Layout::horizontal([Constraint::Length(74)]).flex(Flex::Center).areas(middle);
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, does)| Line::from(vec![Span::styled(format!(" {key:<11}"), Style::new().fg(Color::Cyan)), Span::raw(*does)]))
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}

/// Title of what is below the table.
pub(super) fn pane_title(model: &Model) -> Line<'static> {
    let mut spans = vec![Span::raw(format!(" {} ", model.selected))];
    for (pane, name) in [(Pane::Messages, " 1 messages "), (Pane::Waits, " 2 waits "), (Pane::Log, " 3 log ")] {
        let style = if pane == model.pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(name, style));
    }
    Line::from(spans)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
