//! Running a call that is not a transaction and leaves nothing behind: `eth_call`, `eth_estimateGas`,
//! `eth_createAccessList`.

use alloy_consensus::Header;
use alloy_eips::eip2930::AccessList;
use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory};
use alloy_primitives::U256;
use revm::bytecode::Bytecode;
use revm::context::TxEnv;
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::database::CacheDB;
use revm_inspectors::access_list::AccessListInspector;

use super::execute::{SourceDatabase, environment};
use super::forks::Rules;
use super::state::{StateError, StateSource};
use super::view::{AccountOverride, CallOutcome, CallRequest, ViewError};

/// Gas of a call at most: bounds the time a stranger can make us work (about a second).
pub const MAX_CALL_GAS: u64 = 50_000_000;

/// Runs until an access list is complete: each adds something, and most calls need two.
const MOST_RUNS: usize = 8;

/// A call made ready: what it runs on, in which environment, and as which transaction.
pub(super) type Prepared<'a, S> = (CacheDB<SourceDatabase<'a, S>>, EvmEnv, TxEnv);

/// Runs a call in the environment of block `header` on `source`, the state after it.
///
/// # Errors
/// `Refused` when the call cannot begin, or a state that cannot be read.
pub fn call<S: StateSource>(source: &S, rules: &Rules, header: &Header, request: &CallRequest) -> Result<CallOutcome, ViewError> {
    let (database, environment, transaction) = prepare(source, rules, header, request)?;
    let mut evm = EthEvmFactory::default().create_evm(database, environment);
    Ok(outcome(evm.transact_raw(transaction).map_err(failed)?.result))
}

/// The accounts and slots that a call touches, and how it ends when they are declared beforehand.
///
/// # Errors
/// As [`call`].
pub fn access_list<S: StateSource>(
    source: &S,
    rules: &Rules,
    header: &Header,
    request: &CallRequest,
) -> Result<(AccessList, CallOutcome), ViewError> {
    let mut list = request.access_list.clone();
    // What is declared changes what a call does with its gas: so it is run until it touches no more.
    for _ in 0..MOST_RUNS {
        let (database, environment, transaction) = prepare(source, rules, header, request)?;
        let transaction = TxEnv { tx_type: 1, access_list: list.clone(), ..transaction };
        let mut seen = AccessListInspector::new(list.clone());
        let mut evm = EthEvmFactory::default().create_evm_with_inspector(database, environment, &mut seen);
        let result = evm.transact_raw(transaction).map_err(failed)?;
        drop(evm);
        let found = seen.into_access_list();
        if found == list {
            return Ok((list, outcome(result.result)));
        }
        list = found;
    }
    Err(ViewError::Refused("the accounts and slots it touches depend on those that are declared".into()))
}

pub(super) fn failed(error: EVMError<StateError>) -> ViewError {
    match error {
        EVMError::Transaction(reason) => ViewError::Refused(reason.to_string()),
        EVMError::Database(cause) => ViewError::State(cause),
        other => ViewError::Refused(other.to_string()),
    }
}

/// Makes a call ready to run.
///
/// # Errors
/// A state that cannot be read.
pub(super) fn prepare<'a, S: StateSource>(
    source: &'a S,
    rules: &Rules,
    header: &Header,
    request: &CallRequest,
) -> Result<Prepared<'a, S>, StateError> {
    let mut database = CacheDB::new(SourceDatabase(source));
    for pretended in &request.overrides {
        pretend(&mut database, pretended)?;
    }
    let mut environment = environment(rules, header);
    environment.cfg_env.disable_nonce_check = true;
    environment.cfg_env.disable_eip3607 = true;
    environment.cfg_env.disable_block_gas_limit = true;
    environment.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
    if request.gas_price == 0 {
        // Nobody pays for this call: it must run although the block has a base fee.
        environment.block_env.basefee = 0;
    }
    let transaction = TxEnv {
        tx_type: if request.access_list.is_empty() { 0 } else { 1 },
        caller: request.caller,
        gas_limit: request.gas.min(MAX_CALL_GAS),
        gas_price: request.gas_price,
        kind: request.to,
        value: request.value,
        data: request.input.clone(),
        nonce: 0,
        chain_id: Some(rules.chain_id),
        access_list: request.access_list.clone(),
        ..TxEnv::default()
    };
    Ok((database, environment, transaction))
}

fn outcome(result: ExecutionResult) -> CallOutcome {
    let gas_used = result.tx_gas_used();
    match result {
        ExecutionResult::Success { gas, output, .. } => {
            CallOutcome::Success { output: output.into_data(), gas_used, gas_refunded: gas.final_refunded() }
        }
        ExecutionResult::Revert { output, .. } => CallOutcome::Revert { output, gas_used },
        ExecutionResult::Halt { reason, .. } => CallOutcome::Halt { reason: format!("{reason:?}"), gas_used },
    }
}

fn pretend<S: StateSource>(database: &mut CacheDB<SourceDatabase<'_, S>>, pretended: &AccountOverride) -> Result<(), StateError> {
    let mut info = database.load_account(pretended.address)?.info.clone();
    if let Some(balance) = pretended.balance {
        info.balance = balance;
    }
    if let Some(nonce) = pretended.nonce {
        info.nonce = nonce;
    }
    if let Some(code) = &pretended.code {
        let code = Bytecode::new_raw_checked(code.clone()).map_err(|cause| StateError::read("overriding code", cause))?;
        info.code_hash = code.hash_slow();
        info.code = Some(code);
    }
    database.insert_account_info(pretended.address, info);
    match &pretended.state {
        Some(slots) => database.replace_account_storage(
            pretended.address,
            slots.iter().copied().collect::<revm::primitives::HashMap<U256, U256, _>>(),
        )?,
        None => {
            for (slot, value) in &pretended.state_diff {
                database.insert_account_storage(pretended.address, *slot, *value)?;
            }
        }
    }
    Ok(())
}
