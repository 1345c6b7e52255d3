//! The leases of this storage: the book in memory with its clock, and its rows on disk.
//!
//! A renewal changes memory only, so it waits for no disk. A grant and a release are written by the writer thread, in
//! order with the writes that they fence: what the old holder has queued before a grant is written before it, what comes
//! behind it is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alys_proto::storage::{Lease as Row, LeaseVerdict, Leases as Shown};
use alys_proto::{Message as _, Role};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, WriteTransaction};

use super::fault::Fault;
use super::tables::LEASES;
use crate::core::lease::{Book, Holder, Incarnation, Lease, Moment, Stale, Stamp, Verdict};

/// Shared by the role's handler and its writer thread.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    book: Arc<Mutex<Book>>,
    started: Instant,
    fenced: Arc<AtomicU64>,
}

impl Leases {
    /// Reads what the last run left.
    pub(super) fn restore(db: &Database) -> Result<Self, Fault> {
        let mut rows = Vec::new();
        let transaction = db.begin_read()?;
        for row in transaction.open_table(LEASES)?.iter()? {
            rows.push(from_row(&Row::decode(row?.1.value())?)?);
        }
        let book = Arc::new(Mutex::new(Book::restore(rows, Moment::ZERO)));
        Ok(Self { book, started: Instant::now(), fenced: Arc::default() })
    }

    /// The answer to an asker that does not get it; `None` when it would.
    pub(crate) fn refusal(&self, role: Role, asker: &Holder, gone: Option<Incarnation>) -> Option<LeaseVerdict> {
        let now = self.now();
        match self.book().judge(role, asker, gone, now) {
            Verdict::Held(lease) => Some(answer(role, &lease, now, false)),
            Verdict::Granted(_) => None,
        }
    }

    pub(super) fn acquire(
        &self,
        transaction: &WriteTransaction,
        role: Role,
        asker: &Holder,
        gone: Option<Incarnation>,
    ) -> Result<LeaseVerdict, Fault> {
        let now = self.now();
        let verdict = self.book().acquire(role, asker, gone, now);
        match verdict {
            Verdict::Held(lease) => Ok(answer(role, &lease, now, false)),
            Verdict::Granted(lease) => {
                write(transaction, role, &lease)?;
                tracing::info!(%role, instance = lease.holder.instance, epoch = lease.epoch, "lease granted");
                Ok(answer(role, &lease, now, true))
            }
        }
    }

    pub(super) fn release(&self, transaction: &WriteTransaction, stamp: Stamp) -> Result<Result<(), Stale>, Fault> {
        let released = self.book().release(stamp);
        match released {
            Ok(lease) => {
                write(transaction, stamp.role, &lease)?;
                tracing::info!(role = %stamp.role, epoch = lease.epoch, "lease released");
                Ok(Ok(()))
            }
            Err(stale) => Ok(Err(stale)),
        }
    }

    pub(crate) fn renew(&self, stamp: Stamp) -> Result<(), Stale> {
        let now = self.now();
        self.book().renew(stamp, now)
    }

    /// Whether this sender's write may be written.
    pub(super) fn check(&self, stamp: Stamp) -> Result<(), Stale> {
        self.book().check(stamp).inspect_err(|stale| {
            self.fenced.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%stale, "refused a write");
        })
    }

    /// For people.
    pub(crate) fn show(&self) -> Shown {
        let now = self.now();
        let leases = self.book().iter().map(|(role, lease)| to_row(role, lease, lease.remaining(now))).collect();
        Shown { leases, fenced_writes: self.fenced() }
    }

    /// Writes refused since the start.
    pub(crate) fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Each change of the book is one assignment: a panic leaves it whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(role: Role, lease: &Lease, now: Moment, granted: bool) -> LeaseVerdict {
    LeaseVerdict { granted, lease: Some(to_row(role, lease, lease.remaining(now))) }
}

fn write(transaction: &WriteTransaction, role: Role, lease: &Lease) -> Result<(), Fault> {
    let row = to_row(role, lease, Duration::ZERO).encode_to_vec();
    transaction.open_table(LEASES)?.insert(i32::from(role), row.as_slice())?;
    Ok(())
}

fn to_row(role: Role, lease: &Lease, remaining: Duration) -> Row {
    Row {
        role: role.into(),
        instance: lease.holder.instance.clone(),
        incarnation: lease.holder.incarnation.to_vec(),
        epoch: lease.epoch,
        term_millis: millis(lease.holder.term),
        process: Some(lease.holder.process.clone()),
        released: lease.released,
        remaining_millis: millis(remaining),
    }
}

fn from_row(row: &Row) -> Result<(Role, Lease), Fault> {
    let damaged = |what: &str| Fault::Damaged(format!("a lease's {what} is malformed"));
    let role = Role::try_from(row.role).map_err(|_| damaged("role"))?;
    let holder = Holder {
        instance: row.instance.clone(),
        incarnation: row.incarnation.as_slice().try_into().map_err(|_| damaged("incarnation"))?,
        process: row.process.clone().unwrap_or_default(),
        term: Duration::from_millis(row.term_millis),
    };
    Ok((role, Lease { holder, epoch: row.epoch, released: row.released, until: Moment::ZERO }))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
