use alloy_primitives::{Address, B256};
use alys_blocks::ChainDomain;

use super::support::*;
use crate::{Claim, MinedHash, ProofRefusal};

#[test]
fn the_mined_hash_sees_every_field() {
    let changes: [fn(&mut Claim); 7] = [
        |c| c.start.height += 1,
        |c| c.start.hash.0[31] ^= 1,
        |c| c.end.height += 1,
        |c| c.end.hash.0[0] ^= 1,
        |c| c.bits += 1,
        |c| c.fee_recipient = Address::repeat_byte(8),
        |c| c.sequence += 1,
    ];
    for change in changes {
        let mut altered = claim();
        change(&mut altered);
        let altered = altered.mined_hash(&domain(), EVM_CHAIN);
        assert_ne!(altered, mined_hash());
        let refusal = good().check(&crate::Expected { mined_hash: altered, ..expected() });
        assert_eq!(refusal, Err(ProofRefusal::OtherRoot));
    }
}

#[test]
fn the_mined_hash_is_of_one_chain() {
    assert_ne!(claim().mined_hash(&domain(), EVM_CHAIN + 1), mined_hash());
    assert_ne!(claim().mined_hash(&ChainDomain::new(B256::ZERO), EVM_CHAIN), mined_hash());
}

#[test]
fn the_mined_hash_is_shown_as_bitcoin_shows_hashes() {
    let hash = MinedHash(B256::left_padding_from(&[0xab]));
    let shown = hash.to_string();
    assert_eq!(shown, format!("ab{}", "00".repeat(31)));
    assert_eq!(shown.parse(), Ok(hash));
    for bad in ["", "ab", &shown[1..], &format!("{shown}00"), &shown.replace('b', "g")] {
        assert!(bad.parse::<MinedHash>().is_err(), "{bad}");
    }
}

/// Known bytes, computed apart from this code with Python: a changed field order, tag or encoding is another chain.
#[test]
fn the_mined_hash_is_fixed() {
    let known = "f013aff491dd2865086163e90cde18c455a80cea013a89d65446f204f4992a47";
    assert_eq!(mined_hash().to_string(), known);
}
