//! The queue in which effects leave. One task carries them out in order, and waits at each `Persist` until storage has
//! it: nothing is announced, acknowledged or broadcast on the strength of what could be lost.
//!
//! Questions to bitcoind and chain are asked in tasks of their own; their answers come back as [`Local`] messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alys_cluster::{Lease, LocalSender};
use alys_proto::bridge::SignatureVerdict;
use alys_proto::storage::PutDocuments;
use alys_proto::{Reply, chain, common, storage, stream};
use bitcoin::Txid;
use bitcoin::hashes::Hash;
use tokio::sync::{Semaphore, mpsc};

use crate::actor::{Local, Peers};
use crate::config::Config;
use crate::core::documents::Document;
use crate::core::effect::Signable;
use crate::core::{BlockRef, Effect};
use crate::io::bitcoind::{Accepted, Bitcoind};
use crate::io::error::BitcoindError;
use crate::io::follower;
use crate::io::wallet::FederationWallet;
use crate::load;

/// The role's name as owner of documents.
pub const OWNER: &str = "bridge";
/// Questions to chain under way at the same time. What finds no place is repeated by the core.
const MOST_QUESTIONS: usize = 16;
/// Transactions that are looked for in the mempool at the same time. What finds no place is seen in its block.
const MOST_LOOK_UPS: usize = 16;
/// How often, and after which wait again.
const LOOK_UPS: u32 = 10;
const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);
/// Waits between two attempts to reach storage.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// An effect, with the reply port of the question that it answers.
pub struct Outgoing {
    /// What to do.
    pub effect: Effect,
    /// For [`Effect::Answer`].
    pub reply: Option<Reply<SignatureVerdict>>,
}

/// The queue's entrance.
#[derive(Clone)]
pub struct Outbox {
    sender: mpsc::UnboundedSender<Outgoing>,
    backlog: Arc<AtomicUsize>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// What the queue's task works with.
pub struct Door {
    /// The configuration.
    pub config: Config,
    /// Our Bitcoin node.
    pub bitcoind: Arc<Bitcoind>,
    /// The other roles.
    pub peers: Peers,
    /// The wallet.
    pub wallet: FederationWallet,
    /// Where answers go.
    pub local: LocalSender<Local>,
    /// Whether this process may act on Bitcoin.
    pub lease: Lease,
}

impl Outbox {
    /// Starts the task. It ends when the last entrance is dropped.
    pub fn start(door: Door) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (backlog, trouble) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let runner = Runner {
            door,
            backlog: backlog.clone(),
            trouble: trouble.clone(),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            look_ups: Arc::new(Semaphore::new(MOST_LOOK_UPS)),
        };
        tokio::spawn(runner.run(receiver));
        Self { sender, backlog, trouble }
    }

    /// Queues an effect.
    pub fn push(&self, outgoing: Outgoing) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        // The task ends with the process only.
        let _task_gone = self.sender.send(outgoing);
    }

    /// How many effects wait.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Why nothing leaves, if nothing does.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Runner {
    door: Door,
    backlog: Arc<AtomicUsize>,
    trouble: Arc<Mutex<Option<String>>>,
    questions: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
}

impl Runner {
    async fn run(self, mut receiver: mpsc::UnboundedReceiver<Outgoing>) {
        while let Some(Outgoing { effect, reply }) = receiver.recv().await {
            match effect {
                Effect::Persist(documents) => self.persist(documents).await,
                Effect::Answer { accepted, complete, reason, .. } => {
                    if let Some(reply) = reply {
                        reply.send(SignatureVerdict { accepted, complete, reason });
                    }
                }
                Effect::SigningFinished(txid) => self.finished(txid).await,
                other => self.carry_out(other),
            }
            self.backlog.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn persist(&self, documents: Vec<Document>) {
        let documents: Vec<storage::Document> = documents
            .into_iter()
            .map(|document| storage::Document {
                owner: OWNER.into(),
                key: document.key,
                value: document.value.unwrap_or_default(),
            })
            .collect();
        let mut wait = FIRST_RETRY;
        while let Err(refused) = self.door.peers.storage.ask(PutDocuments { documents: documents.clone() }).await {
            tracing::warn!(%refused, documents = documents.len(), "storage does not take bridge's documents; trying again");
            self.set_trouble(Some(format!("storage does not take bridge's documents: {refused}")));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_RETRY);
        }
        self.set_trouble(None);
    }

    /// Said once: nothing repeats it.
    async fn finished(&self, txid: Txid) {
        let finished = stream::SigningFinished { txid: txid.to_byte_array().to_vec() };
        if let Err(refused) = self.door.peers.stream.post(finished).await {
            // Stream then keeps a session that nobody needs until it starts anew.
            tracing::warn!(%txid, %refused, "stream is not told that a payout has its signatures");
        }
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Follow { locator, start_height } => self.follow(locator, start_height),
            Effect::LookUp(txid) => self.look_up(txid),
            Effect::EstimateFees => self.estimate_fees(),
            Effect::ReloadLedger => self.reload_ledger(),
            Effect::BitcoinViewChanged(tip) => self.tell_chain(chain::BitcoinViewChanged { tip: Some(bitcoin_block(tip)) }),
            Effect::BitcoinTransactionDetected(proof) => {
                self.tell_stream(stream::BitcoinTransactionDetected { deposit: Some(*proof) });
            }
            Effect::RequestFederationSignatures(payout) => self.request_signatures(&payout),
            Effect::ProposePayout(recorded) => {
                self.ask_chain("ProposePayout", chain::ProposePayout { payout: Some(recorded.as_ref().into()) });
            }
            Effect::ProposeRefund(refunded) => {
                let burn = storage::BurnId { height: refunded.burn.height, log_index: refunded.burn.log_index };
                self.ask_chain("ProposeRefund", chain::ProposeRefund { burn: Some(burn), reason: refunded.reason.to_string() });
            }
            Effect::PayoutConfirmed { txid, merkle_proof, block } => {
                let txid = txid.to_byte_array().to_vec();
                self.ask_chain(
                    "PayoutConfirmed",
                    chain::PayoutConfirmed { txid, merkle_proof, bitcoin_block: Some(bitcoin_block(block)) },
                );
            }
            Effect::BroadcastBitcoinTransaction { payout, signatures } => self.broadcast(&payout, &signatures),
            // Carried out in order, by `run`.
            Effect::Persist(_) | Effect::SigningFinished(_) | Effect::Answer { .. } => {}
        }
    }

    fn follow(&self, locator: Vec<BlockRef>, start_height: u32) {
        let (bitcoind, local, window) = (self.door.bitcoind.clone(), self.door.local.clone(), self.door.config.window);
        tokio::spawn(async move {
            let read = follower::read(&bitcoind, &locator, start_height, window).await;
            local.send(Local::Extended(Box::new(read.map_err(|error| error.chain()))));
        });
    }

    fn look_up(&self, txid: bitcoin::Txid) {
        let Ok(place) = self.look_ups.clone().try_acquire_owned() else { return };
        let (bitcoind, local) = (self.door.bitcoind.clone(), self.door.local.clone());
        tokio::spawn(async move {
            let _place = place;
            // Its sender's node may have it before ours does, and ours may be away for a moment. Later the block shows it.
            for _ in 0..LOOK_UPS {
                if let Ok(Some(transaction)) = bitcoind.unconfirmed(&txid).await {
                    local.send(Local::Unconfirmed(Box::new(transaction)));
                    return;
                }
                tokio::time::sleep(LOOK_UP_AGAIN).await;
            }
        });
    }

    fn estimate_fees(&self) {
        let (bitcoind, local, target) = (self.door.bitcoind.clone(), self.door.local.clone(), self.door.config.fee_target);
        tokio::spawn(async move {
            let estimate = match bitcoind.fee_rate(target).await {
                // A node that relays blocks only has no estimates, and says so with an error.
                Err(BitcoindError::Rpc { .. }) => Ok(None),
                other => other.map_err(|error| error.chain()),
            };
            local.send(Local::Fees(estimate));
        });
    }

    fn reload_ledger(&self) {
        let (storage, local) = (self.door.peers.storage.clone(), self.door.local.clone());
        tokio::spawn(async move {
            match load::ledger_facts(&storage).await {
                Ok(ledger) => local.send(Local::Ledger(Box::new(ledger))),
                Err(refused) => tracing::warn!(%refused, "storage does not give the ledger; the next block asks again"),
            }
        });
    }

    fn request_signatures(&self, payout: &Signable) {
        match self.door.wallet.psbt(payout) {
            Ok(psbt) => self.tell_stream(stream::RequestFederationSignatures {
                payout: Some((&payout.recorded).into()),
                height: payout.height,
                psbt: psbt.serialize(),
            }),
            Err(error) => tracing::error!(%error, txid = %payout.recorded.txid(), "no PSBT for a recorded payout"),
        }
    }

    fn broadcast(&self, payout: &Signable, signatures: &[alys_peg::InputSignature]) {
        let txid = payout.recorded.txid();
        let signed = match self.door.wallet.finalise(payout, signatures) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(%error, %txid, "a payout with enough signatures cannot be finalised");
                return self.door.local.send(Local::Broadcast { txid, outcome: Err(error.to_string()) });
            }
        };
        if let Err(fenced) = self.door.lease.check() {
            return self.door.local.send(Local::Broadcast { txid, outcome: Err(fenced.to_string()) });
        }
        let (bitcoind, local) = (self.door.bitcoind.clone(), self.door.local.clone());
        tokio::spawn(async move {
            let outcome = match bitcoind.broadcast(&signed).await {
                Ok(Accepted::Yes) => Ok(()),
                Ok(Accepted::No(reason)) => Err(format!("bitcoind refuses it: {reason}")),
                Err(error) => Err(error.chain()),
            };
            match &outcome {
                Ok(()) => tracing::debug!(%txid, "payout is with bitcoin"),
                Err(reason) => tracing::warn!(%txid, %reason, "payout was not broadcast; trying again"),
            }
            local.send(Local::Broadcast { txid, outcome });
        });
    }

    fn tell_chain<M: alys_proto::Tell<chain::Inbox>>(&self, message: M) {
        if let Err(refused) = self.door.peers.chain.tell(message) {
            tracing::debug!(%refused, message = M::NAME, "chain was not told");
        }
    }

    fn tell_stream<M: alys_proto::Tell<stream::Inbox>>(&self, message: M) {
        if let Err(refused) = self.door.peers.stream.tell(message) {
            tracing::debug!(%refused, message = M::NAME, "stream was not told; it is repeated");
        }
    }

    /// Asks chain to put something into a block. Whatever it says, the block that holds it is the answer that counts.
    fn ask_chain<M>(&self, what: &'static str, message: M)
    where
        M: alys_proto::Ask<chain::Inbox, Reply = chain::ProposalVerdict>,
    {
        let Ok(place) = self.questions.clone().try_acquire_owned() else { return };
        let chain = self.door.peers.chain.clone();
        tokio::spawn(async move {
            match chain.ask(message).await {
                Ok(verdict) if verdict.accepted => tracing::debug!(what, "chain took the proposal"),
                Ok(verdict) => tracing::warn!(what, reason = verdict.reason, "chain refused a proposal; it is repeated"),
                Err(refused) => tracing::debug!(what, %refused, "chain gave no answer; the proposal is repeated"),
            }
            drop(place);
        });
    }
}

/// A Bitcoin block as a message.
pub fn bitcoin_block(block: BlockRef) -> common::BitcoinBlock {
    common::BitcoinBlock { hash: block.hash.to_byte_array().to_vec(), height: block.height }
}
