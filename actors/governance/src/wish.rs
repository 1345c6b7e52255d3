//! What this member's operator wants the federation to decide [PEG-18]: a file beside the database, written by `alys governance
//! pause|resume`, read by the running node. Being able to write there is the right to do so; the key stays with the node.
//!
//! | the file says | our chain | the node |
//! |---|---|---|
//! | nothing | any | says nothing |
//! | pause, or resume | not so | signs the next decision and tells it the stream, again and again |
//! | pause, or resume | so | takes the file away: it is done |
//!
//! Signing again is harmless: the number makes a signature worth one decision, whoever repeats it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alys_peg::{Action, Decision};

use crate::node::Node;

/// The stream acknowledges at once; chain forgets at a restart what is not in a block yet.
const AGAIN: Duration = Duration::from_secs(5);

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("wish")
}

/// Has the node with this `data_dir` ask for it, now or when it runs next. Replaces what was asked for before.
pub fn wish(data_dir: &Path, action: Action) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let new = data_dir.join("wish.new");
    let mut writing = fs::File::create(&new)?;
    writeln!(writing, "{action}")?;
    writing.sync_all()?;
    fs::rename(new, file(data_dir))
}

/// What is asked for.
///
/// # Errors
/// The file cannot be read, or says something else.
pub fn wished(data_dir: &Path) -> io::Result<Option<Action>> {
    match fs::read_to_string(file(data_dir)) {
        Ok(text) => text.trim().parse().map(Some).map_err(|unknown| io::Error::new(io::ErrorKind::InvalidData, unknown)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// When it was told last.
#[derive(Debug, Default)]
pub(crate) struct Wishing(Option<Instant>);

impl Wishing {
    /// Our part of the record that the stream should have now.
    pub(crate) fn next(&mut self, node: &Node) -> Option<Vec<u8>> {
        let action = match wished(&node.config.data_dir) {
            Ok(wished) => wished,
            Err(cause) => {
                tracing::warn!(%cause, "cannot read what the operator wishes: run `alys governance pause` or `resume` again");
                return None;
            }
        };
        let Some(action) = action else {
            self.0 = None;
            return None;
        };
        if self.0.is_some_and(|told| told.elapsed() < AGAIN) {
            return None;
        }
        let (number, done) = {
            let books = node.books().ok()?;
            let ledger = books.replay.ledger();
            (ledger.decisions().saturating_add(1), ledger.paused().is_some() == action.pauses())
        };
        if done {
            tracing::info!(%action, decision = number.saturating_sub(1), "the federation has decided");
            // What is left is taken away at the next look.
            let _gone = fs::remove_file(file(&node.config.data_dir));
            self.0 = None;
            return None;
        }
        if self.0.is_none() {
            tracing::info!(%action, decision = number, "signed a decision: it holds when enough members have");
        }
        self.0 = Some(Instant::now());
        Some(node.sign_decision(Decision { number, action }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_last_wish_counts_and_nonsense_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("member");
        assert_eq!(wished(&data_dir).unwrap(), None, "nothing is there");
        for action in [Action::PausePeg, Action::ResumePeg] {
            wish(&data_dir, action).unwrap();
            assert_eq!(wished(&data_dir).unwrap(), Some(action));
        }
        fs::write(file(&data_dir), "panic").unwrap();
        assert_eq!(wished(&data_dir).unwrap_err().to_string(), "neither `pause` nor `resume`");
    }
}
