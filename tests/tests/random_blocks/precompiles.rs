//! Input for the contracts that Ethereum itself is: half of it right, half of it not.

use alloy_primitives::{Address, B256, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;

use super::numbers::Numbers;

/// The generator of BN254 (EIP-196) and its negative.
const POINT: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "0000000000000000000000000000000000000000000000000000000000000002"
);
const NEGATIVE: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd45"
);
/// The generator of the twisted curve (EIP-197).
const TWISTED: [u8; 128] = hex!(
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
);

/// One of the ten of Cancun, or one that comes only later; with its input.
pub fn call(numbers: &mut Numbers, signer: &PrivateKeySigner) -> eyre::Result<(Address, Vec<u8>)> {
    let number = u8::try_from(numbers.within(1, 11))?;
    let mut input = match number {
        1 => recovery(numbers, signer)?,
        2..=4 => numbers.bytes(300),
        5 => power(numbers),
        6 => [point(numbers), point(numbers)].concat(),
        7 => [point(numbers).as_slice(), numbers.word().as_slice()].concat(),
        8 => pairing(numbers),
        9 => compression(numbers),
        10 => opening(),
        _ => numbers.bytes(100),
    };
    if numbers.one_in(3) {
        spoil(numbers, &mut input);
    }
    Ok((Address::with_last_byte(number), input))
}

/// One byte more, one less, or another one.
fn spoil(numbers: &mut Numbers, input: &mut Vec<u8>) {
    let length = u64::try_from(input.len()).unwrap_or_default();
    match numbers.below(3) {
        0 => input.push(numbers.byte()),
        1 => drop(input.pop()),
        _ => {
            let at = usize::try_from(numbers.below(length.max(1))).unwrap_or_default();
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
    }
}

fn recovery(numbers: &mut Numbers, signer: &PrivateKeySigner) -> eyre::Result<Vec<u8>> {
    let hash = numbers.word();
    let signature = signer.sign_hash_sync(&hash)?;
    let parity = B256::with_last_byte(27 + u8::from(signature.v()));
    Ok([hash.as_slice(), parity.as_slice(), &signature.r().to_be_bytes::<32>(), &signature.s().to_be_bytes::<32>()].concat())
}

/// Lengths ‖ base ‖ exponent ‖ modulus of `modexp`.
fn power(numbers: &mut Numbers) -> Vec<u8> {
    let lengths: [u64; 3] = std::array::from_fn(|_| numbers.below(40));
    let mut input: Vec<u8> = lengths.iter().flat_map(|length| B256::left_padding_from(&length.to_be_bytes()).0).collect();
    input.extend((0..lengths.iter().sum()).map(|_| numbers.byte()));
    input
}

fn point(numbers: &mut Numbers) -> [u8; 64] {
    match numbers.below(5) {
        0 => [0; 64],
        1 => NEGATIVE,
        _ => POINT,
    }
}

/// One pair, or two whose product is one.
fn pairing(numbers: &mut Numbers) -> Vec<u8> {
    let two = [POINT.as_slice(), &TWISTED, &NEGATIVE, &TWISTED].concat();
    match numbers.below(4) {
        0 => Vec::new(),
        1 => two.get(..192).unwrap_or_default().to_vec(),
        _ => two,
    }
}

/// Rounds ‖ state ‖ message ‖ offsets ‖ last block of `blake2f`.
fn compression(numbers: &mut Numbers) -> Vec<u8> {
    let mut input = vec![0, 0, 0, numbers.byte() % 30];
    input.extend((0..208).map(|_| numbers.byte()));
    input.push(numbers.byte() % 2);
    input
}

/// EIP-4844: that the polynomial 0 is 0 everywhere. Commitment and proof are the point at infinity; its hash comes first.
fn opening() -> Vec<u8> {
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let hash = hex!("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014");
    [hash.as_slice(), &[0; 64], &infinity, &infinity].concat()
}
