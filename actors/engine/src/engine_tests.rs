#![allow(clippy::unwrap_used, clippy::panic)]
use alloy_consensus::{Block, SignableTransaction, TxEip1559, TxEip4844, TxEip7702, TxReceipt};
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Bytes, TxKind, U256, hex};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alloy_sol_types::{SolCall, sol};
use alys_blocks::{BRIDGE_CONTRACT, FEE_SINK};
use tempfile::TempDir;

use super::*;
use crate::core::call::MAX_CALL_GAS;
use crate::core::view::{CallOutcome, CallRequest, ViewError};
use crate::testing::{COIN, attributes, deploy, key, sign, spec, transaction, transfer};

sol! {
    function requestPegOut(bytes bitcoinAddress) external payable;
}

#[path = "engine_disk_tests.rs"]
mod disk;

const OPTIONS: Options = Options { cache_bytes: 8 << 20, quick_repair: false };

/// `sstore(0, calldataload(0))`, and with calldata of 64 bytes and more `selfdestruct(0)` after it.
const STORE: &[u8] = &hex!("5f355f5560403610600e575f5fff5b00");

struct Chain {
    engine: Engine,
    folder: TempDir,
}

impl Chain {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { engine: Engine::open(folder.path(), OPTIONS, &spec()).unwrap(), folder }
    }

    fn reopen(self) -> Self {
        let Self { engine, folder } = self;
        drop(engine);
        Self { engine: Engine::open(folder.path(), OPTIONS, &spec()).unwrap(), folder }
    }

    fn build_on(&mut self, parent: B256, seconds: u64, transactions: Vec<Recovered<TxEnvelope>>) -> Arc<ExecutedBlock> {
        let (block, invalid) = self.engine.build(parent, &attributes(seconds), |_| transactions, || false).unwrap();
        assert!(invalid.is_empty());
        block
    }

    /// Builds on the head and commits.
    fn advance(&mut self, transactions: Vec<Recovered<TxEnvelope>>) -> Arc<ExecutedBlock> {
        let head = self.engine.head();
        let block = self.build_on(head.hash, 2 * (head.header.number + 1), transactions);
        self.engine.commit(block.hash).unwrap();
        block
    }

    fn execute(&mut self, block: &ExecutedBlock) -> Execution {
        self.execute_payload(&payload(block))
    }

    fn execute_payload(&mut self, payload: &ExecutionPayloadV3) -> Execution {
        self.engine.execute(&alys_blocks::encode_payload(payload), attributes(0).parent_beacon_block_root).unwrap()
    }
}

fn payload(block: &ExecutedBlock) -> ExecutionPayloadV3 {
    ExecutionPayloadV3::from_block_unchecked(block.hash, &block.block)
}

fn burn(from: u8, nonce: u64, wei: u128) -> Recovered<TxEnvelope> {
    let call = requestPegOutCall { bitcoinAddress: Bytes::from_static(b"bcrt1qexample") };
    transaction(from, nonce, TxKind::Call(BRIDGE_CONTRACT), wei, call.abi_encode().into())
}

#[test]
fn what_one_engine_builds_another_executes_to_the_same_state() {
    let (mut builder, mut follower) = (Chain::new(), Chain::new());
    let contract = key(2).address().create(0);
    let word = |value: u8| Bytes::from(U256::from(value).to_be_bytes_vec());
    let blocks = [
        vec![transfer(1, 0, Address::repeat_byte(9), COIN), transaction(2, 0, TxKind::Create, 0, deploy(STORE))],
        vec![transaction(1, 1, TxKind::Call(contract), 0, word(7)), transfer(1, 2, Address::repeat_byte(8), 1)],
        vec![transaction(3, 0, TxKind::Call(contract), 0, word(0)), burn(4, 0, COIN)],
    ];
    for transactions in blocks {
        let count = transactions.len();
        let block = builder.advance(transactions);
        assert_eq!(block.receipts.len(), count);
        assert!(block.receipts.iter().all(TxReceipt::status));
        assert_eq!(follower.execute(&block), Execution::Valid { hash: block.hash, burns: block.burns.clone() });
        let committed = follower.engine.commit(block.hash).unwrap();
        assert_eq!(*committed.block.unwrap(), *block, "state changes and tries are the same bit for bit");
    }
    let follower = follower.reopen();
    assert_eq!(follower.engine.head(), builder.engine.head());
    let reader = follower.engine.reader();
    let slots: Vec<_> = (0..=3).map(|at| reader.storage(at, contract, U256::ZERO).unwrap()).collect();
    assert_eq!(slots, [0, 0, 7, 0].map(U256::from), "every old state can be read");
    assert_eq!(reader.account(0, Address::repeat_byte(9)).unwrap(), None);
    assert_eq!(reader.account(1, Address::repeat_byte(9)).unwrap().unwrap().balance, U256::from(COIN));
    assert!(reader.code(0, contract).unwrap().is_empty());
    assert_eq!(reader.code(3, contract).unwrap().as_ref(), STORE);
    assert!(matches!(reader.account(4, contract), Err(ViewError::Unknown(4, 3))));
}

#[test]
fn burns_are_found_by_block_and_fees_go_to_the_sink() {
    let mut chain = Chain::new();
    chain.advance(vec![transfer(1, 0, Address::ZERO, 1)]);
    let block = chain.advance(vec![transfer(1, 1, Address::ZERO, 1), burn(2, 0, 2 * COIN), burn(3, 0, 1)]);
    let [burn] = block.burns.as_slice() else { panic!("one burn; the dust reverted") };
    assert_eq!((burn.height, burn.sender, burn.amount), (2, key(2).address(), U256::from(2 * COIN)));
    assert_eq!(burn.bitcoin_address.as_ref(), b"bcrt1qexample");
    assert_eq!(chain.engine.burns(0, 10).unwrap(), block.burns);
    assert_eq!(chain.engine.burns(3, 10).unwrap(), []);
    assert_eq!(chain.engine.commit(block.hash).unwrap().burns, block.burns, "also when asked again");
    let reader = chain.engine.reader();
    let [first, second] = [1, 2].map(|number| reader.block_by_number(number).unwrap().unwrap());
    let tips: u128 = [&first, &second].iter().map(|block| u128::from(block.header.gas_used)).sum::<u128>() * 1_000_000_000;
    assert_eq!(reader.account(2, FEE_SINK).unwrap().unwrap().balance, U256::from(tips));
    let base = u128::from(second.header.gas_used) * u128::from(second.header.base_fee_per_gas.unwrap());
    assert_eq!(block.fees, U256::from(u128::from(second.header.gas_used) * 1_000_000_000 + base));
}

#[test]
fn mints_are_exactly_the_withdrawals() {
    let mut chain = Chain::new();
    let mint = |index, amount| Withdrawal { index, validator_index: 0, address: Address::repeat_byte(0x77), amount };
    let mut with_mints = attributes(2);
    with_mints.withdrawals = vec![mint(0, 1_000_000_000), mint(1, 1)];
    let head = chain.engine.head().hash;
    let (block, _) = chain.engine.build(head, &with_mints, |_| Vec::new(), || false).unwrap();
    chain.engine.commit(block.hash).unwrap();
    let balance = chain.engine.reader().account(1, Address::repeat_byte(0x77)).unwrap().unwrap().balance;
    assert_eq!(balance, U256::from(COIN + 1_000_000_000));
    assert_eq!(chain.engine.head().withdrawals, with_mints.withdrawals);
}

#[test]
fn an_executed_block_can_be_built_on_before_it_is_committed() {
    let (mut chain, mut follower) = (Chain::new(), Chain::new());
    let genesis = chain.engine.head().hash;
    let contract = key(2).address().create(0);
    let first = chain.build_on(genesis, 2, vec![transaction(2, 0, TxKind::Create, 0, deploy(STORE))]);
    let stored = transaction(1, 0, TxKind::Call(contract), 0, U256::from(7).to_be_bytes_vec().into());
    let second = chain.build_on(first.hash, 4, vec![stored]);
    let third = chain.build_on(second.hash, 6, vec![transaction(1, 1, TxKind::Call(contract), 0, Bytes::new())]);
    let rival = chain.build_on(genesis, 3, vec![transfer(1, 0, Address::ZERO, 5)]);
    assert!(matches!(chain.engine.commit(second.hash), Err(EngineError::Refused(_))), "its parent comes first");
    for block in [&first, &second, &third] {
        assert!(chain.engine.commit(block.hash).unwrap().block.is_some());
        assert!(chain.engine.commit(block.hash).unwrap().block.is_none(), "again changes nothing");
    }
    assert!(matches!(chain.engine.commit(rival.hash), Err(EngineError::Refused(_))), "the rival is gone");
    assert!(matches!(chain.execute(&rival), Execution::Invalid { reason: Invalid::Final { number: 1, head: 3 }, .. }));
    assert_eq!(chain.engine.executed().0, 0);
    // The layers gave the same states as commits one by one.
    for block in [&first, &second, &third] {
        assert!(matches!(follower.execute(block), Execution::Valid { .. }));
        follower.engine.commit(block.hash).unwrap();
    }
    assert_eq!(chain.reopen().engine.head(), follower.engine.head());
}

#[test]
fn a_block_without_its_parent_waits_for_it() {
    let (mut chain, mut follower) = (Chain::new(), Chain::new());
    let first = chain.advance(Vec::new());
    let second = chain.advance(Vec::new());
    assert_eq!(follower.execute(&second), Execution::Syncing { hash: second.hash });
    assert!(matches!(follower.execute(&first), Execution::Valid { .. }));
    assert!(matches!(follower.execute(&second), Execution::Valid { .. }));
    assert!(matches!(follower.execute(&second), Execution::Valid { .. }), "again");
    assert!(matches!(
        follower.engine.build(B256::repeat_byte(1), &attributes(9), |_| Vec::new(), || false),
        Err(EngineError::Refused(_))
    ));
    assert!(matches!(follower.engine.build(first.hash, &attributes(2), |_| Vec::new(), || false), Err(EngineError::Refused(_))));
}

type Mutation = (&'static str, fn(&mut Block<TxEnvelope>));

/// Each rule of a header, broken once. The block hash is made right again, so only the rule can object.
const MUTATIONS: &[Mutation] = &[
    ("number", |b| b.header.number += 1),
    ("timestamp", |b| b.header.timestamp = spec().genesis_time),
    ("extra data", |b| b.header.extra_data = vec![0; 33].into()),
    ("gas limit", |b| b.header.gas_limit += 1),
    ("gas used is 30000001", |b| b.header.gas_used = 30_000_001),
    ("gas used", |b| b.header.gas_used += 1),
    ("base fee", |b| b.header.base_fee_per_gas = Some(1)),
    ("excess blob gas", |b| b.header.excess_blob_gas = Some(131_072)),
    ("blob gas used", |b| b.header.blob_gas_used = Some(131_072)),
    ("receipts root", |b| b.header.receipts_root = B256::ZERO),
    ("logs bloom", |b| b.header.logs_bloom.0[7] ^= 1),
    ("state root", |b| b.header.state_root = B256::ZERO),
    ("state root", |b| b.header.beneficiary = Address::repeat_byte(1)),
    ("transaction 0", |b| b.body.transactions.swap(0, 1)),
    ("gas used", |b| b.body.transactions.truncate(1)),
    ("blob transactions are not accepted", |b| b.body.transactions.push(blob())),
    ("come with Prague", |b| b.body.transactions.push(set_code())),
    ("signature is not valid", |b| b.body.transactions[1] = high_s(&b.body.transactions[1])),
    ("invalid chain ID", |b| b.body.transactions[0] = other_chain()),
    ("state root", |b| b.body.withdrawals.as_mut().unwrap().push(Withdrawal { amount: 1, ..Withdrawal::default() })),
];

fn blob() -> TxEnvelope {
    let unsigned =
        TxEip4844 { chain_id: spec().chain_id, blob_versioned_hashes: vec![B256::repeat_byte(1)], ..TxEip4844::default() };
    sign(1, unsigned).into_inner()
}

fn set_code() -> TxEnvelope {
    sign(1, TxEip7702 { chain_id: spec().chain_id, ..TxEip7702::default() }).into_inner()
}

fn other_chain() -> TxEnvelope {
    let unsigned = TxEip1559 { chain_id: 1, gas_limit: 21_000, max_fee_per_gas: 10_000_000_000, ..TxEip1559::default() };
    sign(1, unsigned).into_inner()
}

/// The same transaction with the other signature that the curve allows (EIP-2 forbids it).
fn high_s(envelope: &TxEnvelope) -> TxEnvelope {
    let signed = envelope.as_eip1559().unwrap();
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let signature = signed.signature();
    let other = alloy_primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    signed.tx().clone().into_signed(other).into()
}

#[test]
fn a_block_that_breaks_a_rule_is_invalid_and_says_which() {
    let mut builder = Chain::new();
    let genesis = builder.engine.head().hash;
    let transactions = vec![transfer(1, 0, Address::repeat_byte(9), 1), transfer(1, 1, Address::repeat_byte(9), 2)];
    let good = builder.build_on(genesis, 2, transactions);
    let mut chain = Chain::new();
    for (field, mutate) in MUTATIONS {
        let mut block = good.block.clone();
        mutate(&mut block);
        block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.body.transactions);
        let withdrawals = block.body.withdrawals.as_ref().unwrap();
        block.header.withdrawals_root = Some(alloy_consensus::proofs::calculate_withdrawals_root(withdrawals));
        let payload = ExecutionPayloadV3::from_block_unchecked(block.header.hash_slow(), &block);
        let Execution::Invalid { reason, .. } = chain.execute_payload(&payload) else { panic!("{field} was accepted") };
        assert!(reason.to_string().contains(field), "{field}: {reason}");
    }
    assert_eq!(chain.engine.executed().0, 0, "nothing of it is kept");
    assert!(matches!(chain.execute(&good), Execution::Valid { .. }), "and the block itself is fine");
}

#[test]
fn a_wrong_hash_a_wrong_beacon_root_and_rubbish_are_invalid() {
    let mut chain = Chain::new();
    let genesis = chain.engine.head().hash;
    let block = chain.build_on(genesis, 2, Vec::new());
    let mut wrong = payload(&block);
    wrong.payload_inner.payload_inner.block_hash = B256::ZERO;
    assert!(matches!(chain.execute_payload(&wrong), Execution::Invalid { reason: Invalid::Hash { .. }, .. }));
    let bytes = alys_blocks::encode_payload(&payload(&block));
    let other_root = chain.engine.execute(&bytes, B256::ZERO).unwrap();
    assert!(matches!(other_root, Execution::Invalid { reason: Invalid::Hash { .. }, .. }));
    for cut in [0, 1, 100, bytes.len() - 1] {
        let answer = chain.engine.execute(&bytes[..cut], B256::ZERO).unwrap();
        assert!(matches!(answer, Execution::Invalid { reason: Invalid::Payload(_), .. }), "{cut} bytes");
    }
}

#[test]
fn transactions_that_cannot_run_are_left_out() {
    let mut chain = Chain::new();
    let head = chain.engine.head().hash;
    let poor = transfer(1, 0, Address::ZERO, 1_000 * COIN);
    let after_poor = transfer(1, 1, Address::ZERO, 1);
    let gap = transfer(2, 5, Address::ZERO, 1);
    let good = transfer(3, 0, Address::ZERO, 1);
    let invalid = vec![*poor.inner().tx_hash(), *gap.inner().tx_hash()];
    let candidates = vec![poor, after_poor, gap, good.clone()];
    let (block, left_out) = chain.engine.build(head, &attributes(2), |_| candidates, || false).unwrap();
    assert_eq!(block.block.body.transactions, [good.into_inner()]);
    assert_eq!(left_out, invalid);
}

#[test]
fn a_block_stops_at_its_gas_limit_and_at_its_time() {
    let mut chain = Chain::new();
    let head = chain.engine.head().hash;
    let creation = |from, nonce| {
        // An endless loop: uses all of its million gas.
        transaction(from, nonce, TxKind::Create, 0, Bytes::from_static(&hex!("5b5f56")))
    };
    let many: Vec<_> = (0..40).map(|nonce| creation(1, nonce)).collect();
    let (full, invalid) = chain.engine.build(head, &attributes(2), |_| many.clone(), || false).unwrap();
    assert_eq!((full.receipts.len(), full.header().gas_used, invalid.len()), (30, 30_000_000, 0));
    let mut polls = 0;
    let three = || {
        polls += 1;
        polls > 3
    };
    let (short, _) = chain.engine.build(head, &attributes(2), |_| many, three).unwrap();
    assert_eq!(short.receipts.len(), 3);
}

#[test]
fn a_contract_that_destroys_itself_where_it_was_made_leaves_nothing() {
    let mut chain = Chain::new();
    let target = key(1).address().create(0);
    // Money waits at the address; creation stores a slot and destroys itself, all in one transaction (EIP-6780).
    chain.advance(vec![transfer(2, 0, target, COIN)]);
    let nodes = chain.engine.head().header.state_root;
    let init = Bytes::from_static(&hex!("60015f555f5fff"));
    let block = chain.advance(vec![transaction(1, 0, TxKind::Create, 0, init)]);
    assert!(block.receipts[0].status());
    let reader = chain.engine.reader();
    assert_eq!(reader.account(2, target).unwrap(), None);
    assert_eq!(reader.account(1, target).unwrap().unwrap().balance, U256::from(COIN));
    assert_ne!(chain.engine.head().header.state_root, nodes);
    // The next block still gets a root that a fresh engine agrees with.
    let next = chain.advance(vec![transfer(2, 1, target, 5)]);
    let mut follower = Chain::new();
    for number in 1..=3 {
        let view = reader.block_by_number(number).unwrap().unwrap();
        let transactions = view.transactions.iter().cloned().map(Recovered::into_inner).collect();
        let body =
            alloy_consensus::BlockBody { transactions, ommers: Vec::new(), withdrawals: Some(view.withdrawals.clone().into()) };
        let payload = ExecutionPayloadV3::from_block_unchecked(view.hash, &Block { header: view.header.clone(), body });
        assert!(matches!(follower.execute_payload(&payload), Execution::Valid { .. }));
        follower.engine.commit(view.hash).unwrap();
    }
    assert_eq!(follower.engine.head().hash, next.hash);
}

#[test]
fn calls_leave_nothing_behind_and_say_how_they_ended() {
    let mut chain = Chain::new();
    let contract = key(2).address().create(0);
    chain.advance(vec![transaction(2, 0, TxKind::Create, 0, deploy(STORE))]);
    let reader = chain.engine.reader();
    let call =
        CallRequest { to: TxKind::Call(contract), input: U256::from(9).to_be_bytes_vec().into(), ..CallRequest::default() };
    assert!(matches!(reader.call(1, &call).unwrap(), CallOutcome::Success { gas_used, .. } if gas_used > 40_000));
    assert_eq!(reader.storage(1, contract, U256::ZERO).unwrap(), U256::ZERO);
    assert!(
        matches!(reader.call(0, &call).unwrap(), CallOutcome::Success { gas_used, .. } if gas_used < 30_000),
        "no code there yet"
    );
    let dust = CallRequest {
        to: TxKind::Call(BRIDGE_CONTRACT),
        input: requestPegOutCall { bitcoinAddress: Bytes::new() }.abi_encode().into(),
        ..CallRequest::default()
    };
    assert!(matches!(reader.call(1, &dust).unwrap(), CallOutcome::Revert { .. }));
    let endless =
        CallRequest { to: TxKind::Create, input: Bytes::from_static(&hex!("5b5f56")), gas: u64::MAX, ..CallRequest::default() };
    assert!(matches!(reader.call(1, &endless).unwrap(), CallOutcome::Halt { gas_used: MAX_CALL_GAS, .. }));
    let rich = CallRequest { value: U256::from(1), ..CallRequest::default() };
    assert!(matches!(reader.call(1, &rich), Err(ViewError::Refused(_))), "the zero address has nothing");
}

#[test]
fn transactions_of_an_executed_parent_do_not_hold_up_their_sender() {
    let mut chain = Chain::new();
    let genesis = chain.engine.head().hash;
    let [first, second] = [0, 1].map(|nonce| transfer(1, nonce, Address::ZERO, 1));
    let parent = chain.build_on(genesis, 2, vec![first.clone()]);
    let child = chain.build_on(parent.hash, 4, vec![first, second.clone()]);
    assert_eq!(child.block.body.transactions, [second.into_inner()]);
}
