//! The writer thread: takes what waits, writes it in one transaction, and answers when it is on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use alys_cluster::guard::panic_text;
use alys_cluster::metrics::Histogram;
use alys_proto::common::Done;
use alys_proto::storage::{AppendWal, CommitBlock, Head, PutDocuments};
use alys_proto::{Message, Refused, Reply};
use tokio::sync::mpsc;

use super::fault::Fault;
use super::open::Store;
use super::write::{self, WriteRefusal, Written};
use crate::core::batch::{BatchLimits, Batcher};
use crate::core::commit::CommitRefusal;
use crate::core::limits::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, MAX_QUEUED_WRITES};
use crate::metrics::commits;

/// A write and where its answer goes.
pub(crate) enum Job {
    /// A block.
    Commit(CommitBlock, Reply<Head>),
    /// Consensus WAL entries.
    Wal(AppendWal, Reply<Done>),
    /// Documents.
    Documents(PutDocuments, Reply<Done>),
}

/// What the writer has done since it started. Read by the status.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Height of the last committed block.
    pub(crate) head: AtomicU64,
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
            refuse(job, &Refused::NotReady("the database failed and storage is stopping".into()));
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
            batcher.push(size(&job), job);
        }
        while !batcher.is_full() {
            let Ok(job) = queue.try_recv() else { break };
            batcher.push(size(&job), job);
        }
        let batch = batcher.take();
        if let Err(fault) = write_batch(store, progress, batch) {
            let refused = Refused::Failed(fault.chain());
            queue.close();
            while !batcher.is_empty() {
                batcher.take().into_iter().for_each(|job| refuse(job, &refused));
            }
            while let Ok(job) = queue.try_recv() {
                refuse(job, &refused);
            }
            return Err(fault);
        }
    }
}

fn size(job: &Job) -> usize {
    match job {
        Job::Commit(request, _) => request.encoded_len(),
        Job::Wal(request, _) => request.encoded_len(),
        Job::Documents(request, _) => request.encoded_len(),
    }
}

fn refuse(job: Job, refused: &Refused) {
    match job {
        Job::Commit(_, reply) => reply.refuse(refused.clone()),
        Job::Wal(_, reply) | Job::Documents(_, reply) => reply.refuse(refused.clone()),
    }
}

/// An answer that waits for the disk.
enum Settled {
    Head(Reply<Head>, Result<Head, WriteRefusal>),
    Done(Reply<Done>, Result<(), WriteRefusal>),
}

impl Settled {
    fn refusal(&self) -> Option<&WriteRefusal> {
        match self {
            Self::Head(_, answer) => answer.as_ref().err(),
            Self::Done(_, answer) => answer.as_ref().err(),
        }
    }

    fn send(self) {
        match self {
            Self::Head(reply, answer) => reply.answer(answer.map_err(|refusal| refused(&refusal))),
            Self::Done(reply, answer) => reply.answer(answer.map(|()| Done {}).map_err(|refusal| refused(&refusal))),
        }
    }

    fn fail(self, refused: Refused) {
        match self {
            Self::Head(reply, _) => reply.refuse(refused),
            Self::Done(reply, _) => reply.refuse(refused),
        }
    }
}

fn refused(refusal: &WriteRefusal) -> Refused {
    match refusal {
        WriteRefusal::Malformed(_) => Refused::Malformed(refusal.to_string()),
        _ => Refused::Failed(refusal.to_string()),
    }
}

fn write_batch(store: &Store, progress: &Progress, batch: Vec<Job>) -> Result<(), Fault> {
    let mut settled = Vec::with_capacity(batch.len());
    let mut jobs = batch.into_iter();
    let began = Instant::now();
    let outcome = write_all(store, &mut jobs, &mut settled);
    if let Err(fault) = outcome {
        let refused = Refused::Failed(fault.chain());
        settled.into_iter().for_each(|answer| answer.fail(refused.clone()));
        jobs.for_each(|job| refuse(job, &refused));
        return Err(fault);
    }
    if settled.iter().any(|answer| answer.refusal().is_none()) {
        progress.transactions.fetch_add(1, Ordering::Relaxed);
        progress.commits.lock().unwrap_or_else(PoisonError::into_inner).observe(began.elapsed().as_secs_f64());
    }
    for answer in settled {
        count(progress, &answer);
        answer.send();
    }
    Ok(())
}

fn write_all(store: &Store, jobs: &mut impl Iterator<Item = Job>, settled: &mut Vec<Settled>) -> Result<(), Fault> {
    let mut transaction = store.db.begin_write()?;
    transaction.set_quick_repair(store.quick_repair);
    for job in jobs {
        match job {
            Job::Commit(request, reply) => {
                let answer = keep(write::commit_block(&transaction, store.chain, &request), reply)?;
                settled.push(Settled::Head(answer.0, answer.1));
            }
            Job::Wal(request, reply) => {
                let answer = keep(write::append_wal(&transaction, &request), reply)?;
                settled.push(Settled::Done(answer.0, answer.1));
            }
            Job::Documents(request, reply) => {
                let answer = keep(write::put_documents(&transaction, &request), reply)?;
                settled.push(Settled::Done(answer.0, answer.1));
            }
        }
    }
    if settled.iter().all(|answer| answer.refusal().is_some()) {
        transaction.abort()?;
    } else {
        transaction.commit()?;
    }
    Ok(())
}

/// Pairs an outcome with its reply; on a fault the asker of this very request is told too.
fn keep<T, R: Message>(written: Written<T>, reply: Reply<R>) -> Result<(Reply<R>, Result<T, WriteRefusal>), Fault> {
    match written {
        Ok(outcome) => Ok((reply, outcome)),
        Err(fault) => {
            reply.refuse(Refused::Failed(fault.chain()));
            Err(fault)
        }
    }
}

fn count(progress: &Progress, answer: &Settled) {
    if let Settled::Head(_, Ok(head)) = answer {
        progress.head.store(head.height, Ordering::Relaxed);
    }
    match answer.refusal() {
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
