//! Calls that leave no trace: `eth_call`, `eth_estimateGas` and `eth_createAccessList`.

use alloy_eips::eip2930::AccessListResult;
use alloy_primitives::{Address, Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_eth::state::StateOverride;

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::methods::Arguments;
use crate::core::view::{AccountOverride, CallOutcome, CallRequest};

/// What a plain transfer costs.
const TRANSFER_GAS: u64 = 21_000;
/// The search stops when the bounds are this close, in thousandths of the upper one. Wallets add more than that.
const TOLERANCE_PER_MILLE: u64 = 15;
/// A call passes on at most 63/64 of its gas, and may add this stipend (EIP-150).
const CALL_STIPEND: u64 = 2_300;

/// `eth_call(request, block, overrides)`.
pub(super) fn call(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Bytes> {
    let (at, request) = read(handle, &mut arguments)?;
    match handle.reader.call(at, &request)? {
        CallOutcome::Success { output, .. } => Ok(output),
        CallOutcome::Revert { output, .. } => Err(Failure::Reverted(output)),
        CallOutcome::Halt { reason, .. } => Err(Failure::Execution(reason)),
    }
}

/// `eth_estimateGas(request, block, overrides)`: the smallest limit that succeeds, within [`TOLERANCE_PER_MILLE`].
///
/// Gas use is not enough: refunds come after the end, and a call keeps back 1/64 of its gas. So the limit is searched.
pub(super) fn estimate_gas(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<U64> {
    let (at, mut request) = read(handle, &mut arguments)?;
    if is_transfer(handle, at, &request)? {
        request.gas = TRANSFER_GAS.min(request.gas);
        if let Some(CallOutcome::Success { .. }) = attempt(handle, at, &request)? {
            return Ok(U64::from(TRANSFER_GAS));
        }
    }
    request.gas = request.gas.max(TRANSFER_GAS);
    let (used, refunded) = highest(handle, at, &request)?;
    let mut enough = request.gas;
    let mut too_little = used.saturating_sub(1);
    // The first guess is right for most calls: it leaves the difference below the tolerance at once.
    let mut guess = used.saturating_add(refunded).saturating_add(CALL_STIPEND).saturating_mul(64) / 63;
    while too_little.saturating_add(1) < enough && !close(too_little, enough) {
        request.gas = guess.clamp(too_little.saturating_add(1), enough.saturating_sub(1));
        match attempt(handle, at, &request)? {
            Some(CallOutcome::Success { .. }) => enough = request.gas,
            _ => too_little = request.gas,
        }
        // Most calls need little more than the lower bound: do not let a huge upper bound cost many runs.
        guess = too_little.midpoint(enough).min(too_little.saturating_mul(2));
    }
    Ok(U64::from(enough))
}

/// `eth_createAccessList(request, block, overrides)`.
pub(super) fn create_access_list(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<AccessListResult> {
    let (at, request) = read(handle, &mut arguments)?;
    let (access_list, outcome) = handle.reader.access_list(at, &request)?;
    let (gas_used, error) = match outcome {
        CallOutcome::Success { gas_used, .. } => (gas_used, None),
        CallOutcome::Revert { gas_used, output } => (gas_used, Some(Failure::Reverted(output).to_string())),
        CallOutcome::Halt { gas_used, reason } => (gas_used, Some(reason)),
    };
    Ok(AccessListResult { access_list, gas_used: U256::from(gas_used), error })
}

/// Runs with all the gas there may be; what fails then fails always. Returns gas used and refunded.
fn highest(handle: &Handle, at: u64, request: &CallRequest) -> Answer<(u64, u64)> {
    match handle.reader.call(at, request)? {
        CallOutcome::Success { gas_used, gas_refunded, .. } => Ok((gas_used, gas_refunded)),
        CallOutcome::Revert { output, .. } => Err(Failure::Reverted(output)),
        CallOutcome::Halt { gas_used, .. } if gas_used >= request.gas => {
            Err(Failure::Execution(format!("gas required exceeds allowance ({})", request.gas)))
        }
        CallOutcome::Halt { reason, .. } => Err(Failure::Execution(reason)),
    }
}

/// One run of the search. `None` when this limit is even below what begins (intrinsic gas).
fn attempt(handle: &Handle, at: u64, request: &CallRequest) -> Answer<Option<CallOutcome>> {
    match handle.reader.call(at, request).map_err(Failure::from) {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Failure::Execution(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

fn close(too_little: u64, enough: u64) -> bool {
    enough.saturating_sub(too_little) <= enough.saturating_mul(TOLERANCE_PER_MILLE) / 1_000
}

fn is_transfer(handle: &Handle, at: u64, request: &CallRequest) -> Answer<bool> {
    let TxKind::Call(to) = request.to else { return Ok(false) };
    if !request.input.is_empty() || !request.overrides.is_empty() || !request.access_list.is_empty() {
        return Ok(false);
    }
    Ok(handle.reader.code(at, to)?.is_empty())
}

/// The block and the request of a call.
fn read(handle: &Handle, arguments: &mut Arguments<'_>) -> Answer<(u64, CallRequest)> {
    let asked: TransactionRequest = arguments.next()?;
    let at = handle.number_of(arguments.optional_next()?)?;
    let overrides: Option<StateOverride> = arguments.optional_next()?;
    Ok((at, request(handle, at, asked, overrides)?))
}

/// What is asked for, as the EVM takes it.
pub(super) fn request(
    handle: &Handle,
    at: u64,
    asked: TransactionRequest,
    overrides: Option<StateOverride>,
) -> Answer<CallRequest> {
    let overrides = overrides.unwrap_or_default().into_iter().map(one_override).collect::<Answer<Vec<_>>>()?;
    if asked.blob_versioned_hashes.is_some() || asked.max_fee_per_blob_gas.is_some() {
        return Err(Failure::Arguments("transaction type not supported: blobs are off".to_owned()));
    }
    let caller = asked.from.unwrap_or_default();
    let value = asked.value.unwrap_or_default();
    let base_fee = handle.reader.header_by_number(at)?.and_then(|header| header.base_fee_per_gas).unwrap_or_default();
    let gas_price = price(&asked, base_fee.into())?;
    let pretended = overrides.iter().find(|one| one.address == caller).and_then(|one| one.balance);
    let balance = match pretended {
        Some(balance) => balance,
        None => handle.reader.account(at, caller)?.map_or(U256::ZERO, |account| account.balance),
    };
    let most = handle.reader.gas_limit();
    let gas = allowance(asked.gas.unwrap_or(most).min(most), gas_price, balance, value)?;
    let access_list = asked.access_list.clone().unwrap_or_default();
    let to = asked.to.unwrap_or(TxKind::Create);
    let input = asked.input.try_into_unique_input().map_err(|error| Failure::Arguments(error.to_string()))?;
    let input = input.unwrap_or_default();
    Ok(CallRequest { caller, to, input, value, gas, gas_price, access_list, overrides })
}

/// Price per gas; 0 when nothing is said, then no fee is charged.
fn price(asked: &TransactionRequest, base_fee: u128) -> Answer<u128> {
    let (fee, tip) = (asked.max_fee_per_gas, asked.max_priority_fee_per_gas);
    if let Some(price) = asked.gas_price {
        if fee.is_some() || tip.is_some() {
            let both = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified";
            return Err(Failure::Arguments(both.to_owned()));
        }
        return Ok(price);
    }
    let Some(fee) = fee.filter(|fee| *fee > 0) else { return Ok(0) };
    let tip = tip.unwrap_or_default();
    if tip > fee {
        let text = format!("max priority fee per gas higher than max fee per gas: {tip} > {fee}");
        return Err(Failure::Execution(text));
    }
    if fee < base_fee {
        let text = format!("max fee per gas less than block base fee: maxFeePerGas {fee}, baseFee {base_fee}");
        return Err(Failure::Execution(text));
    }
    Ok(fee.min(base_fee.saturating_add(tip)))
}

/// With a price, no more gas than the caller can pay for.
fn allowance(gas: u64, price: u128, balance: U256, value: U256) -> Answer<u64> {
    if price == 0 {
        return Ok(gas);
    }
    let Some(left) = balance.checked_sub(value) else {
        return Err(Failure::Execution("insufficient funds for gas * price + value".to_owned()));
    };
    let affordable = left / U256::from(price);
    Ok(u64::try_from(affordable).unwrap_or(u64::MAX).min(gas))
}

fn one_override((address, asked): (Address, alloy_rpc_types_eth::state::AccountOverride)) -> Answer<AccountOverride> {
    if asked.move_precompile_to.is_some() {
        return Err(Failure::Arguments("movePrecompileToAddress is not supported".to_owned()));
    }
    if asked.state.is_some() && asked.state_diff.is_some() {
        return Err(Failure::Arguments(format!("account {address} has both state and stateDiff")));
    }
    let slots = |map: alloy_primitives::map::B256HashMap<_>| {
        map.into_iter()
            .map(|(slot, value): (alloy_primitives::B256, alloy_primitives::B256)| (slot.into(), value.into()))
            .collect::<Vec<(U256, U256)>>()
    };
    Ok(AccountOverride {
        address,
        balance: asked.balance,
        nonce: asked.nonce,
        code: asked.code,
        state: asked.state.map(slots),
        state_diff: asked.state_diff.map(slots).unwrap_or_default(),
    })
}
