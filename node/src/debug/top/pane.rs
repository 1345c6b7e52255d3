//! The lower part of the picture: what waits in the selected mailbox, who waits for whom, or the log.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

use super::super::logs::for_people;
use super::super::units;
use super::model::{Model, Pane};
use super::view::pane_title;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::new().borders(Borders::TOP).title(pane_title(model));
    match model.pane {
        Pane::Messages => messages(model, frame, area, block),
        Pane::Waits => waits(model, frame, area, block),
        Pane::Log => log(model, frame, area, block),
    }
}

fn messages(model: &Model, frame: &mut Frame<'_>, area: Rect, block: Block<'_>) {
    let close = &model.close;
    if close.instance != model.selected || close.peek.messages.is_empty() {
        let why = match model.chosen() {
            Some(chosen) if chosen.mailbox.is_none() => "it has no mailbox",
            Some(chosen) if chosen.health() == "gone" => "it is gone, and what waited with it",
            _ if close.instance != model.selected => "",
            _ => "nothing waits",
        };
        return frame.render_widget(Paragraph::new(Line::styled(format!(" {why}"), dim())).block(block), area);
    }
    let rows = close.peek.messages.iter().map(|message| {
        let age = units::millis(message.age_millis);
        Row::new([age, message.sender.clone(), message.lane.clone(), message.name.clone(), message.body.clone()])
    });
    let widths = [6, 10, 7, 26].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let heading = Row::new(["AGE", "SENDER", "LANE", "MESSAGE", "BODY"]).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).header(heading).block(block), area);
}

/// Of all instances: a wait that matters is rarely where one looks.
fn waits(model: &Model, frame: &mut Frame<'_>, area: Rect, block: Block<'_>) {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for cycle in &model.deadlocks {
        let first = cycle.first().cloned().unwrap_or_default();
        lines.push(Line::styled(format!(" DEADLOCK {} → {first}", cycle.join(" → ")), Style::new().fg(Color::Red)));
    }
    for edge in &model.edges {
        let behalf = if edge.holds_mailbox { format!(" ({})", edge.on_behalf_of) } else { " (a task)".to_owned() };
        let age = units::millis(edge.age_millis);
        let text = format!(" {age:>6}  {}{behalf} → {}; {}", edge.from, edge.asks(), edge.meanwhile);
        let here = edge.from == model.selected || edge.to.contains(&model.selected);
        lines.push(if here { Line::raw(text) } else { Line::styled(text, dim()) });
    }
    if lines.is_empty() {
        lines.push(Line::styled(" nobody waits for anybody", dim()));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn log(model: &Model, frame: &mut Frame<'_>, area: Rect, block: Block<'_>) {
    let close = &model.close;
    let lines: &[String] = if close.instance == model.selected { &close.log } else { &[] };
    let fit = usize::from(area.height.saturating_sub(1));
    let shown = lines.iter().skip(lines.len().saturating_sub(fit)).map(|line| {
        let text = format!(" {}", for_people(line));
        let style = match () {
            () if text.contains(" ERROR ") => Style::new().fg(Color::Red),
            () if text.contains(" WARN ") => Style::new().fg(Color::Yellow),
            () => Style::new(),
        };
        Line::styled(text, style)
    });
    let mut shown: Vec<Line<'_>> = shown.collect();
    if shown.is_empty() {
        shown.push(Line::styled(" no lines yet", dim()));
    }
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
