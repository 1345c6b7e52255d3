//! A claim with its proof, as it stands in a block: SSZ, and within it the proof in its own serialisation.

use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};

use alys_blocks::limits::MaxBundleBytes;

use crate::claim::Claim;
use crate::proof::{AuxPow, MAX_PROOF_BYTES, ProofError};

/// [`MAX_PROOF_BYTES`], as a type.
type MaxProofBytes = typenum::Prod<typenum::U60, typenum::U1024>;

/// Bytes of a claim in SSZ: two blocks of 40, bits 4, address 20, sequence 8.
const CLAIM_BYTES: usize = 112;
/// Bytes of the offset of the proof.
const OFFSET_BYTES: usize = 4;

const _: () = assert!(<MaxProofBytes as typenum::Unsigned>::USIZE == MAX_PROOF_BYTES);
const _: () = assert!(CLAIM_BYTES + OFFSET_BYTES + MAX_PROOF_BYTES <= <MaxBundleBytes as typenum::Unsigned>::USIZE);

/// Work for a range of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What was mined.
    pub claim: Claim,
    /// The work.
    pub proof: AuxPow,
}

#[derive(Encode, Decode)]
struct Wire {
    claim: Claim,
    proof: VariableList<u8, MaxProofBytes>,
}

/// Why bytes are no bundle, or a bundle has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Above the cap of a block.
    #[error("{0} bytes are more than a bundle can have")]
    TooLong(usize),
    /// Not the SSZ form.
    #[error("not a bundle: {0}")]
    Malformed(String),
    /// The proof within is none.
    #[error("proof of a bundle")]
    Proof(#[from] ProofError),
}

impl Bundle {
    /// The bytes for a block's body. Refused only for a proof above its cap, which [`AuxPow::decode`] refuses too.
    pub fn encode(&self) -> Result<VariableList<u8, MaxBundleBytes>, BundleError> {
        let proof = self.proof.encode();
        let length = proof.len();
        let proof = VariableList::new(proof).map_err(|_| BundleError::TooLong(length))?;
        let bytes = Wire { claim: self.claim, proof }.as_ssz_bytes();
        let length = bytes.len();
        VariableList::new(bytes).map_err(|_| BundleError::TooLong(length))
    }

    /// From bytes that may come from anybody.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > <MaxBundleBytes as typenum::Unsigned>::USIZE {
            return Err(BundleError::TooLong(bytes.len()));
        }
        let wire = Wire::from_ssz_bytes(bytes).map_err(|cause| BundleError::Malformed(format!("{cause:?}")))?;
        Ok(Self { claim: wire.claim, proof: AuxPow::decode(&wire.proof)? })
    }
}
