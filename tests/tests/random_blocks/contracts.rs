//! Contracts that random transactions use, in a small assembly, and programs that nobody would write.

use alloy_primitives::{Address, keccak256};
use eyre::{OptionExt as _, bail};
use revm::bytecode::opcode::OpCode;

use super::numbers::Numbers;

/// `for (i = 0; i < calldatasize; i += 64) sstore(calldata[i], calldata[i + 32])`
pub const WRITER: &str = "0 loop: CALLDATASIZE DUP2 LT @more JUMPI STOP
    more: DUP1 32 ADD CALLDATALOAD DUP2 CALLDATALOAD SSTORE 64 ADD @loop JUMP";

/// The call data as a log without topics up to one with four.
pub const LOGGER: &str = "CALLDATASIZE 0 0 CALLDATACOPY
    CALLDATASIZE 0 LOG0
    CALLER CALLDATASIZE 0 LOG1
    0 CALLDATALOAD CALLER CALLDATASIZE 0 LOG2
    32 CALLDATALOAD 0 CALLDATALOAD CALLER CALLDATASIZE 0 LOG3
    64 CALLDATALOAD 32 CALLDATALOAD 0 CALLDATALOAD CALLER CALLDATASIZE 0 LOG4 STOP";

/// Writes a slot and a log, and takes both back with the call data as the reason.
pub const REVERTER: &str = "0 CALLDATALOAD 0 SSTORE 0 0 LOG0
    CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 REVERT";

/// Burns all gas that it gets.
pub const WASTER: &str = "INVALID";

/// Gives what it has to whom the call data names; since Cancun it stays where it was.
pub const BOMB: &str = "0 CALLDATALOAD SELFDESTRUCT";

/// What the EVM knows of its surroundings: 32 bytes each into a log, their hash into a slot.
pub const OBSERVER: &str = "7 99 TSTORE
    ADDRESS 0 MSTORE ORIGIN 32 MSTORE CALLER 64 MSTORE CALLVALUE 96 MSTORE CALLDATASIZE 128 MSTORE CODESIZE 160 MSTORE
    GASPRICE 192 MSTORE COINBASE 224 MSTORE TIMESTAMP 256 MSTORE NUMBER 288 MSTORE DIFFICULTY 320 MSTORE
    GASLIMIT 352 MSTORE CHAINID 384 MSTORE SELFBALANCE 416 MSTORE BASEFEE 448 MSTORE BLOBBASEFEE 480 MSTORE
    0 BLOBHASH 512 MSTORE 1 NUMBER SUB BLOCKHASH 544 MSTORE 300 NUMBER SUB BLOCKHASH 576 MSTORE
    0 CALLDATALOAD BALANCE 608 MSTORE 0 CALLDATALOAD EXTCODESIZE 640 MSTORE 0 CALLDATALOAD EXTCODEHASH 672 MSTORE
    99 TLOAD 704 MSTORE GAS 736 MSTORE MSIZE 768 MSTORE PC 800 MSTORE 64 5 832 MCOPY
    960 0 LOG0 960 0 KECCAK256 0 SSTORE STOP";

/// Call data: salt ‖ init code. Makes the contract and calls it, which may end it; makes it again elsewhere, and last in the
/// same place, which must fail and takes the gas: what ended is there until the transaction ends.
pub const FACTORY: &str = "32 CALLDATASIZE SUB DUP1 32 0 CALLDATACOPY
    DUP1 0 CALLDATALOAD SWAP1 0 CALLVALUE CREATE2
    0 0 0 0 0 DUP6 GAS CALL 0 0 LOG2
    DUP1 0 0 CREATE 0 SSTORE
    0 CALLDATALOAD SWAP1 0 0 CREATE2 0 0 LOG1 STOP";

/// Call data: address ‖ value ‖ gas ‖ input. Calls in one of the four ways; how that ended, and its answer, into a log.
pub fn forwarder(way: &str) -> String {
    let value = if matches!(way, "CALL" | "CALLCODE") { "32 CALLDATALOAD" } else { "" };
    format!(
        "96 CALLDATASIZE SUB DUP1 96 0 CALLDATACOPY
        0 0 DUP3 0 {value} 0 CALLDATALOAD 64 CALLDATALOAD {way}
        RETURNDATASIZE 0 0 RETURNDATACOPY RETURNDATASIZE 0 LOG1 STOP"
    )
}

/// Words of the assembly: an instruction, a number to push, `name:` to jump to, `@name` to push where that is.
pub fn assemble(source: &str) -> eyre::Result<Vec<u8>> {
    let (mut code, mut labels, mut uses) = (Vec::new(), Vec::new(), Vec::new());
    for word in source.split_whitespace() {
        if let Some(name) = word.strip_suffix(':') {
            labels.push((name, u16::try_from(code.len())?));
            code.push(OpCode::JUMPDEST.get());
        } else if let Some(name) = word.strip_prefix('@') {
            code.push(OpCode::PUSH2.get());
            uses.push((name, code.len()));
            code.extend([0, 0]);
        } else if let Ok(number) = word.parse::<u64>() {
            push(&mut code, &number.to_be_bytes());
        } else {
            let instruction = (0..=u8::MAX).filter_map(OpCode::new).find(|instruction| instruction.as_str() == word);
            code.push(instruction.ok_or_eyre(word.to_owned())?.get());
        }
    }
    for (name, at) in uses {
        let Some((_, target)) = labels.iter().find(|(label, _)| *label == name) else { bail!("no label {name}") };
        code.splice(at..at + 2, target.to_be_bytes());
    }
    Ok(code)
}

/// A number onto the stack, as short as it can be.
fn push(code: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let length = u8::try_from(digits.len()).unwrap_or(32);
    code.push(OpCode::PUSH0.get() + length);
    code.extend(digits);
}

/// Init code that installs `code`.
pub fn installing(code: &[u8]) -> eyre::Result<Vec<u8>> {
    let length = u16::try_from(code.len())?.to_be_bytes();
    // PUSH2 length, DUP1, PUSH1 11, PUSH0, CODECOPY, PUSH0, RETURN, STOP; then what is installed.
    let mut init = vec![0x61, length[0], length[1], 0x80, 0x60, 11, 0x5f, 0x39, 0x5f, 0xf3, 0x00];
    init.extend(code);
    Ok(init)
}

/// Instructions in any order, but with enough on the stack for each, so that many of them run before one fails.
pub fn nonsense(numbers: &mut Numbers, known: &[Address]) -> Vec<u8> {
    let (mut code, mut depth) = (Vec::new(), 0_u8);
    for _ in 0..numbers.within(10, 150) {
        let instruction = u8::try_from(numbers.below(256)).ok().and_then(OpCode::new);
        let anything_goes = numbers.one_in(100);
        match instruction {
            Some(known) if anything_goes || is_sensible(known, depth) => {
                code.push(known.get());
                depth = depth.saturating_sub(known.inputs()).saturating_add(known.outputs());
            }
            _ => {
                match numbers.below(8) {
                    0 => push(&mut code, numbers.word().as_slice()),
                    1 => push(&mut code, numbers.choice(known).as_slice()),
                    2 => push(&mut code, keccak256([numbers.byte()]).get(..4).unwrap_or_default()),
                    3 => push(&mut code, &[numbers.byte(), numbers.byte()]),
                    _ => push(&mut code, &[numbers.byte() % 40]),
                }
                depth = depth.saturating_add(1);
            }
        }
        if depth > 100 {
            break;
        }
    }
    // What is in memory is the code of the contract, if it comes so far.
    code.extend([0x60, 40, 0x5f, 0xf3]);
    code
}

/// It finds what it needs on the stack, and does not end the program at once.
fn is_sensible(instruction: OpCode, depth: u8) -> bool {
    let ends = ["STOP", "RETURN", "REVERT", "INVALID", "SELFDESTRUCT", "JUMP", "CLZ"];
    !instruction.is_push() && instruction.inputs() <= depth && !ends.contains(&instruction.as_str())
}
