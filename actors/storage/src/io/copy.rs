//! Copies every table of a snapshot into another database, row by row.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{Database, Key, ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, Value};

use super::backup::BackupFault;
use super::fault::Fault;
use super::tables::{
    BLOCKS, BURNS, CERTIFICATES, DEATHS, DOCUMENTS, FACTS, HANDLED, HEIGHTS, LEASES, LETTER_BODIES, LETTERS, META, OUTBOX, WAL,
};

/// Bytes of one transaction of the copy: what memory holds, and what one fsync beside the writer's costs.
const CHUNK_BYTES: usize = 8 << 20;

/// How far a backup is, and the wish to stop it.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Meter {
    /// Rows that are copied, and rows there are.
    pub fn rows(&self) -> (u64, u64) {
        (self.rows.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Ends the copy before its next transaction.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Copies everything.
pub(super) fn copy_tables(from: &ReadTransaction, to: &Database, meter: &Meter) -> Result<(), BackupFault> {
    let copy = Copy { from, to, meter };
    let count = |rows: Result<u64, redb::StorageError>| rows.map_err(Fault::from);
    for rows in [
        count(copy.from.open_table(BLOCKS).map_err(Fault::from)?.len())?,
        count(copy.from.open_table(FACTS).map_err(Fault::from)?.len())?,
        count(copy.from.open_table(BURNS).map_err(Fault::from)?.len())?,
        count(copy.from.open_table(HEIGHTS).map_err(Fault::from)?.len())?,
        count(copy.from.open_table(CERTIFICATES).map_err(Fault::from)?.len())?,
    ] {
        meter.total.fetch_add(rows, Ordering::Relaxed);
    }
    copy.table(BLOCKS, true)?;
    copy.table(HEIGHTS, true)?;
    copy.table(CERTIFICATES, true)?;
    copy.table(BURNS, true)?;
    copy.table(FACTS, true)?;
    // Their rows are few, or go as quickly as they come: they are not part of the progress.
    copy.table(WAL, false)?;
    copy.table(DOCUMENTS, false)?;
    copy.table(LEASES, false)?;
    copy.table(OUTBOX, false)?;
    copy.table(HANDLED, false)?;
    copy.table(DEATHS, false)?;
    copy.table(LETTERS, false)?;
    copy.table(LETTER_BODIES, false)?;
    // Last: a file without it is no database of ours.
    copy.table(META, false)
}

struct Copy<'a> {
    from: &'a ReadTransaction,
    to: &'a Database,
    meter: &'a Meter,
}

impl Copy<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'static, K, V>,
        counts: bool,
    ) -> Result<(), BackupFault> {
        let source = self.from.open_table(definition).map_err(Fault::from)?;
        let mut rows = source.iter().map_err(Fault::from)?;
        loop {
            if self.meter.is_cancelled() {
                return Err(BackupFault::Cancelled);
            }
            if self.chunk(definition, &mut rows, counts)? {
                return Ok(());
            }
        }
    }

    /// Whether these were the last rows.
    fn chunk<'r, K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'static, K, V>,
        rows: &mut redb::Range<'r, K, V>,
        counts: bool,
    ) -> Result<bool, Fault> {
        let transaction = self.to.begin_write()?;
        let mut bytes = 0usize;
        let mut ended = true;
        {
            let mut target = transaction.open_table(definition)?;
            for row in rows.by_ref() {
                let (key, value) = row?;
                let (key, value) = (key.value(), value.value());
                bytes = bytes.saturating_add(K::as_bytes(&key).as_ref().len()).saturating_add(V::as_bytes(&value).as_ref().len());
                target.insert(key, value)?;
                if counts {
                    self.meter.rows.fetch_add(1, Ordering::Relaxed);
                }
                if bytes >= CHUNK_BYTES {
                    ended = false;
                    break;
                }
            }
        }
        transaction.commit()?;
        Ok(ended)
    }
}
