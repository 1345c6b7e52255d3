//! The bridge contract of genesis, run by the engine.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod common;

use alloy_primitives::{Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, SolError, SolInterface, sol};
use alys_blocks::spec::PegSpec;
use alys_engine::core::view::{CallOutcome, CallRequest};
use common::{BRIDGE, DevChain, rich};

sol! {
    interface Bridge {
        event RequestPegOut(address indexed sender, bytes bitcoinAddress, uint256 amount);
        error AmountBelowMinimum(uint256 amount, uint256 minimum);
        error AmountNotWholeSatoshis(uint256 amount);
        error AddressLengthOutOfRange(uint256 length);
        function requestPegOut(bytes calldata bitcoinAddress) external payable;
        function MINIMUM_AMOUNT() external view returns (uint256);
    }
}

fn call(chain: &DevChain, value: U256, input: Vec<u8>) -> CallOutcome {
    let to = TxKind::Call(BRIDGE);
    let request = CallRequest { caller: rich().address(), to, value, input: input.into(), ..CallRequest::default() };
    chain.reader().call(0, &request).unwrap()
}

fn burn(chain: &DevChain, value: U256, length: usize) -> Result<(), Bridge::BridgeErrors> {
    let input = Bridge::requestPegOutCall { bitcoinAddress: Bytes::from(vec![b'x'; length]) }.abi_encode();
    match call(chain, value, input) {
        CallOutcome::Success { .. } => Ok(()),
        CallOutcome::Revert { output, .. } => Err(Bridge::BridgeErrors::abi_decode(&output).unwrap()),
        CallOutcome::Halt { reason, .. } => panic!("{reason}"),
    }
}

#[tokio::test]
async fn nobody_burns_for_nothing() {
    let chain = DevChain::start().await;
    let minimum = U256::from(PegSpec::default().min_peg_out.to_wei().0);
    let satoshi = U256::from(10_000_000_000_u64);
    use Bridge::BridgeErrors as Errors;
    let small = |answer| matches!(answer, Err(Errors::AmountBelowMinimum(error)) if error.minimum == minimum);
    let odd = |answer| matches!(answer, Err(Errors::AmountNotWholeSatoshis(_)));
    let length = |answer| matches!(answer, Err(Errors::AddressLengthOutOfRange(_)));

    assert!(burn(&chain, minimum, 42).is_ok());
    assert!(burn(&chain, minimum + satoshi, 42).is_ok());
    assert!(small(burn(&chain, U256::ZERO, 42)));
    assert!(small(burn(&chain, minimum - satoshi, 42)));
    assert!(odd(burn(&chain, minimum + U256::ONE, 42)));
    assert!(odd(burn(&chain, minimum + satoshi - U256::ONE, 42)));
    assert!(length(burn(&chain, minimum, 0)));
    assert!(burn(&chain, minimum, 1).is_ok());
    assert!(burn(&chain, minimum, 100).is_ok());
    assert!(length(burn(&chain, minimum, 101)));
}

#[tokio::test]
async fn it_takes_no_coins_any_other_way() {
    let chain = DevChain::start().await;
    let minimum = U256::from(PegSpec::default().min_peg_out.to_wei().0);
    let constant = Bridge::MINIMUM_AMOUNTCall {}.abi_encode();
    for input in [Vec::new(), vec![1, 2, 3, 4], constant.clone()] {
        assert!(matches!(call(&chain, minimum, input), CallOutcome::Revert { .. }));
    }
    let CallOutcome::Success { output, .. } = call(&chain, U256::ZERO, constant) else { panic!() };
    assert_eq!(U256::from_be_slice(&output), minimum);
    assert_eq!(Bridge::AmountBelowMinimum::SELECTOR.len(), 4);
}
