//! The shell: writes go to the writer thread, reads to blocking threads; neither keeps the mailbox waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Cx, LocalSender, RoleActor, RoleMetrics, Status};
use alys_proto::common::Done;
use alys_proto::storage::{AcquireLease, Inbox, LeaseVerdict, RenewLease};
use alys_proto::{Message, Refused, Reply};
use tokio::sync::Semaphore;

use crate::backups::Backups;
use crate::config::Config;
use crate::core::commit::ChainId;
use crate::core::form;
use crate::core::lease::Stamp;
use crate::core::limits::{MAX_QUEUED_READS, MIN_KEEP};
use crate::io::{DATABASE_FILE, Fault, Job, Progress, Store, Writer, letters, outbox};
use crate::metrics::Source;

/// The storage role.
pub struct StorageActor {
    config: Config,
    chain: ChainId,
    progress: Arc<Progress>,
    /// One permit per read that waits or runs.
    waiting_reads: Arc<Semaphore>,
    /// One permit per read that runs.
    running_reads: Arc<Semaphore>,
    backups: Backups,
    open: Option<Open>,
}

struct Open {
    store: Arc<Store>,
    writer: Writer,
}

/// What storage tells itself.
#[derive(Debug)]
pub enum Local {
    /// The writer thread or a read met a fault: the role cannot go on.
    Faulted(Fault),
}

impl StorageActor {
    /// A role that has not opened its database yet.
    pub fn new(config: Config, spec: &ChainSpec) -> Result<Self, ActorError> {
        let readers = usize::try_from(config.max_reads).unwrap_or(usize::MAX);
        if readers == 0 || readers > MAX_QUEUED_READS {
            return Err(ActorError::Configuration(format!("storage.max_reads must be between 1 and {MAX_QUEUED_READS}")));
        }
        if config.prune.keep.is_some_and(|keep| keep < MIN_KEEP) {
            return Err(ActorError::Configuration(format!("storage.prune.keep must be at least {MIN_KEEP}, or absent")));
        }
        Ok(Self {
            chain: ChainId::of(spec),
            progress: Arc::default(),
            waiting_reads: Arc::new(Semaphore::new(MAX_QUEUED_READS)),
            running_reads: Arc::new(Semaphore::new(readers)),
            backups: Backups::default(),
            open: None,
            config,
        })
    }

    fn path(&self) -> PathBuf {
        self.config.data_dir.join(DATABASE_FILE)
    }

    async fn write(&self, job: Job) {
        // Absent only before `start` and after `stop`; dropping the job then refuses it.
        if let Some(open) = &self.open {
            open.writer.write(job).await;
        }
    }

    /// Who does not get the lease waits for no disk; who gets it is answered when it is written.
    async fn acquire(&self, stamp: Stamp, request: &AcquireLease, reply: Reply<LeaseVerdict>) {
        let Some(open) = &self.open else { return };
        match form::acquire_lease(stamp, request) {
            Err(malformed) => reply.refuse(Refused::Malformed(malformed.to_string())),
            Ok((holder, gone)) => match open.store.leases.refusal(stamp.role, &holder, gone) {
                Some(held) => reply.send(held),
                None => open.writer.write(Job::acquire(stamp, holder, gone, reply)).await,
            },
        }
    }

    fn renew(&self, stamp: Stamp, request: &RenewLease, reply: Reply<Done>) {
        let Some(open) = &self.open else { return };
        let renewed = open.store.leases.renew(Stamp { epoch: request.epoch, ..stamp });
        reply.answer(renewed.map(|()| Done {}).map_err(|stale| Refused::Fenced(stale.to_string())));
    }

    /// Runs a read on a blocking thread and answers from there.
    fn read<T, F>(&self, cx: &Cx<Self>, reply: Reply<T>, read: F)
    where
        T: Message + 'static,
        F: FnOnce(&Store) -> Result<Result<T, Refused>, Fault> + Send + 'static,
    {
        let Some(open) = &self.open else { return };
        let Ok(waiting) = self.waiting_reads.clone().try_acquire_owned() else {
            reply.refuse(Refused::Busy(format!("{MAX_QUEUED_READS} reads are waiting")));
            return;
        };
        let store = open.store.clone();
        let running = self.running_reads.clone();
        let faults: LocalSender<Local> = cx.local().clone();
        tokio::spawn(async move {
            let _waiting = waiting;
            // Nobody closes the semaphore, so there is always a permit to come.
            let _running = running.acquire_owned().await;
            let outcome = tokio::task::spawn_blocking(move || read(&store)).await;
            match outcome.unwrap_or_else(|died| Err(Fault::Damaged(format!("a read died: {died}")))) {
                Ok(answer) => reply.answer(answer),
                Err(fault) => {
                    reply.refuse(Refused::Failed(fault.to_string()));
                    faults.send(Local::Faulted(fault));
                }
            }
        });
    }

    fn handle_read(&mut self, cx: &Cx<Self>, message: Inbox) {
        let refused = |refusal: crate::io::ReadRefusal| Refused::Failed(refusal.to_string());
        match message {
            Inbox::GetHead(_, reply) => self.read(cx, reply, |store| store.head().map(Ok)),
            Inbox::GetCondition(_, reply) => self.read(cx, reply, |store| store.condition().map(Ok)),
            Inbox::StartBackup(request, reply) => {
                if let Some(open) = &self.open {
                    reply.answer(self.backups.start(&open.store, request.folder.into()));
                }
            }
            Inbox::GetBackup(_, reply) => reply.send(self.backups.show()),
            Inbox::GetLeases(_, reply) => {
                if let Some(open) = &self.open {
                    reply.send(open.store.leases.show());
                }
            }
            Inbox::GetPosted(_, reply) => {
                let role = cx.sender().sender;
                self.read(cx, reply, move |store| store.posted(role).map(Ok));
            }
            Inbox::GetHandled(_, reply) => {
                let role = cx.sender().sender;
                self.read(cx, reply, move |store| store.handled(role).map(Ok));
            }
            Inbox::ListDeadLetters(request, reply) => self.read(cx, reply, move |store| store.letters(&request).map(Ok)),
            Inbox::TakeRequeued(_, reply) => {
                let role = cx.sender().sender;
                self.read(cx, reply, move |store| store.requeued(role).map(Ok));
            }
            Inbox::GetDeadLetter(request, reply) => self.read(cx, reply, move |store| {
                let none = || Refused::Failed(format!("there is no dead letter {}", request.id));
                Ok(store.letter(request.id)?.ok_or_else(none))
            }),
            Inbox::GetBlocks(request, reply) => self.read(cx, reply, move |store| Ok(store.blocks(request)?.map_err(refused))),
            Inbox::GetBlockByHash(request, reply) => match form::hash("block hash", &request.hash) {
                Ok(hash) => self.read(cx, reply, move |store| Ok(store.block_by_hash(hash)?.map_err(refused))),
                Err(malformed) => reply.refuse(Refused::Malformed(malformed.to_string())),
            },
            Inbox::GetWal(request, reply) => self.read(cx, reply, move |store| Ok(store.wal(request)?.map_err(refused))),
            Inbox::GetLedger(request, reply) => self.read(cx, reply, move |store| Ok(store.ledger(request)?.map_err(refused))),
            Inbox::GetDocuments(request, reply) => match form::get_documents(&request) {
                Ok(()) => self.read(cx, reply, move |store| Ok(store.documents(&request)?.map_err(refused))),
                Err(malformed) => reply.refuse(Refused::Malformed(malformed.to_string())),
            },
            // `handle` has taken them.
            _ => {}
        }
    }
}

impl RoleActor for StorageActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let (config, chain) = (self.config.clone(), self.chain);
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&config, chain)?;
            let (head, condition) = (store.head()?, store.condition()?);
            Ok((store, head, condition))
        });
        let opened = opened.await.unwrap_or_else(|died| Err(Fault::Damaged(format!("opening died: {died}"))));
        let (store, head, condition) = opened.map_err(|fault| fault.at_start(&self.path()))?;
        self.progress.head.store(head.height, Ordering::Relaxed);
        self.progress.pruned_below.store(condition.pruned_below, Ordering::Relaxed);
        let store = Arc::new(store);
        let faults = cx.local().clone();
        let writer = Writer::start(store.clone(), self.progress.clone(), move |fault| faults.send(Local::Faulted(fault)));
        let writer = writer.map_err(|fault| fault.to_actor_error(&self.path()))?;
        tracing::info!(path = %self.path().display(), height = head.height, "database open");
        self.open = Some(Open { store, writer });
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        let stamp = form::stamp(cx.sender());
        match message {
            Inbox::CommitBlock(request, reply) => self.write(Job::commit(stamp, vec![request], reply)).await,
            Inbox::CommitBlocks(request, reply) => self.write(Job::commit(stamp, request.blocks, reply)).await,
            Inbox::AppendWal(request, reply) => self.write(Job::wal(stamp, request, reply)).await,
            Inbox::PutDocuments(request, reply) => match form::owned(stamp.role, &request) {
                Ok(()) => self.write(Job::documents(stamp, request, reply)).await,
                Err(refused) => reply.refuse(refused),
            },
            Inbox::AcquireLease(request, reply) => self.acquire(stamp, &request, reply).await,
            Inbox::RenewLease(request, reply) => self.renew(stamp, &request, reply),
            Inbox::ReleaseLease(request, reply) => {
                self.write(Job::release(Stamp { epoch: request.epoch, ..stamp }, reply)).await;
            }
            Inbox::PostMessage(request, reply) => {
                let bytes = request.encoded_len();
                self.write(Job::fenced(stamp, bytes, reply, move |_, disk| outbox::post(disk, stamp.role, request))).await;
            }
            Inbox::ClearPosted(request, reply) => {
                let bytes = request.encoded_len();
                self.write(Job::fenced(stamp, bytes, reply, move |_, disk| outbox::clear(disk, stamp.role, request))).await;
            }
            Inbox::MarkHandled(request, reply) => {
                self.write(Job::fenced(stamp, 0, reply, move |_, disk| outbox::mark(disk, stamp.role, &request))).await;
            }
            Inbox::ReportDeath(request, reply) => {
                let bytes = request.encoded_len();
                self.write(Job::open(stamp, bytes, reply, move |_, disk| letters::report(disk, request))).await;
            }
            Inbox::AddDeadLetter(request, reply) => {
                let bytes = request.encoded_len();
                self.write(Job::fenced(stamp, bytes, reply, move |_, disk| letters::add(disk, request))).await;
            }
            Inbox::RequeueDeadLetter(request, reply) => {
                self.write(Job::open(stamp, 0, reply, move |_, disk| letters::requeue(disk, &request))).await;
            }
            Inbox::DropDeadLetter(request, reply) => {
                self.write(Job::open(stamp, 0, reply, move |_, disk| letters::remove(disk, &request))).await;
            }
            read => self.handle_read(cx, read),
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        let Local::Faulted(fault) = message;
        Err(fault.to_actor_error(&self.path()))
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        let Some(open) = self.open.take() else { return };
        let backup = self.backups.cancel();
        // Reads that still run hold the store; it closes with the last of them.
        let closed = tokio::task::spawn_blocking(move || {
            open.writer.stop();
            if let Some(backup) = backup {
                // What went wrong with it has been said.
                let _ended = backup.join();
            }
            Arc::into_inner(open.store).map_or(Ok(()), Store::close)
        });
        match closed.await {
            Ok(Ok(())) => tracing::info!("database closed"),
            Ok(Err(fault)) => tracing::warn!(fault = %fault, "database closed with a fault"),
            Err(died) => tracing::warn!(%died, "closing the database died"),
        }
    }

    fn status(&self) -> Status {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed).to_string();
        let progress = &self.progress;
        let fields = vec![
            ("head", read(&progress.head)),
            ("pruned_below", read(&progress.pruned_below)),
            ("writes", read(&progress.writes)),
            ("transactions", read(&progress.transactions)),
            ("refused", read(&progress.refused)),
            ("conflicts", read(&progress.conflicts)),
            ("fenced", self.open.as_ref().map_or(0, |open| open.store.leases.fenced()).to_string()),
            ("reads_waiting", (MAX_QUEUED_READS.saturating_sub(self.waiting_reads.available_permits())).to_string()),
        ];
        if progress.conflicts.load(Ordering::Relaxed) > 0 {
            return Status::degraded("another block was offered for a committed height: see the log".into(), fields);
        }
        Status::ready(fields)
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        Some(Box::new(Source {
            progress: self.progress.clone(),
            waiting_reads: self.waiting_reads.clone(),
            database: self.path(),
        }))
    }
}
