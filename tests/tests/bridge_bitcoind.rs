//! The bridge role against a real `bitcoind` on regtest. The other roles are played by the test: storage keeps documents
//! in memory, chain and stream are probes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address as Recipient, B256};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{BitcoinView, BurnRef, ChainSpec};
use alys_bridge::{BitcoindConfig, BridgeActor, Config, Peers};
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_peg::{Burn, Fact, Federation, Minted, PayoutRecorded, PayoutSettled, PegInProof, Session, txid_from_bytes, txid_to_bytes};
use alys_proto::bridge::{FederationSignatures, FinalizedBlock, GetBitcoinView, ListPegs, Pegs, ValidatePegOperations, peg_operations_verdict::Verdict};
use alys_proto::storage::{Document, Documents, Ledger, LedgerFact};
use alys_proto::{Height, Sats, chain, common, storage, stream};
use alys_tests::bitcoind::Bitcoind;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use bitcoin::{Amount, Psbt, TapSighashType, Txid, taproot};
use tokio::task::JoinHandle;

const N: u32 = 3;
const ALICE: Recipient = Recipient::repeat_byte(0xa1);
const PATIENCE: Duration = Duration::from_secs(20);

fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number + 1; 32]).unwrap()
}

fn spec() -> Arc<ChainSpec> {
    let secp = Secp256k1::new();
    let key = |number| B256::from(Keypair::from_secret_key(&secp, &secret(number)).x_only_public_key().0.serialize());
    let members = (0..3).map(|number| FederationMember { name: format!("governance-{number}"), public_key: key(number) }).collect();
    Arc::new(ChainSpec {
        name: "bridge-test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![B256::repeat_byte(1)],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: N, start_height: 0 },
        federation: FederationSpec { threshold: 2, members },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
    })
}

/// What survives a restart of bridge.
#[derive(Default)]
struct Disk {
    documents: BTreeMap<String, Vec<u8>>,
    facts: Vec<LedgerFact>,
    height: u64,
}

struct World {
    bitcoind: Bitcoind,
    federation: Federation,
    disk: Arc<Mutex<Disk>>,
    bridge: Started<BridgeActor>,
    chain: Probe<chain::Inbox>,
    stream: Probe<stream::Inbox>,
    storage: JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        let bitcoind = Bitcoind::start().await.unwrap();
        bitcoind.mine_coins().await.unwrap();
        let disk = Arc::new(Mutex::new(Disk::default()));
        let (bridge, chain, stream, storage) = start_bridge(&bitcoind, &disk);
        let federation = Federation::try_from(spec().as_ref()).unwrap();
        Self { bitcoind, federation, disk, bridge, chain, stream, storage }
    }

    /// As after `kill -9`: the actor is cut off from everything, and another one starts on the same disk.
    fn crash(&mut self) {
        self.storage.abort();
        let (bridge, chain, stream, storage) = start_bridge(&self.bitcoind, &self.disk);
        self.storage = storage;
        self.bridge = bridge;
        self.chain = chain;
        self.stream = stream;
    }

    fn commit(&self, fact: &Fact) {
        let mut disk = self.disk.lock().unwrap();
        disk.height += 1;
        let height = disk.height;
        let facts = vec![fact.at(Height(height))];
        disk.facts.extend(facts.clone());
        self.bridge.remote.tell(FinalizedBlock { height, hash: vec![0; 32], facts }).unwrap();
    }

    async fn deposit(&self, btc: u64) -> Txid {
        self.bitcoind.deposit(self.federation.address(), Amount::from_sat(btc * 100_000_000), ALICE.as_slice()).await.unwrap()
    }

    async fn pegs(&self) -> Pegs {
        self.bridge.remote.ask(ListPegs {}).await.unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Pegs) -> bool) -> Pegs {
        for _ in 0..PATIENCE.as_millis() / 20 {
            let pegs = self.pegs().await;
            if holds(&pegs) {
                return pegs;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} did not happen: {:?}", self.pegs().await)
    }

    /// Waits until bridge has followed bitcoind to its tip.
    async fn caught_up(&self) -> BitcoinView {
        let best = self.bitcoind.best_hash().await.unwrap();
        for _ in 0..PATIENCE.as_millis() / 20 {
            let view = self.bridge.remote.ask(GetBitcoinView {}).await.unwrap();
            if let Some(tip) = view.tip.filter(|tip| view.available && tip.hash == best.to_byte_array()) {
                return BitcoinView { hash: B256::from(best.to_byte_array()), height: tip.height };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("bridge did not follow bitcoind to {best}")
    }

    async fn announced(&mut self) -> common::PegInProof {
        loop {
            if let stream::Inbox::BitcoinTransactionDetected(message) = self.stream.next().await {
                return message.deposit.unwrap();
            }
        }
    }

    async fn proposed(&mut self) -> PayoutRecorded {
        loop {
            if let chain::Inbox::ProposePayout(message, reply) = self.chain.next().await {
                reply.send(chain::ProposalVerdict { accepted: true, reason: String::new() });
                return PayoutRecorded::try_from(&message.payout.unwrap()).unwrap();
            }
        }
    }

    async fn signing_request(&mut self) -> stream::RequestFederationSignatures {
        loop {
            if let stream::Inbox::RequestFederationSignatures(message) = self.stream.next().await {
                return message;
            }
        }
    }

    async fn confirmed(&mut self) -> chain::PayoutConfirmed {
        loop {
            if let chain::Inbox::PayoutConfirmed(message, reply) = self.chain.next().await {
                reply.send(chain::ProposalVerdict { accepted: true, reason: String::new() });
                return message;
            }
        }
    }
}

type Parts = (Started<BridgeActor>, Probe<chain::Inbox>, Probe<stream::Inbox>, JoinHandle<()>);

fn start_bridge(bitcoind: &Bitcoind, disk: &Arc<Mutex<Disk>>) -> Parts {
    let ((storage, asked), (chain, chain_probe), (stream, stream_probe)) = (probe(), probe(), probe());
    let keeper = tokio::spawn(keep(asked, disk.clone()));
    let config = Config {
        bitcoind: BitcoindConfig { url: bitcoind.url(), cookie_file: Some(bitcoind.cookie_file()), ..BitcoindConfig::default() },
        poll_interval: Duration::from_millis(50),
        tick_interval: Duration::from_millis(50),
        longest_backoff: Duration::from_millis(200),
        announce_interval: Duration::from_millis(500),
        propose_interval: Duration::from_millis(500),
        sign_interval: Duration::from_millis(500),
        broadcast_interval: Duration::from_secs(1),
        ..Config::default()
    };
    let actor = BridgeActor::new(config, spec(), Peers { storage, chain, stream }).unwrap();
    (start(actor), chain_probe, stream_probe, keeper)
}

/// Plays storage.
async fn keep(mut asked: Probe<storage::Inbox>, disk: Arc<Mutex<Disk>>) {
    loop {
        match asked.try_next() {
            Some(storage::Inbox::PutDocuments(put, reply)) => {
                let mut disk = disk.lock().unwrap();
                for document in put.documents {
                    if document.value.is_empty() {
                        disk.documents.remove(&document.key);
                    } else {
                        disk.documents.insert(document.key, document.value);
                    }
                }
                reply.send(common::Done {});
            }
            Some(storage::Inbox::GetDocuments(question, reply)) => {
                let disk = disk.lock().unwrap();
                let found = disk.documents.iter().filter(|(key, _)| key.starts_with(&question.prefix));
                let documents = found.map(|(key, value)| Document { owner: "bridge".into(), key: key.clone(), value: value.clone() });
                reply.send(Documents { documents: documents.collect() });
            }
            Some(storage::Inbox::GetLedger(_, reply)) => {
                let disk = disk.lock().unwrap();
                reply.send(Ledger { height: disk.height, facts: disk.facts.clone(), next_height: 0 });
            }
            Some(_) => panic!("bridge asks storage for nothing else"),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

fn minted(proof: &common::PegInProof) -> Fact {
    let proof = PegInProof::try_from(proof).unwrap();
    Fact::Minted(Minted { outpoint: proof.outpoint, value: proof.value, recipient: proof.recipient })
}

fn message(view: BitcoinView) -> common::BitcoinBlock {
    common::BitcoinBlock { hash: view.hash.to_vec(), height: view.height }
}

/// Signs every input of the PSBT as a member would who only knows BIP-174 and BIP-371.
fn sign(psbt: &Psbt, number: u8) -> FederationSignatures {
    let secp = Secp256k1::new();
    let private = bitcoin::PrivateKey::new(secret(number), bitcoin::Network::Regtest);
    let mut signed = psbt.clone();
    let keys: BTreeMap<_, _> = [(private.public_key(&secp), private)].into();
    signed.sign(&keys, &secp).unwrap();
    let mut signatures = Vec::new();
    for (input, fields) in signed.inputs.iter().enumerate() {
        for ((key, _), taproot::Signature { signature, sighash_type }) in &fields.tap_script_sigs {
            assert_eq!(*sighash_type, TapSighashType::Default);
            signatures.push(alys_proto::bridge::InputSignature {
                input: input as u32,
                public_key: key.serialize().to_vec(),
                signature: signature.serialize().to_vec(),
            });
        }
    }
    assert_eq!(signatures.len(), psbt.inputs.len(), "the PSBT holds all that a signer needs");
    let payout_txid = txid_to_bytes(psbt.unsigned_tx.compute_txid()).to_vec();
    FederationSignatures { member: format!("governance-{number}"), payout_txid, signatures }
}

#[tokio::test]
async fn a_deposit_is_detected_confirmed_announced_and_valid() {
    let mut world = World::new().await;
    let txid = world.deposit(1).await;
    world.bitcoind.mine(1).await.unwrap();
    let pegs = world.until("detection", |pegs| pegs.peg_ins.iter().any(|peg| peg.confirmations == 1)).await;
    assert_eq!(pegs.peg_ins[0].state, "detected");
    world.bitcoind.mine(u64::from(N) - 2).await.unwrap();
    world.caught_up().await;
    assert!(world.stream.try_next().is_none(), "not deep enough");
    world.bitcoind.mine(1).await.unwrap();
    let proof = world.announced().await;
    assert_eq!(txid_from_bytes(B256::from_slice(&proof.outpoint.as_ref().unwrap().txid)), txid);
    assert_eq!((proof.value_sats, proof.recipient.as_slice()), (100_000_000, ALICE.as_slice()));
    world.announced().await;

    let view = world.caught_up().await;
    let question = |proof: &common::PegInProof, view| ValidatePegOperations { bitcoin_view: Some(message(view)), peg_ins: vec![proof.clone()], settlements: vec![] };
    let ask = async |question| world.bridge.remote.ask(question).await.unwrap();
    assert_eq!(ask(question(&proof, view)).await.verdict(), Verdict::Valid);
    let mut richer = proof.clone();
    richer.value_sats += 1;
    assert_eq!(ask(question(&richer, view)).await.verdict(), Verdict::Invalid);
    let unknown = BitcoinView { hash: B256::repeat_byte(7), height: view.height };
    assert_eq!(ask(question(&proof, unknown)).await.verdict(), Verdict::Lagging);

    world.commit(&minted(&proof));
    world.until("minting", |pegs| pegs.peg_ins.iter().all(|peg| peg.state == "minted")).await;
}

#[tokio::test]
async fn a_reorganised_deposit_is_undone_and_found_again() {
    let mut world = World::new().await;
    world.deposit(1).await;
    world.bitcoind.mine(u64::from(N) - 1).await.unwrap();
    world.until("detection", |pegs| pegs.peg_ins.iter().any(|peg| peg.confirmations == N - 1)).await;
    world.bitcoind.reorganise(N - 1).await.unwrap();
    world.caught_up().await;
    let pegs = world.pegs().await;
    assert_eq!((pegs.peg_ins[0].state.as_str(), pegs.peg_ins[0].bitcoin_height), ("detected", 0));
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    let proof = world.announced().await;
    assert_eq!(proof.bitcoin_height + N - 1, world.bitcoind.height().await.unwrap());
}

#[tokio::test]
async fn a_claim_in_a_lost_block_is_not_valid() {
    let mut world = World::new().await;
    world.deposit(1).await;
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    let proof = world.announced().await;
    let view = world.caught_up().await;
    world.bitcoind.reorganise(N).await.unwrap();
    let new_view = world.caught_up().await;
    for (view, verdict) in [(view, Verdict::Lagging), (new_view, Verdict::Invalid)] {
        let question = ValidatePegOperations { bitcoin_view: Some(message(view)), peg_ins: vec![proof.clone()], settlements: vec![] };
        assert_eq!(world.bridge.remote.ask(question).await.unwrap().verdict(), verdict);
    }
}

#[tokio::test]
async fn a_burn_is_paid_two_of_three_and_settled_with_a_crash_in_between() {
    let mut world = World::new().await;
    world.deposit(1).await;
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    let proof = world.announced().await;
    world.commit(&minted(&proof));
    let destination = world.bitcoind.new_address().await.unwrap();
    let burn = Burn {
        id: BurnRef { height: 2, log_index: 0 },
        transaction_hash: B256::ZERO,
        sender: ALICE,
        bitcoin_address: destination.to_string().into_bytes(),
        amount: Sats(40_000_000).to_wei(),
    };
    world.commit(&Fact::Burned(burn));
    let payout = world.proposed().await;
    let txid = payout.txid();
    world.commit(&Fact::PayoutRecorded(payout.clone()));

    let request = world.signing_request().await;
    let psbt = Psbt::deserialize(&request.psbt).unwrap();
    assert_eq!(psbt.unsigned_tx, payout.transaction, "the PSBT is of the recorded bytes [PEG-13]");
    assert!(world.bridge.remote.ask(sign(&psbt, 0)).await.unwrap().accepted);
    world.crash();
    let mut forged = sign(&psbt, 1);
    forged.signatures[0].signature = sign(&psbt, 2).signatures[0].signature.clone();
    assert!(!world.bridge.remote.ask(forged).await.unwrap().accepted);
    let verdict = world.bridge.remote.ask(sign(&psbt, 2)).await.unwrap();
    assert!(verdict.accepted && verdict.complete, "{}", verdict.reason);

    world.until("broadcast", |pegs| pegs.peg_outs[0].state == "broadcast").await;
    for _ in 0..500 {
        if world.bitcoind.in_mempool(&txid).await.unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    let paid = world.bitcoind.unspent(&txid, 0).await.unwrap().expect("the first output pays the burn");
    let fee = 100_000_000 - payout.transaction.output.iter().map(|output| output.value.to_sat()).sum::<u64>();
    assert_eq!(paid, Amount::from_sat(40_000_000 - fee), "the burner bears the fee, to the satoshi");

    let confirmed = world.confirmed().await;
    let view = world.caught_up().await;
    let settlement = alys_proto::bridge::PayoutProof {
        txid: confirmed.txid.clone(),
        merkle_proof: confirmed.merkle_proof.clone(),
        bitcoin_block: confirmed.bitcoin_block.clone(),
    };
    let question = ValidatePegOperations { bitcoin_view: Some(message(view)), peg_ins: vec![], settlements: vec![settlement] };
    let verdict = world.bridge.remote.ask(question).await.unwrap();
    assert_eq!(verdict.verdict(), Verdict::Valid, "{}", verdict.reason);
    let block = confirmed.bitcoin_block.unwrap();
    let bitcoin_block = BitcoinView { hash: B256::from_slice(&block.hash), height: block.height };
    world.commit(&Fact::PayoutSettled(PayoutSettled { txid, bitcoin_block }));
    let pegs = world.until("settlement", |pegs| pegs.peg_outs[0].state == "settled").await;
    assert_eq!(pegs.peg_ins.len(), 1, "change is no deposit");
    for _ in 0..500 {
        if world.disk.lock().unwrap().documents.keys().all(|key| !key.starts_with("signature/")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("signatures are kept for ever");
}

#[tokio::test]
async fn the_finished_payout_is_the_one_that_the_peg_rules_make() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.deposit(1).await;
    }
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        let proof = world.announced().await;
        seen.insert(proof.outpoint.as_ref().unwrap().txid.clone(), proof);
    }
    for proof in seen.values() {
        world.commit(&minted(proof));
    }
    let destination = world.bitcoind.new_address().await.unwrap();
    let burn = Burn {
        id: BurnRef { height: 4, log_index: 3 },
        transaction_hash: B256::ZERO,
        sender: ALICE,
        bitcoin_address: destination.to_string().into_bytes(),
        amount: Sats(250_000_000).to_wei(),
    };
    world.commit(&Fact::Burned(burn));
    let payout = world.proposed().await;
    assert_eq!(payout.transaction.input.len(), 3);
    world.commit(&Fact::PayoutRecorded(payout.clone()));
    let request = world.signing_request().await;
    let psbt = Psbt::deserialize(&request.psbt).unwrap();
    let prevouts = psbt.inputs.iter().map(|input| input.witness_utxo.clone().unwrap()).collect();
    let mut session = Session::new(payout.transaction.clone(), prevouts, world.federation.clone()).unwrap();
    for number in [1, 2] {
        let signed = sign(&psbt, number);
        for signature in &signed.signatures {
            session.add(&signature.try_into().unwrap()).unwrap();
        }
        world.bridge.remote.ask(signed).await.unwrap();
    }
    let finished = session.finish().unwrap();
    world.until("broadcast", |pegs| pegs.peg_outs[0].state == "broadcast").await;
    for _ in 0..500 {
        if world.bitcoind.in_mempool(&payout.txid()).await.unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text: String = world.bitcoind.call("getrawtransaction", &[payout.txid().to_string().into()]).await.unwrap();
    assert_eq!(text, bitcoin::consensus::encode::serialize_hex(&finished));
}

#[tokio::test]
async fn bitcoind_that_comes_back_is_followed_again() {
    let mut world = World::new().await;
    world.caught_up().await;
    world.bitcoind.stop().unwrap();
    for _ in 0..PATIENCE.as_millis() / 20 {
        let view = world.bridge.remote.ask(GetBitcoinView {}).await.unwrap();
        if !view.available {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let view = world.bridge.remote.ask(GetBitcoinView {}).await.unwrap();
    assert!(!view.available && !view.reason.is_empty());
    world.bitcoind.resume().await.unwrap();
    world.deposit(1).await;
    world.bitcoind.mine(u64::from(N)).await.unwrap();
    world.announced().await;
}
