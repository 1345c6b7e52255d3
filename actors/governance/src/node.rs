//! What the tasks of a governance node share, and the two things it does: approve and sign.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_cluster::telemetry::Steps;
use alys_peg::{Decision, Federation, PegInProof, Session};
use alys_proto::Cause;
use alys_proto::bridge::InputSignature;
use alys_proto::governance::{GovernanceApprovalRequest, Register, Signatures};
use alys_proto::stream::RequestFederationSignatures;
use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::SecretKey;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::GovernanceError;
use crate::config::Config;
use crate::core::payout::PayoutRequest;
use crate::core::refusal::Refusal;
use crate::core::replay::{Head, Replay};
use crate::core::session::{Answer, Work};
use crate::core::signed::SignedBook;
use crate::core::{deposit, payout};
use crate::io::bitcoin::Bitcoin;
use crate::io::key::{self, KeyError};
use crate::io::store::{Store, StoreError, signed_payout};
use crate::metrics::Counters;
use crate::show::Page;

/// How long a request waits for our own chain to catch up before it is answered "not yet".
const CATCH_UP: Duration = Duration::from_secs(3);

/// Everything that changes.
pub(crate) struct Books {
    pub(crate) replay: Replay,
    pub(crate) store: Store,
    pub(crate) signed: SignedBook,
    /// Why the replay does not go on, while it does not.
    pub(crate) stopped: Option<String>,
}

/// The node.
pub(crate) struct Node {
    pub(crate) config: Config,
    spec: ChainSpec,
    secret: SecretKey,
    public_key: [u8; 32],
    bitcoin: Bitcoin,
    pub(crate) books: Mutex<Books>,
    /// What was last seen in them.
    pub(crate) page: Mutex<Page>,
    head: watch::Sender<u64>,
    news: Notify,
    /// The highest head that the stream told of: until we are there, we are behind.
    pub(crate) told_head: AtomicU64,
    bitcoin_height: AtomicU32,
    /// Why it is not reachable; empty when it is.
    pub(crate) bitcoin_away: Mutex<String>,
    pub(crate) registered: AtomicBool,
    pub(crate) counters: Counters,
    steps: Mutex<Steps>,
    /// Whatever holds this node beside the caller of `run`: when it returns, the database is free.
    pub(crate) tasks: TaskTracker,
    ending: CancellationToken,
}

impl Node {
    /// Opens key and database, and folds what is stored.
    pub(crate) fn open(config: Config, spec: ChainSpec) -> Result<Self, GovernanceError> {
        let secret = key::load(&config.key_file)?;
        let public = key::public(&secret);
        let member = spec.federation.members.iter().find(|member| member.name == config.name);
        if member.is_none_or(|member| member.public_key.0 != public.serialize()) {
            let expected = member.map_or_else(|| "nobody".to_owned(), |member| hex::encode(member.public_key));
            return Err(KeyError::OtherMember { member: config.name, expected, found: public }.into());
        }
        let configuration = |cause: &dyn std::fmt::Display| GovernanceError::Configuration(cause.to_string());
        let federation = Federation::try_from(&spec).map_err(|cause| configuration(&cause))?;
        let mut replay = Replay::new(spec.clone()).map_err(|cause| configuration(&cause))?;
        let (store, found) = Store::open(&config.data_dir, *replay.head())?;
        if let Some(head) = found.head {
            let damaged = |cause: crate::core::replay::ReplayFault| StoreError::Damaged {
                file: config.data_dir.clone(),
                what: cause.to_string(),
            };
            replay.restore(head, &found.facts).map_err(damaged)?;
        }
        let head = replay.head().height;
        Ok(Self {
            bitcoin: Bitcoin::new(config.bitcoin.clone(), federation.network()),
            config,
            spec,
            secret,
            public_key: public.serialize(),
            books: Mutex::new(Books { replay, store, signed: found.signed, stopped: None }),
            page: Mutex::default(),
            head: watch::Sender::new(head),
            news: Notify::new(),
            told_head: AtomicU64::new(0),
            bitcoin_height: AtomicU32::new(0),
            bitcoin_away: Mutex::new("it was not asked yet".to_owned()),
            registered: AtomicBool::new(false),
            counters: Counters::default(),
            steps: Mutex::default(),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Our part of the record of a decision.
    pub(crate) fn sign_decision(&self, decision: Decision) -> Vec<u8> {
        let members = &self.spec.federation.members;
        let position = members.iter().position(|member| member.name == self.config.name).unwrap_or(members.len());
        decision.sign(&self.spec.domain(), position, &self.secret).encode()
    }

    pub(crate) fn register(&self, incarnation: u64) -> Register {
        Register {
            member: self.config.name.clone(),
            public_key: self.public_key.to_vec(),
            chain_id: self.spec.chain_id,
            genesis_hash: self.spec.genesis_hash().to_vec(),
            incarnation,
        }
    }

    /// Height of our own chain.
    pub(crate) fn head(&self) -> u64 {
        *self.head.borrow()
    }

    pub(crate) fn moved(&self, head: &Head) {
        self.head.send_replace(head.height);
    }

    /// Somebody says that there is a new block.
    pub(crate) fn news(&self) {
        self.news.notify_one();
    }

    /// Until somebody says so, or it is time to look anyway.
    pub(crate) async fn wait_for_news(&self) {
        let _looked_anyway = tokio::time::timeout(self.config.poll, self.news.notified()).await;
    }

    pub(crate) fn told_head(&self, height: u64) {
        self.told_head.fetch_max(height, Ordering::Relaxed);
    }

    pub(crate) fn set_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Relaxed);
    }

    pub(crate) fn set_dropped(&self, answers: u64) {
        self.counters.dropped.store(answers, Ordering::Relaxed);
    }

    /// A handler that panicked with the books in hand may have left them half changed: nothing is signed from them.
    pub(crate) fn books(&self) -> Result<MutexGuard<'_, Books>, Refusal> {
        self.books.lock().map_err(|_poisoned| Refusal::ReplayStopped("a task died while it held the books".to_owned()))
    }

    /// Asks bitcoind for its height, for heartbeats and metrics. 0 while it is away.
    pub(crate) async fn refresh_bitcoin_height(&self) {
        let height = self.bitcoin.height().await;
        let away = height.as_ref().err().map(ToString::to_string).unwrap_or_default();
        *self.bitcoin_away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        self.bitcoin_height.store(height.unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn bitcoin_height(&self) -> u32 {
        self.bitcoin_height.load(Ordering::Relaxed)
    }

    /// Runs a task of this node, to its end or to ours.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        self.tasks.spawn(async move {
            let _unfinished = ending.run_until_cancelled(task).await;
        });
    }

    /// Ends what was spawned, and waits for what writes.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Works on one request to its end.
    pub(crate) async fn work(self: Arc<Self>, work: Work) -> Answer {
        let signing = matches!(work, Work::Sign(_));
        let outcome = match work {
            Work::Approve(request) => self.approve(request).await.map(|()| Answer::Approved),
            Work::Sign(request) => self.clone().sign(request).await.map(Answer::Signed),
        };
        self.count(signing, &outcome);
        outcome.unwrap_or_else(Answer::Refused)
    }

    fn count(&self, signing: bool, outcome: &Result<Answer, Refusal>) {
        let counter = match outcome {
            Ok(_) if signing => &self.counters.signed,
            Ok(_) => &self.counters.approved,
            Err(refusal) => {
                tracing::info!(%refusal, retry = refusal.retry(), "refused");
                return self.counters.refused(signing, refusal);
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits a little until our own chain is as far as the stream says it is.
    async fn catch_up(&self, needed: u64) -> Result<(), Refusal> {
        let needed = needed.max(self.told_head.load(Ordering::Relaxed));
        let mut head = self.head.subscribe();
        let reached = tokio::time::timeout(CATCH_UP, head.wait_for(|head| *head >= needed)).await;
        if reached.is_ok() {
            return Ok(());
        }
        if let Some(why) = &self.books()?.stopped {
            return Err(Refusal::ReplayStopped(why.clone()));
        }
        Err(Refusal::ChainBehind { head: self.head(), needed })
    }

    async fn approve(&self, request: GovernanceApprovalRequest) -> Result<(), Refusal> {
        let proof = request.deposit.ok_or_else(|| Refusal::Malformed("no deposit".to_owned()))?;
        let claim = PegInProof::try_from(&proof).map_err(|cause| Refusal::Malformed(cause.to_string()))?;
        self.catch_up(0).await?;
        if self.books()?.replay.ledger().is_minted(&claim.outpoint) {
            return Err(Refusal::AlreadyMinted);
        }
        let evidence = self.bitcoin.deposit(&claim).await?;
        deposit::check(self.books()?.replay.ledger(), &claim, evidence.as_ref())?;
        let cause = Cause::deposit(claim.outpoint.txid.as_byte_array(), claim.outpoint.vout);
        self.step("approved", &cause, || {
            tracing::info!(outpoint = %claim.outpoint, value = %claim.value, recipient = %claim.recipient, "deposit approved");
        });
        Ok(())
    }

    /// A step in the trace of a deposit or burn, told once however often we are asked.
    fn step(&self, step: &'static str, cause: &Cause, tell: impl FnOnce()) {
        let first = self.steps.lock().unwrap_or_else(PoisonError::into_inner).first(step, "", cause);
        if let Some(span) = first {
            span.in_scope(tell);
        }
    }

    async fn sign(self: Arc<Self>, request: RequestFederationSignatures) -> Result<Signatures, Refusal> {
        let request = payout_request(&request)?;
        if let Some(signatures) = self.signed_before(&request.txid)? {
            return Ok(signatures);
        }
        self.catch_up(request.height).await?;
        let inputs = payout::check_recorded(&self.books()?.replay, &request)?;
        let evidence = self.bitcoin.inputs(&inputs).await?;
        // Writing to disk may take a while: not on a thread that others need.
        let tasks = self.tasks.clone();
        let signing = tasks.spawn_blocking(move || self.check_and_sign(&request, &evidence));
        signing.await.map_err(|died| Refusal::Signing(died.to_string()))?
    }

    fn signed_before(&self, txid: &Txid) -> Result<Option<Signatures>, Refusal> {
        let books = self.books()?;
        if !books.signed.contains(txid) {
            return Ok(None);
        }
        books.store.signatures(txid).map_err(|cause| Refusal::StoreFailed(cause.to_string()))
    }

    /// Under one lock: what is checked is what is signed, and what is signed is stored before anybody sees it [PEG-6].
    fn check_and_sign(&self, request: &PayoutRequest, evidence: &[Option<payout::InputEvidence>]) -> Result<Signatures, Refusal> {
        let mut books = self.books()?;
        payout::check_recorded(&books.replay, request)?;
        let ledger = books.replay.ledger();
        payout::check_inputs(ledger, &request.txid, evidence)?;
        let recorded = ledger.payout(&request.txid).ok_or(Refusal::PayoutUnknown)?.recorded.clone();
        let entry = signed_payout(&recorded);
        books.signed.check(&entry)?;
        let signing = |cause: alys_peg::SigningError| Refusal::Signing(cause.to_string());
        let session = Session::of(ledger, &request.txid).map_err(signing)?;
        let made = session.sign(&self.secret).map_err(signing)?;
        let signatures = Signatures {
            payout_txid: request.txid.to_byte_array().to_vec(),
            signatures: made.iter().map(InputSignature::from).collect(),
        };
        books.store.record_signed(&recorded, &signatures).map_err(|cause| Refusal::StoreFailed(cause.to_string()))?;
        books.signed.note(request.txid, entry);
        for burn in &recorded.burns {
            self.step("signed", &Cause::burn(burn.height, burn.log_index), || {
                tracing::info!(txid = %request.txid, inputs = made.len(), burns = recorded.burns.len(), "payout signed");
            });
        }
        Ok(signatures)
    }
}

fn payout_request(request: &RequestFederationSignatures) -> Result<PayoutRequest, Refusal> {
    let payout = request.payout.as_ref().ok_or_else(|| Refusal::Malformed("no payout".to_owned()))?;
    let txid = Txid::from_slice(&payout.txid).map_err(|_| Refusal::Malformed("txid".to_owned()))?;
    Ok(PayoutRequest { txid, transaction: payout.transaction.clone(), height: request.height })
}
