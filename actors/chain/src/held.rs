//! Blocks of an imported batch that the core has committed and that go to storage together: one transaction, one move of the
//! head. Until then nothing that shows the new head may leave this role.
//!
//! | effect behind held blocks | they are stored first |
//! |---|---|
//! | `Execute` of the next block, `StartTimer`, `GetBitcoinView`, notes for the log | no: nobody learns of the head by it |
//! | `CommitBlock` that is followed by another of its batch | no, if there is room |
//! | a note that a block waits: the engine may have lost what it executed, and replays from storage | yes |
//! | everything else: votes and their log, answers, questions about pegs, halt, the last block of the batch | yes |
//!
//! Killed before that, storage and engine both have the head of before the batch, as if it had never come: the engine keeps
//! executed blocks apart from its head. Killed after it, storage is ahead of the engine, and the start replays.

use std::collections::VecDeque;

use alys_proto::{Message as _, storage};

use crate::core::{Commit, Effect, Note, Status};

/// Blocks in one transaction: a piece of sync. The engine keeps a few more executed blocks than these.
const MAX_HELD: usize = 64;
/// Bytes of one transaction, unless a single block has more: a message of the cluster has at most 20 MiB.
const MAX_HELD_BYTES: usize = 8 << 20;

/// What waits for the end of its batch.
#[derive(Default)]
pub(crate) struct Held {
    commits: VecDeque<Box<Commit>>,
    bytes: usize,
    /// What people see as long as the disk has no more.
    before: Option<Status>,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// The status of before, while the head in memory is not on disk.
    pub(crate) const fn before(&self) -> Option<&Status> {
        self.before.as_ref()
    }

    /// Whether a block can join the others. The one that is held last has: its effect came again.
    pub(crate) fn has_room(&self, commit: &Commit) -> bool {
        let sum = self.bytes.saturating_add(bytes(commit));
        self.is_empty() || self.is_last(commit) || (self.commits.len() < MAX_HELD && sum <= MAX_HELD_BYTES)
    }

    /// Holds a block; `status` is that of before it.
    pub(crate) fn hold(&mut self, commit: Box<Commit>, status: impl FnOnce() -> Status) {
        if self.is_last(&commit) {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes(&commit));
        self.before.get_or_insert_with(status);
        self.commits.push_back(commit);
    }

    /// What is held, oldest first.
    pub(crate) const fn commits(&self) -> &VecDeque<Box<Commit>> {
        &self.commits
    }

    /// Storage and engine have the oldest.
    pub(crate) fn done(&mut self) -> Option<Box<Commit>> {
        let commit = self.commits.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes(&commit));
        if self.is_empty() {
            self.before = None;
        }
        Some(commit)
    }

    fn is_last(&self, commit: &Commit) -> bool {
        self.commits.back().is_some_and(|last| last.hash == commit.hash)
    }
}

/// Whether an effect may be carried out before held blocks are stored.
pub(crate) const fn may_pass(effect: &Effect) -> bool {
    match effect {
        Effect::Execute { .. } | Effect::StartTimer { .. } | Effect::GetBitcoinView | Effect::CommitBlock(_) => true,
        Effect::Note(note) => !matches!(note, Note::Waiting { .. }),
        _ => false,
    }
}

/// A commit in storage's words.
pub(crate) fn request(commit: &Commit) -> storage::CommitBlock {
    storage::CommitBlock {
        block: Some(commit.block.clone()),
        parent_hash: commit.parent_hash.to_vec(),
        ledger: Some(storage::LedgerDelta { facts: commit.facts.clone() }),
    }
}

fn bytes(commit: &Commit) -> usize {
    commit.facts.iter().map(|fact| fact.encoded_len()).sum::<usize>().saturating_add(commit.block.encoded_len())
}
