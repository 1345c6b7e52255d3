//! The shell with probes around it: what it asks first, what waits for what, and what it says when something is away.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_peg::{Burn, BurnRef, Fact, Ledger, Minted, Session, payout, txid_to_bytes};
use alys_proto::bridge::{
    BurnEventDetected, FederationConfigUpdate, FederationSignatures, FinalizedBlock, GetBitcoinView, GetFederation, ListPegs,
    ValidatePegOperations, peg_operations_verdict::Verdict,
};
use alys_proto::storage::{Document, Documents, LedgerFact};
use alys_proto::{Height, Refused, Sats, chain, common, storage, stream};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};

use crate::actor::Peers;
use crate::core::fixture;
use crate::{BridgeActor, Config};

const NOWHERE: &str = "http://127.0.0.1:1";

struct Test {
    bridge: Started<BridgeActor>,
    storage: Probe<storage::Inbox>,
    _chain: Probe<chain::Inbox>,
    _stream: Probe<stream::Inbox>,
}

fn actor() -> (BridgeActor, Probe<storage::Inbox>, Probe<chain::Inbox>, Probe<stream::Inbox>) {
    let ((storage, storage_probe), (chain, chain_probe), (stream, stream_probe)) = (probe(), probe(), probe());
    let mut config = Config::default();
    config.bitcoind.url = NOWHERE.into();
    let actor = BridgeActor::new(config, fixture::spec(), Peers { storage, chain, stream }).unwrap();
    (actor, storage_probe, chain_probe, stream_probe)
}

impl Test {
    /// A started bridge whose storage holds this.
    async fn with(facts: Vec<LedgerFact>, documents: &BTreeMap<String, Vec<u8>>) -> Self {
        let (actor, mut storage, _chain, _stream) = actor();
        let bridge = start(actor);
        let height = facts.last().map_or(0, |fact| fact.height);
        let mut prefixes = 0;
        while prefixes < 19 {
            match storage.next().await {
                storage::Inbox::GetLedger(question, reply) => {
                    assert!(question.paged);
                    reply.send(storage::Ledger { height, facts: facts.clone(), next_height: 0 });
                }
                storage::Inbox::GetDocuments(question, reply) => {
                    assert_eq!(question.owner, "bridge");
                    prefixes += 1;
                    let found = documents.iter().filter(|(key, _)| key.starts_with(&question.prefix));
                    let document = |(key, value): (&String, &Vec<u8>)| Document {
                        owner: "bridge".into(),
                        key: key.clone(),
                        value: value.clone(),
                    };
                    reply.send(Documents { documents: found.map(document).collect() });
                }
                _ => panic!("nothing else is asked at the start"),
            }
        }
        Self { bridge, storage, _chain, _stream }
    }

    async fn next_put(&mut self) -> (Vec<Document>, alys_proto::Reply<common::Done>) {
        match self.storage.next().await {
            storage::Inbox::PutDocuments(put, reply) => (put.documents, reply),
            _ => panic!("documents are put"),
        }
    }
}

/// Asks again until there is an answer.
async fn until<T>(mut question: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(answer) = question().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within five seconds")
}

/// A sidechain on which a payout is recorded: its facts and the payout.
fn recorded() -> (Vec<LedgerFact>, Txid, Ledger) {
    let mut ledger = Ledger::of(&fixture::spec()).unwrap();
    let outpoint = OutPoint { txid: Txid::from_byte_array([5; 32]), vout: 0 };
    let minted = Fact::Minted(Minted { outpoint, value: Sats(100_000_000), recipient: Address::repeat_byte(1) });
    let key = bitcoin::CompressedPublicKey(fixture::member(9).public_key());
    let burned = Fact::Burned(Burn {
        id: BurnRef { height: 2, log_index: 0 },
        transaction_hash: B256::ZERO,
        sender: Address::repeat_byte(1),
        bitcoin_address: bitcoin::Address::p2wpkh(&key, bitcoin::Network::Regtest).to_string().into_bytes(),
        amount: Sats(40_000_000).to_wei(),
    });
    ledger.apply(Height(1), std::slice::from_ref(&minted)).unwrap();
    ledger.apply(Height(2), std::slice::from_ref(&burned)).unwrap();
    let payout = payout::plan(&ledger, alys_peg::FeeRate(2_000)).unwrap().recorded();
    let txid = payout.txid();
    let recorded = Fact::PayoutRecorded(payout);
    ledger.apply(Height(3), std::slice::from_ref(&recorded)).unwrap();
    (vec![minted.at(Height(1)), burned.at(Height(2)), recorded.at(Height(3))], txid, ledger)
}

fn signatures(ledger: &Ledger, txid: Txid, number: u8) -> FederationSignatures {
    let signatures = Session::of(ledger, &txid).unwrap().sign(&fixture::member(number).secret_key()).unwrap();
    FederationSignatures {
        member: format!("governance-{number}"),
        payout_txid: txid_to_bytes(txid).to_vec(),
        signatures: signatures.iter().map(Into::into).collect(),
    }
}

#[tokio::test]
async fn a_signature_is_acknowledged_only_when_storage_has_it() {
    let (facts, txid, ledger) = recorded();
    let mut test = Test::with(facts, &BTreeMap::new()).await;
    let remote = test.bridge.remote.clone();
    let message = signatures(&ledger, txid, 0);
    let answer = tokio::spawn(async move { remote.ask(message).await });
    let (_, first) = test.next_put().await;
    first.refuse(Refused::Failed("disk full".into()));
    let (documents, second) = test.next_put().await;
    assert!(!answer.is_finished(), "not on disk yet");
    assert!(documents[0].key.starts_with(&format!("signature/{txid}/")));
    second.send(common::Done {});
    let verdict = answer.await.unwrap().unwrap();
    assert_eq!((verdict.accepted, verdict.complete), (true, false));
    test.bridge.stop().await.unwrap();
}

#[tokio::test]
async fn a_signature_from_before_the_restart_counts() {
    let (facts, txid, ledger) = recorded();
    let mut test = Test::with(facts.clone(), &BTreeMap::new()).await;
    let remote = test.bridge.remote.clone();
    let message = signatures(&ledger, txid, 2);
    let answer = tokio::spawn(async move { remote.ask(message).await });
    let (documents, reply) = test.next_put().await;
    reply.send(common::Done {});
    assert!(answer.await.unwrap().unwrap().accepted);
    let disk = documents.into_iter().map(|document| (document.key, document.value)).collect();

    let mut again = Test::with(facts, &disk).await;
    let (remote, message) = (again.bridge.remote.clone(), signatures(&ledger, txid, 1));
    let answer = tokio::spawn(async move { remote.ask(message).await });
    let (_, reply) = again.next_put().await;
    reply.send(common::Done {});
    assert!(answer.await.unwrap().unwrap().complete);
}

#[tokio::test]
async fn without_bitcoind_it_is_degraded_and_nothing_is_invalid() {
    let (facts, _, _) = recorded();
    let test = Test::with(facts, &BTreeMap::new()).await;
    let view = until(async || {
        let view = test.bridge.remote.ask(GetBitcoinView {}).await.unwrap();
        view.reason.contains("does not answer").then_some(view)
    })
    .await;
    assert!(!view.available && view.tip.is_none());
    let bitcoin_view = Some(common::BitcoinBlock { hash: vec![1; 32], height: 9 });
    let question = ValidatePegOperations { bitcoin_view, ..ValidatePegOperations::default() };
    let verdict = test.bridge.remote.ask(question).await.unwrap();
    assert_eq!(verdict.verdict(), Verdict::Lagging, "{}", verdict.reason);
    let actor = test.bridge.stop().await.unwrap();
    let status = alys_cluster::RoleActor::status(&actor);
    assert_eq!(status.health, alys_cluster::Health::Degraded);
    assert!(status.reason.contains(NOWHERE), "{}", status.reason);
}

#[tokio::test]
async fn people_can_look() {
    let (facts, txid, _) = recorded();
    let test = Test::with(facts, &BTreeMap::new()).await;
    let federation = test.bridge.remote.ask(GetFederation {}).await.unwrap();
    assert_eq!((federation.threshold, federation.members.len(), federation.confirmations), (2, 3, fixture::N));
    assert!(federation.descriptor.starts_with("tr(") && federation.address.starts_with("bcrt1p"));
    let pegs = test.bridge.remote.ask(ListPegs {}).await.unwrap();
    assert_eq!(pegs.peg_outs[0].payout_txid, txid_to_bytes(txid).to_vec());
    assert_eq!(pegs.peg_ins[0].state, "minted");
    let refused = test.bridge.remote.ask(FederationConfigUpdate { record: vec![1] }).await.unwrap_err();
    assert!(matches!(refused, Refused::Failed(_)));
}

#[tokio::test]
async fn a_missed_block_is_fetched_from_storage() {
    let (facts, _, _) = recorded();
    let mut test = Test::with(facts[..1].to_vec(), &BTreeMap::new()).await;
    test.bridge.remote.tell(BurnEventDetected::default()).unwrap();
    test.bridge.remote.tell(FinalizedBlock { height: 3, hash: vec![0; 32], facts: vec![facts[2].clone()] }).unwrap();
    match test.storage.next().await {
        storage::Inbox::GetLedger(_, reply) => reply.send(storage::Ledger { height: 3, facts, next_height: 0 }),
        _ => panic!("the ledger is read again"),
    }
    until(async || {
        let pegs = test.bridge.remote.ask(ListPegs {}).await.unwrap();
        pegs.peg_outs.first().is_some_and(|burn| burn.state == "recorded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_committed_block_that_breaks_the_rules_ends_the_process() {
    let (facts, _, _) = recorded();
    let test = Test::with(facts.clone(), &BTreeMap::new()).await;
    let mut twice = facts[0].clone();
    twice.height = 4;
    test.bridge.remote.tell(FinalizedBlock { height: 4, hash: vec![0; 32], facts: vec![twice] }).unwrap();
    let Err(error) = test.bridge.finished().await else { panic!("it goes on") };
    assert!(matches!(error, alys_cluster::ActorError::Broken(_)), "{error}");
}

#[test]
fn a_specification_that_cannot_work_is_a_configuration_error() {
    let ((storage, _s), (chain, _c), (stream, _t)) = (probe(), probe(), probe());
    let mut spec = fixture::spec().as_ref().clone();
    spec.bitcoin.network = "moonnet".into();
    let refused = BridgeActor::new(Config::default(), std::sync::Arc::new(spec), Peers { storage, chain, stream });
    assert!(matches!(refused, Err(alys_cluster::ActorError::Configuration(_))));
}
