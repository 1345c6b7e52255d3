//! Running the transactions of one block and what it leaves: receipts, gas, state changes, state root.

use std::borrow::Cow;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, ReceiptEnvelope, Transaction, TxEnvelope, TxReceipt};
use alloy_eips::eip4895::Withdrawal;
use alloy_evm::block::{BlockExecutionError, BlockExecutor, BlockValidationError};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::{EthEvmFactory, EvmEnv, EvmFactory};
use alloy_primitives::{B256, U256, keccak256};
use revm::database::State;
use revm::database::states::bundle_state::BundleRetention;
use revm::database::{BundleAccount, BundleState};

use super::block::{ExecuteError, Invalid};
use super::forks::Rules;
use super::state::{AccountDiff, AccountRecord, EMPTY_ACCOUNT, StateDiff, StateError, StateSource};
use super::trie;

mod database;
pub(super) use database::SourceDatabase;

/// What a block's execution leaves.
#[derive(Debug)]
pub struct Outcome {
    /// One per transaction that ran.
    pub receipts: Vec<ReceiptEnvelope>,
    /// Gas of all of them.
    pub gas_used: u64,
    /// State changes with trie nodes.
    pub diff: StateDiff,
    /// Root of the account trie afterwards.
    pub state_root: B256,
    /// Base fees and tips, wei.
    pub fees: U256,
}

/// Why one transaction did not run. The state is as before it.
#[derive(Debug)]
pub enum TransactionError {
    /// Never in this block; in a later one only if the sender's account changes.
    Invalid(String),
    /// Its nonce is used already: a block between head and parent has it, or a better paid one.
    Stale,
    /// More gas than is left in the block.
    NoRoom,
    /// Not its fault: stop.
    Broken(StateError),
}

/// Runs one transaction in a block under execution; answers the gas it used.
pub type RunTransaction<'a> = &'a mut dyn FnMut(&Recovered<TxEnvelope>) -> Result<u64, TransactionError>;

/// The environment that `header` gives to its transactions.
pub fn environment(rules: &Rules, header: &Header) -> EvmEnv {
    let blobs = rules.forks.blob_params(header.timestamp);
    EvmEnv::for_eth_block(header, rules.forks, rules.chain_id, Some(blobs))
}

/// Runs a block on `source`: system calls, then whatever `transactions` runs, then withdrawals.
///
/// Of `header` only the fields known before execution are read.
///
/// # Errors
/// What `transactions` returns, a rule that a system call or withdrawal breaks, or a state that cannot be read.
pub fn run<S, F>(
    source: &S,
    rules: &Rules,
    header: &Header,
    withdrawals: &[Withdrawal],
    transactions: F,
) -> Result<Outcome, ExecuteError>
where
    S: StateSource,
    F: FnOnce(RunTransaction<'_>) -> Result<(), ExecuteError>,
{
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &[],
        withdrawals: Some(Cow::Borrowed(withdrawals)),
        extra_data: header.extra_data.clone(),
        tx_count_hint: None,
        slot_number: None,
    };
    run_in(source, rules.forks, environment(rules, header), context, transactions)
}

/// Runs a block under any schedule of forks and in any environment, as [`run`] does under ours.
///
/// # Errors
/// As [`run`].
pub fn run_in<S, C, F>(
    source: &S,
    schedule: C,
    environment: EvmEnv,
    context: EthBlockExecutionCtx<'_>,
    transactions: F,
) -> Result<Outcome, ExecuteError>
where
    S: StateSource,
    C: EthExecutorSpec + Clone,
    F: FnOnce(RunTransaction<'_>) -> Result<(), ExecuteError>,
{
    let mut state = State::builder().with_database(SourceDatabase(source)).with_bundle_update().build();
    let base_fee = environment.block_env.basefee;
    let evm = EthEvmFactory::default().create_evm(&mut state, environment);
    let mut executor = EthBlockExecutor::new(evm, context, schedule, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().map_err(block_error)?;

    let mut fees = U256::ZERO;
    transactions(&mut |transaction| {
        let output = executor.execute_transaction(transaction).map_err(transaction_error)?;
        let gas = output.tx_gas_used();
        let price = transaction.inner().effective_gas_price(Some(base_fee));
        fees = fees.saturating_add(U256::from(gas).saturating_mul(U256::from(price)));
        Ok(gas)
    })?;

    let (_, result) = executor.finish().map_err(block_error)?;
    state.merge_transitions(BundleRetention::PlainState);
    let bundle = state.take_bundle();
    let (diff, state_root) = diff(source, &bundle)?;
    Ok(Outcome { receipts: result.receipts, gas_used: result.gas_used, diff, state_root, fees })
}

/// Bloom of all receipts.
pub fn logs_bloom(receipts: &[ReceiptEnvelope]) -> alloy_primitives::Bloom {
    receipts.iter().fold(alloy_primitives::Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom())
}

fn transaction_error(error: BlockExecutionError) -> TransactionError {
    match error {
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) if error.is_gas_limit_too_high() => {
            TransactionError::NoRoom
        }
        BlockExecutionError::Validation(BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas { .. }) => {
            TransactionError::NoRoom
        }
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) if error.is_nonce_too_low() => {
            TransactionError::Stale
        }
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => {
            TransactionError::Invalid(error.to_string())
        }
        BlockExecutionError::Validation(error) => TransactionError::Invalid(error.to_string()),
        BlockExecutionError::Internal(cause) => TransactionError::Broken(StateError::read("state for a transaction", cause)),
    }
}

fn block_error(error: BlockExecutionError) -> ExecuteError {
    match error {
        BlockExecutionError::Validation(error) => Invalid::Rule(error.to_string()).into(),
        BlockExecutionError::Internal(cause) => StateError::read("state for a block", cause).into(),
    }
}

/// Turns what revm collected into account and trie changes.
pub(super) fn diff<S: StateSource>(source: &S, bundle: &BundleState) -> Result<(StateDiff, B256), StateError> {
    let mut diff = StateDiff::default();
    for (address, account) in &bundle.state {
        let before = source.account(*address)?;
        let wiped = account.was_destroyed() && before.is_some();
        let mut change = AccountDiff { before, after: None, wiped, storage: changed_slots(source, *address, account, wiped)? };
        let storage_root = if account.info.is_some() && !change.storage.is_empty() {
            let slots = change.storage.iter().map(|(slot, (_, after))| slot_entry(*slot, *after));
            let update = trie::update(|path| if wiped { Ok(None) } else { source.storage_node(*address, path) }, slots)?;
            diff.storage_nodes.insert(*address, update.nodes);
            update.root
        } else if wiped {
            EMPTY_ACCOUNT.storage_root
        } else {
            before.unwrap_or(EMPTY_ACCOUNT).storage_root
        };
        change.after = account.info.as_ref().map(|info| AccountRecord {
            nonce: info.nonce,
            balance: info.balance,
            storage_root,
            code_hash: info.code_hash,
        });
        if change.before == change.after && change.storage.is_empty() {
            continue;
        }
        diff.accounts.insert(*address, change);
    }
    for (hash, code) in &bundle.contracts {
        diff.code.insert(*hash, code.original_bytes());
    }
    let accounts = diff.accounts.iter().map(|(address, change)| (keccak256(address), change.after.map(alloy_rlp::encode)));
    let update = trie::update(|path| source.account_node(path), accounts)?;
    diff.account_nodes = update.nodes;
    Ok((diff, update.root))
}

fn changed_slots<S: StateSource>(
    source: &S,
    address: alloy_primitives::Address,
    account: &BundleAccount,
    wiped: bool,
) -> Result<std::collections::BTreeMap<U256, (U256, U256)>, StateError> {
    let old = if wiped { source.storage_slots(address)? } else { Default::default() };
    let mut slots: std::collections::BTreeMap<_, _> = old.iter().map(|(slot, value)| (*slot, (*value, U256::ZERO))).collect();
    for (slot, value) in &account.storage {
        let before = if wiped { old.get(slot).copied().unwrap_or_default() } else { value.previous_or_original_value };
        slots.insert(*slot, (before, value.present_value));
    }
    // A destroyed account's slot keeps its entry even when equal: its trie starts from nothing and needs it.
    slots.retain(|_, (before, after)| before != after || (wiped && !after.is_zero()));
    Ok(slots)
}

fn slot_entry(slot: U256, value: U256) -> (B256, Option<Vec<u8>>) {
    let key = keccak256(slot.to_be_bytes::<32>());
    (key, (!value.is_zero()).then(|| alloy_rlp::encode(value)))
}
