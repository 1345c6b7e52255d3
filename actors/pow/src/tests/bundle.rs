use bitcoin::ScriptBuf;
use proptest::prelude::*;

use super::proof::any_proof;
use super::support::*;
use crate::proof::MAX_PROOF_BYTES;
use crate::{Bundle, BundleError, ProofError};

fn bundle() -> Bundle {
    Bundle { claim: claim(), proof: good() }
}

#[test]
fn a_bundle_is_ssz() {
    let bytes = bundle().encode().unwrap().to_vec();
    assert_eq!(bytes.len(), 116 + good().encode().len());
    assert_eq!(bytes[..8], 11_u64.to_le_bytes());
    assert_eq!(bytes[80..84], 0x207f_ffff_u32.to_le_bytes());
    assert_eq!(bytes[112..116], 116_u32.to_le_bytes());
    assert_eq!(Bundle::decode(&bytes), Ok(bundle()));
}

#[test]
fn the_largest_proof_fits_and_one_byte_more_does_not() {
    let mut large = bundle();
    let room = MAX_PROOF_BYTES - large.proof.encode().len();
    // The script's length takes two bytes more than before.
    let length = large.proof.coinbase.input[0].script_sig.len() + room - 2;
    large.proof.coinbase.input[0].script_sig = ScriptBuf::from(vec![0; length]);
    let bytes = large.encode().unwrap().to_vec();
    assert_eq!(Bundle::decode(&bytes).as_ref(), Ok(&large));
    large.proof.coinbase.input[0].script_sig = ScriptBuf::from(vec![0; length + 1]);
    assert_eq!(large.encode(), Err(BundleError::TooLong(MAX_PROOF_BYTES + 1)));
}

#[test]
fn bytes_that_are_no_bundle_are_refused_with_a_reason() {
    let bytes = bundle().encode().unwrap().to_vec();
    assert_eq!(Bundle::decode(&vec![0; 65_537]), Err(BundleError::TooLong(65_537)));
    assert!(matches!(Bundle::decode(&bytes[..115]), Err(BundleError::Malformed(_))));
    let mut moved = bytes.clone();
    moved[112] += 1;
    assert!(matches!(Bundle::decode(&moved), Err(BundleError::Malformed(_))));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Bundle::decode(&longer), Err(BundleError::Proof(ProofError::Trailing(1))));
}

proptest! {
    #[test]
    fn bundles_round_trip(proof in any_proof(), sequence: u64, bits: u32) {
        let bundle = Bundle { claim: crate::Claim { sequence, bits, ..claim() }, proof };
        prop_assert_eq!(Bundle::decode(&bundle.encode().unwrap()), Ok(bundle));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_000)) {
        let _refused = Bundle::decode(&bytes);
    }

    #[test]
    fn one_bundle_has_one_encoding(place: prop::sample::Index, value: u8) {
        let mut bytes = bundle().encode().unwrap().to_vec();
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Ok(decoded) = Bundle::decode(&bytes) {
            prop_assert_eq!(decoded.encode().unwrap().to_vec(), bytes);
        }
    }
}
