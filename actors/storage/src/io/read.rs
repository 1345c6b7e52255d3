//! Snapshot reads. Each opens its own read transaction, so it sees one committed state and disturbs nobody.

use alys_proto::common::{Burn, CommittedBlock};
use alys_proto::storage::{
    Blocks, Condition, Document, Documents, GetBlocks, GetDocuments, GetLedger, GetWal, Head, Ledger, LedgerFact, Wal,
};
use prost::Message as _;
use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::fault::Fault;
use super::open::{Store, number, optional_number};
use super::tables::{
    BLOCKS, BURNS, CERTIFICATES, DOCUMENTS, FACTS, HEIGHTS, META, META_FLOOR, META_SCHEMA, META_VOTES_LOST, WAL,
};
use crate::core::form::Hash;
use crate::core::limits::{MAX_BLOCKS_ANSWER, MAX_PAGE_BYTES, MAX_WHOLE_ANSWER_BYTES};

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadRefusal {
    /// A whole answer would not fit into one message.
    #[error("the answer is more than {MAX_WHOLE_ANSWER_BYTES} bytes: ask for pages, or for documents with a longer prefix")]
    TooLong,
    /// It was here and is not kept.
    #[error("block {asked} is pruned: this node serves blocks from {floor} on")]
    Pruned {
        /// The first that was asked for.
        asked: u64,
        /// The first that is here.
        floor: u64,
    },
}

/// An answer or why there is none, inside what says that the disk is at fault.
pub(crate) type Whole<T> = Result<Result<T, ReadRefusal>, Fault>;

impl Store {
    /// Height and hash of the last block; 0 and empty before the first.
    pub(crate) fn head(&self) -> Result<Head, Fault> {
        let blocks = self.db.begin_read()?.open_table(BLOCKS)?;
        let head = blocks.last()?.map(|(height, row)| Head { height: height.value(), hash: row.value().0.to_vec() });
        Ok(head.unwrap_or_default())
    }

    /// What the database says of itself.
    pub(crate) fn condition(&self) -> Result<Condition, Fault> {
        let meta = self.db.begin_read()?.open_table(META)?;
        Ok(Condition {
            schema: number(&meta, META_SCHEMA)?,
            votes_lost: meta.get(META_VOTES_LOST)?.is_some(),
            pruned_below: optional_number(&meta, META_FLOOR)?.unwrap_or(0),
        })
    }

    /// Consecutive blocks from a height on, within the bounds of an answer.
    pub(crate) fn blocks(&self, request: GetBlocks) -> Whole<Blocks> {
        let snapshot = self.db.begin_read()?;
        let mut answer = Blocks::default();
        let mut bytes = 0usize;
        let limit = usize::try_from(request.limit.min(MAX_BLOCKS_ANSWER)).unwrap_or(usize::MAX);
        // Genesis has no block, so reading from 0 is reading from 1.
        let mut height = request.from_height.max(1);
        let floor = floor(&snapshot)?;
        if height < floor {
            return Ok(Err(ReadRefusal::Pruned { asked: height, floor }));
        }
        while answer.blocks.len() < limit {
            let Some(block) = committed(&snapshot, height)? else { break };
            bytes = bytes.saturating_add(block.encoded_len());
            if bytes > MAX_PAGE_BYTES && !answer.blocks.is_empty() {
                break;
            }
            answer.blocks.push(block);
            let Some(next) = height.checked_add(1) else { break };
            height = next;
        }
        Ok(Ok(answer))
    }

    /// The block with this hash, or nothing.
    pub(crate) fn block_by_hash(&self, hash: Hash) -> Whole<Blocks> {
        let snapshot = self.db.begin_read()?;
        let Some(height) = snapshot.open_table(HEIGHTS)?.get(&hash.0)? else { return Ok(Ok(Blocks::default())) };
        let (asked, floor) = (height.value(), floor(&snapshot)?);
        if asked < floor {
            return Ok(Err(ReadRefusal::Pruned { asked, floor }));
        }
        let block = committed(&snapshot, asked)?;
        let block = block.ok_or_else(|| Fault::Damaged(format!("block {hash} is indexed but absent")))?;
        Ok(Ok(Blocks { blocks: vec![block] }))
    }

    /// Facts in order, with the head they are of: all of them, or a page of whole heights.
    pub(crate) fn ledger(&self, request: GetLedger) -> Whole<Ledger> {
        let snapshot = self.db.begin_read()?;
        let height = snapshot.open_table(BLOCKS)?.last()?.map_or(0, |(height, _)| height.value());
        let from = if request.paged { request.from_height } else { 0 };
        let mut answer = Ledger { height, ..Ledger::default() };
        let mut bytes = 0usize;
        for row in snapshot.open_table(FACTS)?.range((from, 0)..)? {
            let fact = LedgerFact::decode(row?.1.value())?;
            if !request.paged && bytes > MAX_WHOLE_ANSWER_BYTES {
                return Ok(Err(ReadRefusal::TooLong));
            }
            let begins_height = answer.facts.last().is_some_and(|last| last.height != fact.height);
            if request.paged && begins_height && bytes > MAX_PAGE_BYTES {
                answer.next_height = fact.height;
                break;
            }
            bytes = bytes.saturating_add(fact.encoded_len());
            answer.facts.push(fact);
        }
        Ok(Ok(answer))
    }

    /// The WAL entries of a height in the order they were appended: all of them, or a page.
    pub(crate) fn wal(&self, request: GetWal) -> Whole<Wal> {
        let from = if request.paged { request.from_entry } else { 0 };
        let mut answer = Wal::default();
        let mut bytes = 0usize;
        for row in self.db.begin_read()?.open_table(WAL)?.range((request.height, from)..=(request.height, u64::MAX))? {
            let (key, entry) = row?;
            let entry = entry.value().to_vec();
            bytes = bytes.saturating_add(entry.len());
            if !request.paged && bytes > MAX_WHOLE_ANSWER_BYTES {
                return Ok(Err(ReadRefusal::TooLong));
            }
            if request.paged && bytes > MAX_PAGE_BYTES && !answer.entries.is_empty() {
                answer.next_entry = key.value().1;
                break;
            }
            answer.entries.push(entry);
        }
        Ok(Ok(answer))
    }

    /// The documents of an owner whose key starts with a prefix, by key.
    pub(crate) fn documents(&self, request: &GetDocuments) -> Whole<Documents> {
        let mut answer = Documents::default();
        let mut bytes = 0usize;
        for row in self.db.begin_read()?.open_table(DOCUMENTS)?.range((request.owner.as_str(), request.prefix.as_str())..)? {
            let (name, value) = row?;
            let (owner, key) = name.value();
            if owner != request.owner || !key.starts_with(&request.prefix) {
                break;
            }
            let document = Document { owner: owner.to_owned(), key: key.to_owned(), value: value.value().to_vec() };
            bytes = bytes.saturating_add(document.encoded_len());
            if bytes > MAX_WHOLE_ANSWER_BYTES {
                return Ok(Err(ReadRefusal::TooLong));
            }
            answer.documents.push(document);
        }
        Ok(Ok(answer))
    }
}

/// The first block that is here whole.
fn floor(snapshot: &ReadTransaction) -> Result<u64, Fault> {
    Ok(optional_number(&snapshot.open_table(META)?, META_FLOOR)?.unwrap_or(1))
}

fn committed(snapshot: &ReadTransaction, height: u64) -> Result<Option<CommittedBlock>, Fault> {
    let Some(row) = snapshot.open_table(BLOCKS)?.get(height)? else { return Ok(None) };
    let (hash, _parent, block) = row.value();
    let certificate = snapshot.open_table(CERTIFICATES)?.get(height)?;
    let certificate = certificate.ok_or_else(|| Fault::Damaged(format!("the certificate of block {height} is absent")))?;
    let mut burns = Vec::new();
    for burn in snapshot.open_table(BURNS)?.range((height, 0)..=(height, u32::MAX))? {
        burns.push(Burn::decode(burn?.1.value())?);
    }
    Ok(Some(CommittedBlock {
        height,
        hash: hash.to_vec(),
        block: block.to_vec(),
        certificate: certificate.value().to_vec(),
        burns,
    }))
}
