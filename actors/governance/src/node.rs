//! What the tasks of a governance node share, and the two things it does: approve and sign.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_cluster::telemetry::Steps;
use alys_peg::{Federation, PegInProof, Session};
use alys_proto::Cause;
use alys_proto::bridge::InputSignature;
use alys_proto::governance::{GovernanceApprovalRequest, Register, Signatures};
use alys_proto::stream::RequestFederationSignatures;
use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::SecretKey;
use tokio::sync::{Notify, watch};

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

/// How long a request waits for our own chain to catch up before it is answered "not yet".
const CATCH_UP: Duration = Duration::from_secs(3);

/// Everything that changes.
pub(crate) struct Books {
    pub(crate) replay: Replay,
    pub(crate) store: Store,
    signed: SignedBook,
    /// Why the replay does not go on, while it does not.
    pub(crate) stopped: Option<String>,
}

/// Counts for the status.
#[derive(Default)]
struct Counters {
    approved: AtomicU64,
    signed: AtomicU64,
    refused: AtomicU64,
    last_refusal: Mutex<String>,
}

/// The node.
pub(crate) struct Node {
    pub(crate) config: Config,
    spec: ChainSpec,
    secret: SecretKey,
    public_key: [u8; 32],
    bitcoin: Bitcoin,
    books: Mutex<Books>,
    head: watch::Sender<u64>,
    news: Notify,
    /// The highest head that the stream told of: until we are there, we are behind.
    told_head: AtomicU64,
    bitcoin_height: AtomicU32,
    registered: AtomicU32,
    counters: Counters,
    steps: Mutex<Steps>,
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
            head: watch::Sender::new(head),
            news: Notify::new(),
            told_head: AtomicU64::new(0),
            bitcoin_height: AtomicU32::new(0),
            registered: AtomicU32::new(0),
            counters: Counters::default(),
            steps: Mutex::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
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
        self.registered.store(u32::from(registered), Ordering::Relaxed);
    }

    /// A handler that panicked with the books in hand may have left them half changed: nothing is signed from them.
    pub(crate) fn books(&self) -> Result<MutexGuard<'_, Books>, Refusal> {
        self.books.lock().map_err(|_poisoned| Refusal::ReplayStopped("a task died while it held the books".to_owned()))
    }

    /// Asks bitcoind for its height, for heartbeats. 0 while it is away.
    pub(crate) async fn refresh_bitcoin_height(&self) -> u32 {
        let height = self.bitcoin.height().await.unwrap_or_default();
        self.bitcoin_height.store(height, Ordering::Relaxed);
        height
    }

    pub(crate) fn bitcoin_height(&self) -> u32 {
        self.bitcoin_height.load(Ordering::Relaxed)
    }

    /// Works on one request to its end.
    pub(crate) async fn work(self: Arc<Self>, work: Work) -> Answer {
        let outcome = match work {
            Work::Approve(request) => self.approve(request).await.map(|()| Answer::Approved),
            Work::Sign(request) => self.clone().sign(request).await.map(Answer::Signed),
        };
        self.count(&outcome);
        outcome.unwrap_or_else(Answer::Refused)
    }

    fn count(&self, outcome: &Result<Answer, Refusal>) {
        let counter = match outcome {
            Ok(Answer::Approved) => &self.counters.approved,
            Ok(_) => &self.counters.signed,
            Err(refusal) => {
                tracing::info!(%refusal, retry = refusal.retry(), "refused");
                if let Ok(mut last) = self.counters.last_refusal.lock() {
                    *last = refusal.to_string();
                }
                &self.counters.refused
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
        let signing = tokio::task::spawn_blocking(move || self.check_and_sign(&request, &evidence));
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

    /// For people, as JSON.
    pub(crate) fn status(&self) -> serde_json::Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last_refusal = self.counters.last_refusal.lock().map(|last| last.clone()).unwrap_or_default();
        let books = match self.books() {
            Ok(books) => {
                let ledger = books.replay.ledger();
                serde_json::json!({
                    "head": books.replay.head(),
                    "stopped": books.stopped,
                    "supply": ledger.supply().to_string(),
                    "coins_held": ledger.coins_held().to_string(),
                    "payouts_in_flight": ledger.payouts_in_flight().count(),
                    "transactions_signed": books.signed.len(),
                })
            }
            Err(refusal) => serde_json::json!({ "stopped": refusal.to_string() }),
        };
        serde_json::json!({
            "member": self.config.name,
            "registered": self.registered.load(Ordering::Relaxed) == 1,
            "bitcoin_height": self.bitcoin_height(),
            "chain": books,
            "told_head": count(&self.told_head),
            "approved": count(&self.counters.approved),
            "signed": count(&self.counters.signed),
            "refused": count(&self.counters.refused),
            "last_refusal": last_refusal,
        })
    }
}

fn payout_request(request: &RequestFederationSignatures) -> Result<PayoutRequest, Refusal> {
    let payout = request.payout.as_ref().ok_or_else(|| Refusal::Malformed("no payout".to_owned()))?;
    let txid = Txid::from_slice(&payout.txid).map_err(|_| Refusal::Malformed("txid".to_owned()))?;
    Ok(PayoutRequest { txid, transaction: payout.transaction.clone(), height: request.height })
}
