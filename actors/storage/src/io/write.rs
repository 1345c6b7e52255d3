//! What each write does inside a transaction. A refused request has changed nothing when it returns, so the others of
//! its batch go on; a fault aborts the whole transaction.

use alys_proto::Role;
use alys_proto::common::Done;
use alys_proto::storage::ledger_fact::Fact;
use alys_proto::storage::{AppendWal, CommitBlock, Head, PutDocuments};
use prost::Message as _;
use redb::{ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};

use super::fault::Fault;
use super::open::optional_number;
use super::tables::{
    BLOCKS, BURNS, CERTIFICATES, DOCUMENTS, FACTS, HEIGHTS, META, META_SETTLED, META_VOTES_LOST, META_WAL_HEIGHT, WAL,
};
use crate::core::commit::{self, ChainId, CommitRefusal, Tip, Verdict};
use crate::core::form::{self, BlockKeys, Hash, Malformed};
use crate::core::lease::Stale;
use crate::core::limits::MAX_WAL_ENTRIES_PER_HEIGHT;

/// Why a write changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteRefusal {
    /// It breaks its contract.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The block may not become the head.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// Its sender acts under a lease that is not current.
    #[error(transparent)]
    Fenced(#[from] Stale),
    /// Its outbox is full.
    #[error("the outbox of {0} is full: its receivers do not take what waits there")]
    OutboxFull(Role),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}")]
    NoLetter(u64),
    /// The WAL is at a later height: an entry of an earlier one would not be kept.
    #[error("the wal is at height {newest}, an entry of height {height} would be lost")]
    OldWal {
        /// Of the entry.
        height: u64,
        /// Of the WAL.
        newest: u64,
    },
    /// Too many entries without a block.
    #[error("height {0} has {MAX_WAL_ENTRIES_PER_HEIGHT} wal entries and no block: consensus is stuck")]
    WalFull(u64),
}

/// A write's answer inside what aborts the transaction.
pub(super) type Written<T> = Result<Result<T, WriteRefusal>, Fault>;

/// Head, blocks, certificates, burns and ledger facts move together. All are judged before anything is written: a refused
/// one leaves nothing of the others.
pub(super) fn commit_blocks(transaction: &WriteTransaction, chain: ChainId, requests: &[CommitBlock]) -> Written<Head> {
    let checked = match form::commits(requests) {
        Ok(checked) => checked,
        Err(malformed) => return Ok(Err(malformed.into())),
    };
    let mut tip = tip(transaction, chain)?;
    let mut new = Vec::new();
    for (request, keys) in requests.iter().zip(checked) {
        match commit::judge(tip, stored(transaction, keys.height)?, keys.height, keys.hash, keys.parent) {
            Ok(Verdict::AlreadyCommitted) => {}
            Ok(Verdict::Commit) => {
                tip = Tip { height: keys.height, hash: keys.hash };
                new.push((request, keys));
            }
            Err(refusal) => return Ok(Err(refusal.into())),
        }
    }
    for (request, keys) in new {
        insert(transaction, request, &keys)?;
    }
    Ok(Ok(Head { height: tip.height, hash: tip.hash.0.to_vec() }))
}

fn insert(transaction: &WriteTransaction, request: &CommitBlock, keys: &BlockKeys) -> Result<(), Fault> {
    // `form::commits` has seen it.
    let Some(block) = &request.block else { return Ok(()) };
    transaction.open_table(BLOCKS)?.insert(keys.height, (&keys.hash.0, &keys.parent.0, block.block.as_slice()))?;
    transaction.open_table(HEIGHTS)?.insert(&keys.hash.0, keys.height)?;
    transaction.open_table(CERTIFICATES)?.insert(keys.height, block.certificate.as_slice())?;
    let mut burns = transaction.open_table(BURNS)?;
    for burn in &block.burns {
        burns.insert((keys.height, burn.log_index), burn.encode_to_vec().as_slice())?;
    }
    let mut rows = transaction.open_table(FACTS)?;
    let facts = request.ledger.iter().flat_map(|ledger| &ledger.facts);
    for (index, fact) in (0u32..).zip(facts) {
        rows.insert((keys.height, index), fact.encode_to_vec().as_slice())?;
        if let Some(Fact::WorkSettled(settled)) = &fact.fact {
            transaction.open_table(META)?.insert(META_SETTLED, settled.end_height.to_le_bytes().as_slice())?;
        }
    }
    Ok(())
}

fn tip(transaction: &WriteTransaction, chain: ChainId) -> Result<Tip, Fault> {
    let genesis = Tip { height: 0, hash: chain.genesis };
    let blocks = transaction.open_table(BLOCKS)?;
    let last = blocks.last()?;
    Ok(last.map_or(genesis, |(height, row)| Tip { height: height.value(), hash: Hash(*row.value().0) }))
}

fn stored(transaction: &WriteTransaction, height: u64) -> Result<Option<Hash>, Fault> {
    Ok(transaction.open_table(BLOCKS)?.get(height)?.map(|row| Hash(*row.value().0)))
}

/// Entries go behind those of the same height; those of other heights go.
pub(super) fn append_wal(transaction: &WriteTransaction, request: &AppendWal) -> Written<Done> {
    if let Err(malformed) = form::append_wal(request) {
        return Ok(Err(malformed.into()));
    }
    let height = request.height;
    let mut meta = transaction.open_table(META)?;
    let newest = optional_number(&meta, META_WAL_HEIGHT)?;
    let mut wal = transaction.open_table(WAL)?;
    match newest {
        Some(newest) if newest > height => return Ok(Err(WriteRefusal::OldWal { height, newest })),
        Some(newest) if newest == height => {}
        _ => {
            wal.retain(|_, _| false)?;
            meta.insert(META_WAL_HEIGHT, height.to_le_bytes().as_slice())?;
        }
    }
    let first = wal.last()?.map_or(0, |(key, _)| key.value().1.saturating_add(1));
    let incoming = u64::try_from(request.entries.len()).unwrap_or(u64::MAX);
    if wal.len()?.saturating_add(incoming) > MAX_WAL_ENTRIES_PER_HEIGHT {
        return Ok(Err(WriteRefusal::WalFull(height)));
    }
    if !request.entries.is_empty() {
        // Whoever votes again has waited until it could not contradict what was lost.
        meta.remove(META_VOTES_LOST)?;
    }
    for (sequence, entry) in (first..).zip(&request.entries) {
        wal.insert((height, sequence), entry.as_slice())?;
    }
    Ok(Ok(Done {}))
}

/// Every document of the request or none.
pub(super) fn put_documents(transaction: &WriteTransaction, request: &PutDocuments) -> Written<Done> {
    if let Err(malformed) = form::put_documents(request) {
        return Ok(Err(malformed.into()));
    }
    let mut documents = transaction.open_table(DOCUMENTS)?;
    for document in &request.documents {
        let name = (document.owner.as_str(), document.key.as_str());
        if document.value.is_empty() {
            documents.remove(name)?;
        } else {
            documents.insert(name, document.value.as_slice())?;
        }
    }
    Ok(Ok(Done {}))
}
