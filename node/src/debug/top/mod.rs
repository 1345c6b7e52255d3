//! `alys debug top`: all mailboxes live. The model is plain values, the picture is drawn from it alone, and this file
//! joins both to a terminal and to the cluster.

mod fetch;
mod model;
mod pane;
mod view;

use std::io::IsTerminal as _;
use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::Top;
use super::source::Source;
use crate::failure::{OrFail as _, Outcome};
use crate::io::table::print;
use fetch::{Ask, Fetcher};
use model::{Act, Key, Look, Model};

/// How long the keyboard's thread sleeps at most before it looks whether the picture is still there.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that wait to be acted on; a held-down key repeats 30 times a second.
const MOST_KEYS: usize = 64;
/// One picture where there is no terminal to ask for its size.
const ONCE_COLUMNS: u16 = 120;
/// Lines of that picture that are not instances.
const ONCE_MARGIN: u16 = 12;

pub(super) async fn run(source: Source, args: &Top) -> Outcome {
    let file = args.from.as_ref().map(|path| path.display().to_string());
    let model = Model { write: args.write, file, ..Model::default() };
    if args.once || !std::io::stdout().is_terminal() {
        return once(source, model, args.interval).await;
    }
    let (asks, asked) = mpsc::channel(MOST_KEYS);
    let (looks, seen) = watch::channel(None);
    let fetcher = tokio::spawn(Fetcher::new(source, args.interval, looks).run(asked));
    let ended = in_terminal(model, seen, &asks).await;
    drop(asks);
    // It thaws what was frozen here.
    let _ended = fetcher.await;
    ended
}

/// Puts the terminal back however this ends; ratatui's own hook does so before a panic prints.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn in_terminal(mut model: Model, mut looks: watch::Receiver<Option<fetch::Seen>>, asks: &mpsc::Sender<Ask>) -> Outcome {
    let mut terminal = ratatui::try_init().or_temporary("cannot use this terminal")?;
    let _restore = Restore;
    let mut keys = keyboard();
    let mut terminate = signal(SignalKind::terminate()).or_bug("cannot listen for signals")?;
    let mut looked_at = String::new();
    loop {
        draw(&mut terminal, &model)?;
        let key = tokio::select! {
            changed = looks.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                if let Some(seen) = looks.borrow_and_update().clone() {
                    model.look(seen.look);
                    model.notice = seen.notice.or(model.notice);
                }
                None
            }
            key = keys.recv() => match key {
                Some(pressed) => pressed,
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
        };
        let act = key.map_or(Act::Nothing, |key| model.key(key));
        let ask = match act {
            Act::Quit => return Ok(()),
            Act::Change(change, instance) => Ask::Change(change, instance),
            Act::Nothing if model.selected == looked_at => continue,
            Act::Nothing => Ask::LookAt(model.selected.clone()),
        };
        looked_at = model.selected.clone();
        // When it is behind it will look at the next selection.
        let _busy = asks.try_send(ask);
    }
}

fn draw(terminal: &mut DefaultTerminal, model: &Model) -> Outcome {
    terminal.draw(|frame| view::draw(model, frame)).map(drop).or_temporary("cannot draw on this terminal")
}

/// Keys from a thread of their own: reading them blocks. `None`: the picture has to be drawn anew.
fn keyboard() -> mpsc::Receiver<Option<Key>> {
    let (sender, keys) = mpsc::channel(MOST_KEYS);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let key = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(_terminal_gone) => return,
            };
            let sent = match key {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    meaning(key.code, key.modifiers).is_none_or(|key| sender.blocking_send(Some(key)).is_ok())
                }
                Ok(Event::Resize(..)) => sender.blocking_send(None).is_ok(),
                Ok(_) => true,
                Err(_terminal_gone) => false,
            };
            if !sent {
                return;
            }
        }
    });
    keys
}

fn meaning(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Letter('q'),
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Enter | KeyCode::Right => Key::Enter,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Key::Back,
        KeyCode::Tab => Key::Next,
        _ => return None,
    })
}

/// One picture as text. A live one takes two looks: a rate needs both.
async fn once(mut source: Source, mut model: Model, interval: Duration) -> Outcome {
    model.look(Look { facts: source.facts().await, close: None });
    if matches!(source, Source::Live(_)) {
        tokio::time::sleep(interval).await;
        let close = fetch::close(&source, &model.selected).await;
        model.look(Look { facts: source.facts().await, close });
    } else {
        model.close = fetch::close(&source, &model.selected).await.unwrap_or_default();
    }
    let instances = u16::try_from(model.facts.instances.len()).unwrap_or(u16::MAX);
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(ONCE_COLUMNS);
    print(&picture(&model, columns, instances.saturating_mul(3) / 2 + ONCE_MARGIN)?);
    Ok(())
}

/// The picture of a model as text, nothing behind the last letter of a line.
fn picture(model: &Model, columns: u16, lines: u16) -> Outcome<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).or_bug("a terminal in memory")?;
    terminal.draw(|frame| view::draw(model, frame)).or_bug("a terminal in memory")?;
    let buffer = terminal.backend().buffer();
    let width = usize::from(columns).max(1);
    let text = buffer.content().chunks(width).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    });
    Ok(text.collect())
}
