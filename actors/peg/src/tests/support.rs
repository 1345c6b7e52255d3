//! A 2-of-3 regtest federation and short ways to say deposits, burns and blocks.

use alloy_primitives::{Address, B256};
use alys_blocks::{BitcoinView, BurnRef, ChainDomain};
use alys_proto::{Height, Sats, Wei};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bitcoin::{BlockHash, CompactTarget, Network, OutPoint, TxMerkleNode, Txid, XOnlyPublicKey};

use crate::{Burn, Fact, Federation, FeeRate, Ledger, Minted, PayoutPlan, PayoutSettled, PegRules, payout};

pub(super) const BTC: u64 = 100_000_000;
pub(super) const RATE: FeeRate = FeeRate(5_000);

pub(super) fn secret(member: u8) -> SecretKey {
    SecretKey::from_slice(&[member + 1; 32]).unwrap()
}

pub(super) fn key(member: u8) -> XOnlyPublicKey {
    Keypair::from_secret_key(&Secp256k1::new(), &secret(member)).x_only_public_key().0
}

pub(super) fn federation() -> Federation {
    Federation::new(2, vec![key(0), key(1), key(2)], Network::Regtest).unwrap()
}

pub(super) fn rules() -> PegRules {
    PegRules {
        confirmations: 6,
        min_peg_in: Sats(10_000),
        peg_in_fee: Sats(0),
        min_fee_rate: FeeRate(1_000),
        max_fee_rate: FeeRate(500_000),
        settled_peg_outs: false,
        max_burns_per_payout: 100,
    }
}

pub(super) fn domain() -> ChainDomain {
    ChainDomain::new(B256::repeat_byte(6))
}

pub(super) fn ledger() -> Ledger {
    Ledger::new(federation(), rules())
}

pub(super) fn recipient(n: u8) -> Address {
    Address::repeat_byte(n.max(1))
}

pub(super) fn outpoint(n: u64) -> OutPoint {
    OutPoint { txid: Txid::hash(&n.to_le_bytes()), vout: 0 }
}

pub(super) fn deposit(n: u64, sats: u64) -> Fact {
    Fact::Minted(Minted { outpoint: outpoint(n), value: Sats(sats), recipient: recipient(7) })
}

/// A regtest address that nobody in these tests owns, one per `n`, of every kind in turn.
pub(super) fn address(n: u64) -> String {
    let secp = Secp256k1::new();
    let mut bytes = [9_u8; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    let pair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&bytes).unwrap());
    let public = bitcoin::PublicKey::new(pair.public_key());
    let compressed = bitcoin::CompressedPublicKey(pair.public_key());
    let address = match n % 4 {
        0 => bitcoin::Address::p2wpkh(&compressed, Network::Regtest),
        1 => bitcoin::Address::p2tr(&secp, pair.x_only_public_key().0, None, Network::Regtest),
        2 => bitcoin::Address::p2pkh(public, Network::Regtest),
        _ => bitcoin::Address::p2shwpkh(&compressed, Network::Regtest),
    };
    address.to_string()
}

pub(super) fn burn_to(height: u64, log_index: u32, sats: u64, bitcoin_address: &str) -> Burn {
    Burn {
        id: BurnRef { height, log_index },
        transaction_hash: B256::repeat_byte(1),
        sender: recipient(9),
        bitcoin_address: bitcoin_address.as_bytes().to_vec(),
        amount: Sats(sats).to_wei(),
    }
}

pub(super) fn burn(height: u64, log_index: u32, sats: u64) -> Burn {
    burn_to(height, log_index, sats, &address(height * 1_000 + u64::from(log_index)))
}

pub(super) fn view(height: u32) -> BitcoinView {
    BitcoinView { hash: B256::repeat_byte(3), height }
}

pub(super) fn settled(txid: Txid) -> Fact {
    Fact::PayoutSettled(PayoutSettled { txid, bitcoin_block: view(200) })
}

/// Applies the next block and audits the books.
pub(super) fn block(ledger: &mut Ledger, facts: &[Fact]) {
    let height = ledger.height().next();
    ledger.apply(height, facts).unwrap();
    ledger.check_invariants().unwrap();
}

/// Deposits in block 1, burns in block 2.
pub(super) fn ledger_with(deposits: &[u64], burns: &[u64]) -> Ledger {
    let mut ledger = ledger();
    let deposits: Vec<Fact> = (0..).zip(deposits).map(|(n, sats)| deposit(n, *sats)).collect();
    let burns: Vec<Fact> = (0..).zip(burns).map(|(n, sats)| Fact::Burned(burn(2, n, *sats))).collect();
    block(&mut ledger, &deposits);
    block(&mut ledger, &burns);
    ledger
}

/// Plans, checks and records a payout in the next block.
pub(super) fn pay(ledger: &mut Ledger, rate: FeeRate) -> PayoutPlan {
    let plan = payout::plan(ledger, rate).unwrap();
    payout::check(&plan.recorded(), ledger).unwrap();
    block(ledger, &[Fact::PayoutRecorded(plan.recorded())]);
    plan
}

pub(super) fn wei(sats: u64) -> Wei {
    Sats(sats).to_wei()
}

pub(super) const fn height(h: u64) -> Height {
    Height(h)
}

/// A header over this merkle root that meets regtest's target.
pub(super) fn header(merkle_root: TxMerkleNode) -> Header {
    let mut header = Header {
        version: Version::TWO,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root,
        time: 1_700_000_000,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    while header.validate_pow(header.target()).is_err() {
        header.nonce += 1;
    }
    header
}
