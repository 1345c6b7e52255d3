#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use std::collections::BTreeMap;

use alloy_consensus::transaction::{Recovered, TxEnvelope};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use proptest::prelude::*;
use revm::primitives::hardfork::SpecId;

use super::*;

const CHAIN: u64 = 212;
const RICH: Account = Account { nonce: 0, balance: U256::MAX, has_code: false };

fn pool(limits: Limits) -> Pool {
    Pool::new(Rules { chain_id: CHAIN, block_gas_limit: 30_000_000, fork: SpecId::CANCUN }, limits)
}

fn address(sender: u8) -> Address {
    Address::repeat_byte(sender)
}

/// A transfer of 1 wei with these fees.
fn transfer(nonce: u64, fee: u128, tip: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(address(0xee)),
        value: U256::ONE,
        ..TxEip1559::default()
    }
}

/// As if `sender` had signed. The pool takes the sender from the caller; hashes differ by the signature.
fn from(sender: u8, transaction: impl SignableTransaction<Signature> + Into<TypedAny>) -> Recovered<TxEnvelope> {
    let signature = Signature::new(U256::from(sender), U256::ONE, false);
    Recovered::new_unchecked(transaction.into().sign(signature), address(sender))
}

enum TypedAny {
    Fees(TxEip1559),
    Legacy(TxLegacy),
    Blobs(TxEip4844),
}

impl TypedAny {
    fn sign(self, signature: Signature) -> TxEnvelope {
        match self {
            Self::Fees(inner) => inner.into_signed(signature).into(),
            Self::Legacy(inner) => inner.into_signed(signature).into(),
            Self::Blobs(inner) => TxEnvelope::Eip4844(alloy_consensus::TxEip4844Variant::from(inner).into_signed(signature)),
        }
    }
}

impl From<TxEip1559> for TypedAny {
    fn from(inner: TxEip1559) -> Self {
        Self::Fees(inner)
    }
}

impl From<TxLegacy> for TypedAny {
    fn from(inner: TxLegacy) -> Self {
        Self::Legacy(inner)
    }
}

impl From<TxEip4844> for TypedAny {
    fn from(inner: TxEip4844) -> Self {
        Self::Blobs(inner)
    }
}

fn order(pool: &Pool, base_fee: u64) -> Vec<(u8, u64)> {
    pool.best(base_fee).map(|entry| (entry.sender()[0], entry.nonce())).collect()
}

#[test]
fn each_rule_refuses_with_its_words() {
    let legacy = TxLegacy { gas_price: 10, gas_limit: 21_000, to: TxKind::Call(address(9)), ..TxLegacy::default() };
    let create = |size| TxEip1559 { to: TxKind::Create, input: vec![0; size].into(), gas_limit: 9_000_000, ..transfer(0, 10, 1) };
    let poor = |balance: u64| Account { balance: U256::from(balance), ..RICH };
    let table: Vec<(Recovered<TxEnvelope>, Account, &str)> = vec![
        (
            from(1, TxEip1559 { chain_id: 1, ..transfer(0, 10, 1) }),
            RICH,
            "invalid sender: invalid chain id for signer: have 1 want 212",
        ),
        (from(1, legacy.clone()), RICH, "only replay-protected (EIP-155) transactions allowed over RPC"),
        (from(1, TxEip4844 { chain_id: CHAIN, ..TxEip4844::default() }), RICH, "transaction type not supported: type 3"),
        (
            from(1, TxEip1559 { gas_limit: 20_999, ..transfer(0, 10, 1) }),
            RICH,
            "intrinsic gas too low: gas 20999, minimum needed 21000",
        ),
        (
            from(1, TxEip1559 { input: vec![1, 0].into(), ..transfer(0, 10, 1) }),
            RICH,
            "intrinsic gas too low: gas 21000, minimum needed 21020",
        ),
        (
            from(1, TxEip1559 { gas_limit: 30_000_001, ..transfer(0, 10, 1) }),
            RICH,
            "exceeds block gas limit: gas 30000001, limit 30000000",
        ),
        (from(1, create(49_153)), RICH, "max initcode size exceeded: code size 49153, limit 49152"),
        (
            from(1, transfer(0, 10, 11)),
            RICH,
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas 11, maxFeePerGas 10",
        ),
        (from(1, transfer(0, 10, 0)), RICH, "transaction underpriced: gas tip cap 0, minimum needed 1"),
        (from(1, transfer(4, 10, 1)), Account { nonce: 5, ..RICH }, "nonce too low: next nonce 5, tx nonce 4"),
        (from(1, transfer(257, 10, 1)), RICH, "nonce too high: next nonce 0, tx nonce 257"),
        (
            from(1, transfer(u64::MAX, 10, 1)),
            Account { nonce: u64::MAX, ..RICH },
            "nonce too high: next nonce 18446744073709551615, tx nonce 18446744073709551615",
        ),
        (
            from(1, transfer(0, 10, 1)),
            poor(210_000),
            "insufficient funds for gas * price + value: balance 210000, queued cost 0, tx cost 210001",
        ),
        (from(1, TxEip1559 { value: U256::MAX, ..transfer(0, 10, 1) }), RICH, ""),
        (from(1, transfer(0, 10, 1)), Account { has_code: true, ..RICH }, "sender not an eoa"),
        (from(1, transfer(0, 10, 1)), poor(210_001), ""),
        (from(1, create(49_152)), RICH, ""),
        (from(1, TxLegacy { chain_id: Some(CHAIN), ..legacy }), RICH, ""),
        (from(1, transfer(256, 10, 1)), RICH, ""),
    ];
    for (transaction, account, words) in table {
        let answer = pool(Limits::default()).add(transaction, account);
        assert_eq!(answer.map_or_else(|why| why.to_string(), |_| String::new()), words);
    }
}

#[test]
fn a_replacement_needs_ten_percent_more_of_both_fees() {
    for (fee, tip, replaces) in [(110, 22, true), (109, 22, false), (110, 21, false), (200, 20, false), (300, 300, true)] {
        let mut pool = pool(Limits::default());
        let first = pool.add(from(1, transfer(0, 100, 20)), RICH).unwrap();
        let second = pool.add(from(1, transfer(0, fee, tip)), RICH);
        if replaces {
            assert_eq!(second.unwrap().replaced, Some(first.hash), "{fee}/{tip}");
            assert!(pool.get(first.hash).is_none());
        } else {
            assert_eq!(second, Err(Rejection::ReplacementUnderpriced), "{fee}/{tip}");
            assert!(pool.get(first.hash).is_some());
        }
        assert_eq!(pool.status(), (1, 0));
    }
    let mut pool = pool(Limits::default());
    pool.add(from(1, transfer(0, 1, 1)), RICH).unwrap();
    assert_eq!(pool.add(from(1, transfer(0, 1, 1)), RICH), Err(Rejection::AlreadyKnown));
}

#[test]
fn gaps_wait_until_they_are_filled() {
    let mut pool = pool(Limits::default());
    assert!(!pool.add(from(1, transfer(7, 10, 1)), Account { nonce: 5, ..RICH }).unwrap().pending);
    assert!(pool.add(from(1, transfer(5, 10, 1)), Account { nonce: 5, ..RICH }).unwrap().pending);
    assert_eq!((pool.status(), pool.next_nonce(address(1))), ((1, 1), Some(6)));
    assert!(pool.add(from(1, transfer(6, 10, 1)), Account { nonce: 5, ..RICH }).unwrap().pending);
    assert_eq!((pool.status(), pool.next_nonce(address(1))), ((3, 0), Some(8)));
    assert_eq!(order(&pool, 1), [(1, 5), (1, 6), (1, 7)]);
    assert_eq!(pool.next_nonce(address(2)), None);
}

#[test]
fn best_follows_tips_nonces_arrival_and_base_fee() {
    let mut pool = pool(Limits::default());
    pool.add(from(1, transfer(0, 100, 5)), RICH).unwrap();
    pool.add(from(1, transfer(1, 100, 50)), RICH).unwrap();
    pool.add(from(2, transfer(0, 100, 10)), RICH).unwrap();
    pool.add(from(3, transfer(0, 100, 10)), RICH).unwrap();
    pool.add(from(3, transfer(1, 30, 30)), RICH).unwrap();
    pool.add(from(3, transfer(2, 100, 60)), RICH).unwrap();
    assert_eq!(order(&pool, 10), [(2, 0), (3, 0), (3, 1), (3, 2), (1, 0), (1, 1)]);
    // At 95 the tips are 5, 5 and 5 by the caps; 3's second is below the base fee and holds back its third.
    assert_eq!(order(&pool, 95), [(1, 0), (1, 1), (2, 0), (3, 0)]);
    let mut best = pool.best(10);
    best.next().unwrap();
    assert_eq!(best.next().unwrap().sender(), address(3));
    best.skip_sender(address(3));
    assert_eq!(best.map(|entry| entry.sender()[0]).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_commit_takes_out_what_it_used_and_what_is_no_longer_covered() {
    let mut pool = pool(Limits::default());
    for nonce in 0..4 {
        pool.add(from(1, transfer(nonce, 10, 1)), RICH).unwrap();
    }
    pool.add(from(2, transfer(0, 10, 1)), RICH).unwrap();
    let balance = U256::from(210_001 * 2);
    pool.update(1, [(address(1), Account { nonce: 1, balance, has_code: false }), (address(9), RICH)]);
    assert_eq!(order(&pool, 1), [(1, 1), (1, 2), (2, 0)]);
    assert_eq!(pool.dropped().unfunded, 1);
    pool.update(2, [(address(1), Account { nonce: 9, ..RICH })]);
    assert_eq!((order(&pool, 1), pool.has_sender(address(1))), (vec![(2, 0)], false));
}

#[test]
fn all_waiting_transactions_of_a_sender_must_be_covered() {
    let mut pool = pool(Limits::default());
    let account = Account { balance: U256::from(210_001 * 2), ..RICH };
    pool.add(from(1, transfer(0, 10, 1)), account).unwrap();
    pool.add(from(1, transfer(1, 10, 1)), account).unwrap();
    let third = pool.add(from(1, transfer(2, 10, 1)), account);
    assert!(matches!(third, Err(Rejection::InsufficientFunds { .. })));
    // A replacement frees what it replaces, but costs more than that.
    let dearer = pool.add(from(1, transfer(1, 20, 2)), account);
    assert!(matches!(dearer, Err(Rejection::InsufficientFunds { .. })));
    assert_eq!(pool.status(), (2, 0));
}

#[test]
fn too_old_transactions_leave() {
    let mut pool = pool(Limits { max_age_blocks: 10, ..Limits::default() });
    pool.update(5, []);
    pool.add(from(1, transfer(1, 10, 1)), RICH).unwrap();
    pool.update(15, []);
    assert_eq!(pool.status(), (0, 1));
    pool.update(16, []);
    assert_eq!((pool.status(), pool.dropped().expired), ((0, 0), 1));
}

#[test]
fn a_full_pool_keeps_the_better_paying_ones() {
    let mut pool = pool(Limits { total: 3, per_sender: 2, ..Limits::default() });
    pool.add(from(1, transfer(0, 100, 10)), RICH).unwrap();
    pool.add(from(1, transfer(1, 100, 90)), RICH).unwrap();
    assert_eq!(pool.add(from(1, transfer(2, 100, 90)), RICH), Err(Rejection::SenderFull { limit: 2 }));
    pool.add(from(2, transfer(1, 100, 99)), RICH).unwrap();
    // Queued goes first, however much it offers; then the lowest tip among the last of each sender.
    pool.add(from(3, transfer(0, 100, 20)), RICH).unwrap();
    assert_eq!(order(&pool, 0), [(3, 0), (1, 0), (1, 1)]);
    assert_eq!(pool.add(from(4, transfer(0, 100, 15)), RICH), Err(Rejection::PoolFull));
    pool.add(from(4, transfer(0, 100, 30)), RICH).unwrap();
    assert_eq!(order(&pool, 0), [(4, 0), (1, 0), (1, 1)]);
    assert_eq!(pool.dropped().evicted, 3);
}

#[test]
fn decoding_takes_whole_signed_envelopes_only() {
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
    let plain = transfer(0, 10, 1);
    let signature = signer.sign_hash_sync(&plain.signature_hash()).unwrap();
    let bytes = TxEnvelope::from(plain.clone().into_signed(signature)).encoded_2718();
    let decoded = decode(&bytes).unwrap();
    assert_eq!((decoded.signer(), decoded.encoded_2718()), (signer.address(), bytes.clone()));
    for cut in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..cut]), Err(Rejection::Malformed(_))), "{cut}");
    }
    assert!(matches!(decode(&[&bytes[..], &[0]].concat()), Err(Rejection::Malformed(_))));
    assert!(matches!(decode(&vec![2; MAX_TRANSACTION_BYTES + 1]), Err(Rejection::TooLarge { .. })));
    // EIP-2: the same signature with s in the upper half would give the transaction a second hash.
    let order: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let twin = TxEnvelope::from(plain.into_signed(high)).encoded_2718();
    assert_eq!(decode(&twin), Err(Rejection::BadSignature));
}

/// What may happen to a pool.
#[derive(Clone, Debug)]
enum Step {
    Add { sender: u8, nonce: u64, fee: u128, tip: u128, data: usize },
    Commit { sender: u8, used: u64, balance: u64 },
    Age(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (1..5_u8, 0..8_u64, 1..200_u128, 1..200_u128, 0..64_usize).prop_map(|(sender, nonce, fee, tip, data)| Step::Add {
        sender,
        nonce,
        fee,
        tip,
        data,
    });
    let commit =
        (1..5_u8, 0..3_u64, 0..20_000_000_u64).prop_map(|(sender, used, balance)| Step::Commit { sender, used, balance });
    proptest::collection::vec(prop_oneof![8 => add, 2 => commit, 1 => (1..4_u64).prop_map(Step::Age)], 1..120)
}

fn check(pool: &Pool, limits: &Limits, accounts: &BTreeMap<u8, Account>) {
    let entries: Vec<_> = pool.entries().collect();
    assert_eq!(entries.len(), pool.by_hash.len());
    assert!(entries.len() <= limits.total && pool.bytes <= limits.total_bytes);
    assert_eq!(pool.bytes, entries.iter().map(|(entry, _)| entry.size()).sum::<usize>());
    for (entry, _) in &entries {
        assert!(Arc::ptr_eq(&pool.get(entry.hash()).unwrap(), entry));
    }
    for (sender, account) in accounts {
        let own: Vec<_> = entries.iter().filter(|(entry, _)| entry.sender() == address(*sender)).collect();
        assert!(own.len() <= limits.per_sender);
        assert!(own.iter().all(|(entry, _)| entry.nonce() >= account.nonce));
        let cost = own.iter().fold(U256::ZERO, |sum, (entry, _)| sum + entry.cost());
        assert!(cost <= account.balance);
        let pending: Vec<u64> = own.iter().filter(|(_, pending)| *pending).map(|(entry, _)| entry.nonce()).collect();
        let expected: Vec<u64> = (account.nonce..).take(pending.len()).collect();
        assert_eq!(pending, expected);
    }
    for base_fee in [0, 50] {
        let mut next: BTreeMap<Address, u64> = BTreeMap::new();
        for entry in pool.best(base_fee) {
            assert!(entry.tip(base_fee).is_some());
            let expected = next.entry(entry.sender()).or_insert(accounts[&entry.sender()[0]].nonce);
            assert_eq!(entry.nonce(), *expected);
            *expected += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariants_hold_after_every_step(steps in steps()) {
        let limits = Limits { total: 10, total_bytes: 2_000, per_sender: 4, max_age_blocks: 5, ..Limits::default() };
        let mut pool = pool(limits);
        let start = Account { nonce: 0, balance: U256::from(20_000_000_u64), has_code: false };
        let mut accounts: BTreeMap<u8, Account> = (1..5).map(|sender| (sender, start)).collect();
        let mut height = 0;
        for step in steps {
            match step {
                Step::Add { sender, nonce, fee, tip, data } => {
                    let input = Bytes::from(vec![1; data]);
                    let gas_limit = 21_000 + 16 * data as u64;
                    let transaction = from(sender, TxEip1559 { input, gas_limit, ..transfer(nonce, fee, tip) });
                    let hash = *transaction.tx_hash();
                    let answer = pool.add(transaction, accounts[&sender]);
                    prop_assert!(answer.is_err() || pool.get(hash).is_some());
                }
                Step::Commit { sender, used, balance } => {
                    height += 1;
                    let account = accounts.get_mut(&sender).unwrap();
                    *account = Account { nonce: account.nonce + used, balance: U256::from(balance), has_code: false };
                    pool.update(height, [(address(sender), *account)]);
                }
                Step::Age(blocks) => {
                    height += blocks;
                    pool.update(height, []);
                }
            }
            check(&pool, &limits, &accounts);
        }
    }
}
