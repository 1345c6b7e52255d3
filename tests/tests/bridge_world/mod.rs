//! The bridge role, a real bitcoind, and the other roles played by the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address as Recipient, B256};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{BitcoinView, ChainSpec};
use alys_bridge::{BitcoindConfig, BridgeActor, Config, Peers};
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_peg::{Fact, Federation, Minted, PayoutRecorded, PegInProof, txid_to_bytes};
use alys_proto::bridge::{FederationSignatures, FinalizedBlock, GetBitcoinView, ListPegs, Pegs};
use alys_proto::storage::{Document, Documents, Ledger, LedgerFact};
use alys_proto::{Height, chain, common, storage, stream};
use alys_tests::bitcoind::Bitcoind;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use bitcoin::{Amount, Psbt, TapSighashType, Txid, taproot};
use tokio::task::JoinHandle;

pub(crate) const N: u32 = 3;
pub(crate) const ALICE: Recipient = Recipient::repeat_byte(0xa1);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number + 1; 32]).unwrap()
}

pub(crate) fn spec() -> Arc<ChainSpec> {
    let secp = Secp256k1::new();
    let key = |number| B256::from(Keypair::from_secret_key(&secp, &secret(number)).x_only_public_key().0.serialize());
    let members =
        (0..3).map(|number| FederationMember { name: format!("governance-{number}"), public_key: key(number) }).collect();
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
        work: None,
    })
}

/// What survives a restart of bridge.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
    pub(crate) facts: Vec<LedgerFact>,
    pub(crate) height: u64,
}

pub(crate) struct World {
    pub(crate) bitcoind: Bitcoind,
    pub(crate) federation: Federation,
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) bridge: Started<BridgeActor>,
    pub(crate) chain: Probe<chain::Inbox>,
    pub(crate) stream: Probe<stream::Inbox>,
    pub(crate) storage: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let bitcoind = Bitcoind::start().await.unwrap();
        bitcoind.mine_coins().await.unwrap();
        let disk = Arc::new(Mutex::new(Disk::default()));
        let (bridge, chain, stream, storage) = start_bridge(&bitcoind, &disk);
        let federation = Federation::try_from(spec().as_ref()).unwrap();
        Self { bitcoind, federation, disk, bridge, chain, stream, storage }
    }

    /// As after `kill -9`: the actor is cut off from everything, and another one starts on the same disk.
    pub(crate) fn crash(&mut self) {
        self.storage.abort();
        let (bridge, chain, stream, storage) = start_bridge(&self.bitcoind, &self.disk);
        self.storage = storage;
        self.bridge = bridge;
        self.chain = chain;
        self.stream = stream;
    }

    pub(crate) fn commit(&self, fact: &Fact) {
        let mut disk = self.disk.lock().unwrap();
        disk.height += 1;
        let height = disk.height;
        let facts = vec![fact.at(Height(height))];
        disk.facts.extend(facts.clone());
        self.bridge.remote.tell(FinalizedBlock { height, hash: vec![0; 32], facts }).unwrap();
    }

    pub(crate) async fn deposit(&self, btc: u64) -> Txid {
        self.bitcoind.deposit(self.federation.address(), Amount::from_sat(btc * 100_000_000), ALICE.as_slice()).await.unwrap()
    }

    pub(crate) async fn pegs(&self) -> Pegs {
        self.bridge.remote.ask(ListPegs {}).await.unwrap()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Pegs) -> bool) -> Pegs {
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
    pub(crate) async fn caught_up(&self) -> BitcoinView {
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

    pub(crate) async fn announced(&mut self) -> common::PegInProof {
        loop {
            if let stream::Inbox::BitcoinTransactionDetected(message) = self.stream.next().await {
                return message.deposit.unwrap();
            }
        }
    }

    pub(crate) async fn proposed(&mut self) -> PayoutRecorded {
        loop {
            if let chain::Inbox::ProposePayout(message, reply) = self.chain.next().await {
                reply.send(chain::ProposalVerdict { accepted: true, reason: String::new() });
                return PayoutRecorded::try_from(&message.payout.unwrap()).unwrap();
            }
        }
    }

    pub(crate) async fn signing_request(&mut self) -> stream::RequestFederationSignatures {
        loop {
            if let stream::Inbox::RequestFederationSignatures(message) = self.stream.next().await {
                return message;
            }
        }
    }

    pub(crate) async fn confirmed(&mut self) -> chain::PayoutConfirmed {
        loop {
            if let chain::Inbox::PayoutConfirmed(message, reply) = self.chain.next().await {
                reply.send(chain::ProposalVerdict { accepted: true, reason: String::new() });
                return message;
            }
        }
    }
}

pub(crate) type Parts = (Started<BridgeActor>, Probe<chain::Inbox>, Probe<stream::Inbox>, JoinHandle<()>);

pub(crate) fn start_bridge(bitcoind: &Bitcoind, disk: &Arc<Mutex<Disk>>) -> Parts {
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
pub(crate) async fn keep(mut asked: Probe<storage::Inbox>, disk: Arc<Mutex<Disk>>) {
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
                let documents =
                    found.map(|(key, value)| Document { owner: "bridge".into(), key: key.clone(), value: value.clone() });
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

pub(crate) fn minted(proof: &common::PegInProof) -> Fact {
    let proof = PegInProof::try_from(proof).unwrap();
    Fact::Minted(Minted { outpoint: proof.outpoint, value: proof.value, recipient: proof.recipient })
}

pub(crate) fn message(view: BitcoinView) -> common::BitcoinBlock {
    common::BitcoinBlock { hash: view.hash.to_vec(), height: view.height }
}

/// Signs every input of the PSBT as a member would who only knows BIP-174 and BIP-371.
pub(crate) fn sign(psbt: &Psbt, number: u8) -> FederationSignatures {
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
