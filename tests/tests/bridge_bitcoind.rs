//! The bridge role against a real `bitcoind` on regtest. The other roles are played by the test: storage keeps documents
//! in memory, chain and stream are probes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

mod bridge_world;

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::{BitcoinView, BurnRef};
use alys_peg::{Burn, Fact, PayoutSettled, Session, txid_from_bytes};
use alys_proto::bridge::{GetBitcoinView, ValidatePegOperations, peg_operations_verdict::Verdict};
use alys_proto::{Sats, common};
use bitcoin::{Amount, Psbt};
use bridge_world::{ALICE, N, PATIENCE, World, message, minted, sign};

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
    let question = |proof: &common::PegInProof, view| ValidatePegOperations {
        bitcoin_view: Some(message(view)),
        peg_ins: vec![proof.clone()],
        settlements: vec![],
    };
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
        let question =
            ValidatePegOperations { bitcoin_view: Some(message(view)), peg_ins: vec![proof.clone()], settlements: vec![] };
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
