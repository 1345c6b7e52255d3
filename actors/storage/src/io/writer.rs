//! The writer thread: takes what waits, writes it in one transaction, and answers when it is on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use alys_cluster::guard::panic_text;
use alys_cluster::metrics::Histogram;
use alys_proto::common::Done;
use alys_proto::storage::{AppendWal, CommitBlock, Head, LeaseVerdict, PutDocuments};
use alys_proto::{Message, Refused, Reply};
use redb::WriteTransaction;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::open::Store;
use super::prune;
use super::write::{self, WriteRefusal, Written};
use crate::core::batch::{BatchLimits, Batcher};
use crate::core::commit::CommitRefusal;
use crate::core::lease::{Holder, Incarnation, Stamp};
use crate::core::limits::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, MAX_QUEUED_WRITES};
use crate::metrics::commits;

/// A write, who asked for it, and where its answer goes.
pub(crate) struct Job {
    stamp: Stamp,
    bytes: usize,
    work: Box<dyn Work>,
}

/// What a job does inside a transaction.
trait Work: Send {
    fn write(self: Box<Self>, store: &Store, transaction: &WriteTransaction, stamp: Stamp) -> Result<Settled, Fault>;
    fn refuse(self: Box<Self>, refused: Refused);
}

struct Task<T, F> {
    reply: Reply<T>,
    /// Whether it is refused to a sender whose lease is not current.
    fenced: bool,
    write: F,
    written: fn(&T, &Progress),
}

impl Job {
    /// A write that only a sender with a current lease may ask for, if its role needs one.
    pub(crate) fn fenced<T, F>(stamp: Stamp, bytes: usize, reply: Reply<T>, write: F) -> Self
    where
        T: Message + 'static,
        F: FnOnce(&Store, &WriteTransaction) -> Written<T> + Send + 'static,
    {
        Self { stamp, bytes, work: Box::new(Task { reply, fenced: true, write, written: |_, _| {} }) }
    }

    /// A write for anybody.
    pub(crate) fn open<T, F>(stamp: Stamp, bytes: usize, reply: Reply<T>, write: F) -> Self
    where
        T: Message + 'static,
        F: FnOnce(&Store, &WriteTransaction) -> Written<T> + Send + 'static,
    {
        Self { stamp, bytes, work: Box::new(Task { reply, fenced: false, write, written: |_, _| {} }) }
    }

    /// Blocks that follow each other: all or none.
    pub(crate) fn commit(stamp: Stamp, requests: Vec<CommitBlock>, reply: Reply<Head>) -> Self {
        let bytes = requests.iter().map(|request| request.encoded_len()).fold(0, usize::saturating_add);
        let write = move |store: &Store, transaction: &WriteTransaction| {
            let committed = write::commit_blocks(transaction, store.chain, &requests)?;
            if let Ok(head) = &committed {
                // As often as there are blocks: pruning keeps up with them.
                for _ in &requests {
                    prune::advance(transaction, store.prune, store.chain.has_work, head.height)?;
                }
            }
            Ok(committed)
        };
        let written = |head: &Head, progress: &Progress| progress.head.store(head.height, Ordering::Relaxed);
        Self { stamp, bytes, work: Box::new(Task { reply, fenced: true, write, written }) }
    }

    /// Consensus WAL entries.
    pub(crate) fn wal(stamp: Stamp, request: AppendWal, reply: Reply<Done>) -> Self {
        Self::fenced(stamp, request.encoded_len(), reply, move |_, transaction| write::append_wal(transaction, &request))
    }

    /// Documents.
    pub(crate) fn documents(stamp: Stamp, request: PutDocuments, reply: Reply<Done>) -> Self {
        Self::fenced(stamp, request.encoded_len(), reply, move |_, transaction| write::put_documents(transaction, &request))
    }

    /// The lease of the sender's role, for this holder.
    pub(crate) fn acquire(stamp: Stamp, holder: Holder, gone: Option<Incarnation>, reply: Reply<LeaseVerdict>) -> Self {
        Self::open(stamp, 0, reply, move |store, transaction| {
            store.leases.acquire(transaction, stamp.role, &holder, gone).map(Ok)
        })
    }

    /// The sender gives its lease back.
    pub(crate) fn release(stamp: Stamp, reply: Reply<Done>) -> Self {
        Self::open(stamp, 0, reply, move |store, transaction| {
            let released = store.leases.release(transaction, stamp)?;
            Ok(released.map(|()| Done {}).map_err(WriteRefusal::from))
        })
    }

    fn refuse(self, refused: Refused) {
        self.work.refuse(refused);
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Message + 'static,
    F: FnOnce(&Store, &WriteTransaction) -> Written<T> + Send + 'static,
{
    fn write(self: Box<Self>, store: &Store, transaction: &WriteTransaction, stamp: Stamp) -> Result<Settled, Fault> {
        let Self { reply, fenced, write, written } = *self;
        let checked = if fenced { store.leases.check(stamp) } else { Ok(()) };
        let answer = match checked {
            Err(stale) => Ok(Err(WriteRefusal::from(stale))),
            Ok(()) => write(store, transaction),
        };
        match answer {
            Ok(Ok(answer)) => {
                let send = move |outcome: Result<&Progress, Refused>| match outcome {
                    Ok(progress) => {
                        written(&answer, progress);
                        reply.send(answer);
                    }
                    Err(refused) => reply.refuse(refused),
                };
                Ok(Settled { refusal: None, send: Box::new(send) })
            }
            Ok(Err(refusal)) => {
                let said = refused(&refusal);
                let send = move |outcome: Result<&Progress, Refused>| reply.refuse(outcome.err().unwrap_or(said));
                Ok(Settled { refusal: Some(refusal), send: Box::new(send) })
            }
            Err(fault) => {
                // The asker of this very request is told too.
                reply.refuse(Refused::Failed(fault.chain()));
                Err(fault)
            }
        }
    }

    fn refuse(self: Box<Self>, refused: Refused) {
        self.reply.refuse(refused);
    }
}

/// What the writer has done since it started. Read by the status.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Height of the last committed block.
    pub(crate) head: AtomicU64,
    /// First block that is kept whole; 0: nothing is pruned.
    pub(crate) pruned_below: AtomicU64,
    /// Requests written.
    pub(crate) writes: AtomicU64,
    /// Transactions they took: fewer than requests when many wait.
    pub(crate) transactions: AtomicU64,
    /// Requests refused with a reason.
    pub(crate) refused: AtomicU64,
    /// Other blocks offered for a committed height. Never zero again without a person.
    pub(crate) conflicts: AtomicU64,
    /// Time of transactions until they are on disk, seconds.
    pub(crate) commits: Mutex<Histogram>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            head: AtomicU64::default(),
            pruned_below: AtomicU64::default(),
            writes: AtomicU64::default(),
            transactions: AtomicU64::default(),
            refused: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            commits: Mutex::new(commits()),
        }
    }
}

/// The running thread.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. `on_fault` is called once, after the requests concerned were refused; the thread then ends.
    pub(crate) fn start(
        store: Arc<Store>,
        progress: Arc<Progress>,
        on_fault: impl FnOnce(Fault) + Send + 'static,
    ) -> Result<Self, Fault> {
        let (jobs, queue) = mpsc::channel(MAX_QUEUED_WRITES);
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&store, &progress, queue)));
            if let Err(fault) = outcome.unwrap_or_else(|panic| Err(Fault::Damaged(panic_text(&*panic)))) {
                on_fault(fault);
            }
        };
        let thread = std::thread::Builder::new().name("storage-writer".into()).spawn(run).map_err(Fault::from_io)?;
        Ok(Self { jobs, thread })
    }

    /// Queues a write; waits while the queue is full.
    pub(crate) async fn write(&self, job: Job) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job).await {
            job.refuse(Refused::NotReady("the database failed and storage is stopping".into()));
        }
    }

    /// Writes what is queued and ends the thread. Blocks.
    pub(crate) fn stop(self) {
        drop(self.jobs);
        // A panic of the thread has been reported through `on_fault`.
        let _ended = self.thread.join();
    }
}

fn run(store: &Store, progress: &Progress, mut queue: mpsc::Receiver<Job>) -> Result<(), Fault> {
    let mut batcher = Batcher::new(BatchLimits { requests: MAX_BATCH_REQUESTS, bytes: MAX_BATCH_BYTES });
    loop {
        if batcher.is_empty() {
            let Some(job) = queue.blocking_recv() else { return Ok(()) };
            batcher.push(job.bytes, job);
        }
        while !batcher.is_full() {
            let Ok(job) = queue.try_recv() else { break };
            batcher.push(job.bytes, job);
        }
        let batch = batcher.take();
        if let Err(fault) = write_batch(store, progress, batch) {
            let refused = Refused::Failed(fault.chain());
            queue.close();
            while !batcher.is_empty() {
                batcher.take().into_iter().for_each(|job| job.refuse(refused.clone()));
            }
            while let Ok(job) = queue.try_recv() {
                job.refuse(refused.clone());
            }
            return Err(fault);
        }
    }
}

/// Tells whoever waits what became of a job.
type Told = Box<dyn FnOnce(Result<&Progress, Refused>)>;

/// An answer that waits for the disk.
struct Settled {
    refusal: Option<WriteRefusal>,
    send: Told,
}

fn refused(refusal: &WriteRefusal) -> Refused {
    match refusal {
        WriteRefusal::Malformed(_) => Refused::Malformed(refusal.to_string()),
        WriteRefusal::OutboxFull(_) => Refused::Busy(refusal.to_string()),
        WriteRefusal::Fenced(_) => Refused::Fenced(refusal.to_string()),
        _ => Refused::Failed(refusal.to_string()),
    }
}

fn write_batch(store: &Store, progress: &Progress, batch: Vec<Job>) -> Result<(), Fault> {
    let mut settled = Vec::with_capacity(batch.len());
    let mut jobs = batch.into_iter();
    let began = Instant::now();
    let outcome = write_all(store, &mut jobs, &mut settled);
    if let Ok(Some(floor)) = outcome {
        progress.pruned_below.store(floor, Ordering::Relaxed);
    }
    if let Err(fault) = outcome {
        let refused = Refused::Failed(fault.chain());
        settled.into_iter().for_each(|answer| (answer.send)(Err(refused.clone())));
        jobs.for_each(|job| job.refuse(refused.clone()));
        return Err(fault);
    }
    if settled.iter().any(|answer| answer.refusal.is_none()) {
        progress.transactions.fetch_add(1, Ordering::Relaxed);
        progress.commits.lock().unwrap_or_else(PoisonError::into_inner).observe(began.elapsed().as_secs_f64());
    }
    for answer in settled {
        count(progress, answer.refusal.as_ref());
        (answer.send)(Ok(progress));
    }
    Ok(())
}

/// The floor, if blocks are pruned.
fn write_all(store: &Store, jobs: &mut impl Iterator<Item = Job>, settled: &mut Vec<Settled>) -> Result<Option<u64>, Fault> {
    let mut transaction = store.db.begin_write()?;
    transaction.set_quick_repair(store.quick_repair);
    for job in jobs {
        settled.push(job.work.write(store, &transaction, job.stamp)?);
    }
    if settled.iter().all(|answer| answer.refusal.is_some()) {
        transaction.abort()?;
        return Ok(None);
    }
    let floor = prune::floor(&transaction)?;
    transaction.commit()?;
    Ok(floor)
}

fn count(progress: &Progress, refusal: Option<&WriteRefusal>) {
    match refusal {
        None => progress.writes.fetch_add(1, Ordering::Relaxed),
        Some(refusal) => {
            if let WriteRefusal::Commit(CommitRefusal::Conflict { .. }) = refusal {
                tracing::error!(%refusal, "two blocks for one height");
                progress.conflicts.fetch_add(1, Ordering::Relaxed);
            }
            progress.refused.fetch_add(1, Ordering::Relaxed)
        }
    };
}
