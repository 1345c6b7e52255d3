//! Running a committed block again, watching what it does: `debug_trace…`.

use alloy_consensus::Header;
use alloy_evm::block::system_calls::SystemCaller;
use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory, FromRecoveredTx};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::B256;
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use revm::DatabaseCommit;
use revm::context::TxEnv;
use revm::database::CacheDB;
use revm_inspectors::tracing::{DebugInspector, TraceLimits, TracingInspector, TransactionContext};

use super::call;
use super::execute::{SourceDatabase, environment};
use super::forks::Rules;
use super::state::{StateError, StateSource};
use super::view::{BlockView, CallRequest, ViewError};

/// Steps of one transaction that are recorded: what fits into an answer.
const MAX_STEPS: usize = 100_000;
/// Bytes of memory and call data that are recorded with one transaction.
const MAX_BYTES: usize = 64 << 20;

/// State that the run changes, in memory.
type Memory<'a, S> = CacheDB<SourceDatabase<'a, S>>;

/// Runs a block on `source`, the state after its parent, and traces all of its transactions, or the one at `only`.
///
/// # Errors
/// `Refused` when the tracer is unknown, or a state that cannot be read.
pub fn block<S: StateSource>(
    source: &S,
    rules: &Rules,
    block: &BlockView,
    only: Option<usize>,
    options: &GethDebugTracingOptions,
) -> Result<Vec<(B256, GethTrace)>, ViewError> {
    block_in(source, rules.forks, &environment(rules, &block.header), block, only, options)
}

/// Traces a block under any schedule of forks and in any environment, as [`block()`] does under ours.
///
/// # Errors
/// As [`block()`].
pub fn block_in<S: StateSource>(
    source: &S,
    schedule: impl EthereumHardforks,
    environment: &EvmEnv,
    block: &BlockView,
    only: Option<usize>,
    options: &GethDebugTracingOptions,
) -> Result<Vec<(B256, GethTrace)>, ViewError> {
    let mut database = CacheDB::new(SourceDatabase(source));
    let mut evm = EthEvmFactory::default().create_evm(&mut database, environment.clone());
    let begun = SystemCaller::new(schedule).apply_pre_execution_changes(&block.header, &mut evm);
    begun.map_err(|cause| StateError::read("state for a block", cause))?;
    drop(evm);
    let mut traces = Vec::new();
    for (index, transaction) in block.transactions.iter().enumerate() {
        let prepared = TxEnv::from_recovered_tx(transaction.inner(), transaction.signer());
        if only.is_some_and(|only| index < only) {
            let mut evm = EthEvmFactory::default().create_evm(&mut database, environment.clone());
            evm.transact_commit(prepared).map_err(call::failed)?;
            continue;
        }
        if only.is_some_and(|only| index > only) {
            break;
        }
        let hash = *transaction.inner().tx_hash();
        let place = TransactionContext { block_hash: Some(block.hash), tx_index: Some(index), tx_hash: Some(hash) };
        traces.push((hash, run(&mut database, environment, prepared, Some(place), options)?));
    }
    Ok(traces)
}

/// Traces a call in the environment of block `header` on `source`, the state after it.
///
/// # Errors
/// As [`block`], and when the call cannot begin.
pub fn one_call<S: StateSource>(
    source: &S,
    rules: &Rules,
    header: &Header,
    request: &CallRequest,
    options: &GethDebugTracingOptions,
) -> Result<GethTrace, ViewError> {
    let (mut database, environment, transaction) = call::prepare(source, rules, header, request)?;
    run(&mut database, &environment, transaction, None, options)
}

/// Runs one transaction under a fresh tracer and keeps what it changed.
fn run<S: StateSource>(
    database: &mut Memory<'_, S>,
    environment: &EvmEnv,
    transaction: TxEnv,
    place: Option<TransactionContext>,
    options: &GethDebugTracingOptions,
) -> Result<GethTrace, ViewError> {
    let mut tracer = tracer(options)?;
    let mut evm = EthEvmFactory::default().create_evm_with_inspector(&mut *database, environment.clone(), &mut tracer);
    let result = evm.transact_raw(transaction.clone()).map_err(call::failed)?;
    drop(evm);
    let trace = tracer.get_result(place, &transaction, &environment.block_env, &result, database);
    let trace = trace.map_err(|cause| ViewError::Refused(cause.to_string()))?;
    database.commit(result.state);
    let is_cut = match &trace {
        GethTrace::Default(frame) => options.config.limit.unwrap_or_default() == 0 && frame.struct_logs.len() >= MAX_STEPS,
        _ => false,
    };
    if is_cut || is_too_large(&tracer) {
        return Err(ViewError::Refused(format!(
            "the trace is too large: ask for fewer than {MAX_STEPS} steps with `limit`, without memory, or use callTracer"
        )));
    }
    Ok(trace)
}

/// A tracer that cannot take all of our memory, whatever it watches.
fn tracer(options: &GethDebugTracingOptions) -> Result<DebugInspector, ViewError> {
    let mut options = options.clone();
    let most = u64::try_from(MAX_STEPS).unwrap_or(u64::MAX);
    options.config.limit = Some(options.config.limit.filter(|limit| *limit > 0).unwrap_or(most).min(most));
    let bounds = TraceLimits::default().set_max_recorded_bytes(Some(MAX_BYTES));
    let bounded = |tracer: TracingInspector| tracer.with_limits(bounds);
    let tracer = DebugInspector::new(options).map_err(|cause| ViewError::Refused(cause.to_string()))?;
    Ok(match tracer {
        DebugInspector::Default(tracer, config) => DebugInspector::Default(bounded(tracer), config),
        DebugInspector::CallTracer(tracer, config) => DebugInspector::CallTracer(bounded(tracer), config),
        DebugInspector::PreStateTracer(tracer, config) => DebugInspector::PreStateTracer(bounded(tracer), config),
        DebugInspector::FlatCallTracer(tracer) => DebugInspector::FlatCallTracer(bounded(tracer)),
        DebugInspector::FourByte(_) | DebugInspector::Noop(_) => tracer,
        _ => return Err(ViewError::Refused("this tracer is not offered".into())),
    })
}

fn is_too_large(tracer: &DebugInspector) -> bool {
    match tracer {
        DebugInspector::Default(tracer, _)
        | DebugInspector::CallTracer(tracer, _)
        | DebugInspector::PreStateTracer(tracer, _)
        | DebugInspector::FlatCallTracer(tracer) => tracer.limit_exceeded(),
        _ => false,
    }
}
