//! Votes, proposals and the commit certificate by which a chain of blocks proves itself to a stranger.

use std::collections::BTreeSet;

use alloy_primitives::{B256, FixedBytes};
use malachite_ed25519::{PublicKey, Signature};
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use ssz_types::VariableList;
use tree_hash_derive::TreeHash;

use crate::domain::ChainDomain;
use crate::limits::MaxValidators;

/// A validator's ed25519 public key; it is also its address.
pub type ValidatorId = B256;

/// What a vote is for. Encoded as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteKind {
    /// First round of voting.
    Prevote,
    /// Second round: more than 2/3 of these commit.
    Precommit,
}

/// A vote. `block` is zero for nil.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Vote {
    /// 0: prevote, 1: precommit.
    pub kind: u8,
    /// Block height.
    pub height: u64,
    /// Round within the height.
    pub round: u32,
    /// Hash of the block voted for, zero for nil.
    pub block: B256,
    /// Who votes.
    pub validator: ValidatorId,
}

/// What a proposer signs: this is my block for this round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Proposal {
    /// Block height.
    pub height: u64,
    /// Round within the height.
    pub round: u32,
    /// Proof-of-lock round + 1; 0: none.
    pub lock_round_plus_one: u32,
    /// Hash of the proposed block.
    pub block: B256,
    /// Who proposes.
    pub validator: ValidatorId,
}

/// One precommit of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct CommitSignature {
    /// Who signed.
    pub validator: ValidatorId,
    /// Ed25519 over the precommit's signing root.
    pub signature: FixedBytes<64>,
}

/// Precommits of more than 2/3 of the validators for one block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Certificate {
    /// Block height.
    pub height: u64,
    /// Round in which it was committed.
    pub round: u32,
    /// Hash of the committed block.
    pub block: B256,
    /// The precommits, sorted by validator.
    pub signatures: VariableList<CommitSignature, MaxValidators>,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the SSZ form.
    #[error("not a certificate: {0}")]
    Malformed(String),
    /// Signed by somebody who is no validator.
    #[error("signed by {0}, who is no validator")]
    Stranger(ValidatorId),
    /// One validator counted twice.
    #[error("validator {0} signed twice")]
    Repeated(ValidatorId),
    /// A signature does not verify.
    #[error("the signature of {0} is wrong")]
    BadSignature(ValidatorId),
    /// Not more than two thirds.
    #[error("{signed} of {validators} validators are not more than two thirds")]
    TooFew {
        /// Valid signatures.
        signed: usize,
        /// Size of the validator set.
        validators: usize,
    },
}

impl VoteKind {
    /// The byte in [`Vote::kind`].
    pub const fn code(self) -> u8 {
        match self {
            Self::Prevote => 0,
            Self::Precommit => 1,
        }
    }

    /// The kind of a byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Prevote),
            1 => Some(Self::Precommit),
            _ => None,
        }
    }
}

impl Certificate {
    /// SSZ bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From SSZ bytes that may come from anybody.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        Self::from_ssz_bytes(bytes).map_err(|cause| CertificateError::Malformed(format!("{cause:?}")))
    }

    /// Checks that more than two thirds of `validators` (equal power) precommitted this block.
    pub fn verify(&self, domain: &ChainDomain, validators: &[ValidatorId]) -> Result<(), CertificateError> {
        let mut signed = BTreeSet::new();
        for commit in &self.signatures {
            let validator = commit.validator;
            if !validators.contains(&validator) {
                return Err(CertificateError::Stranger(validator));
            }
            if !signed.insert(validator) {
                return Err(CertificateError::Repeated(validator));
            }
            let vote =
                Vote { kind: VoteKind::Precommit.code(), height: self.height, round: self.round, block: self.block, validator };
            if !verify_signature(&validator, &domain.vote_root(&vote), &commit.signature) {
                return Err(CertificateError::BadSignature(validator));
            }
        }
        let enough = signed.len().saturating_mul(3) > validators.len().saturating_mul(2);
        if enough { Ok(()) } else { Err(CertificateError::TooFew { signed: signed.len(), validators: validators.len() }) }
    }
}

/// Whether `signature` is `validator`'s over `root`. False for keys that are no curve point.
pub fn verify_signature(validator: &ValidatorId, root: &B256, signature: &FixedBytes<64>) -> bool {
    let signature = Signature::from_bytes(signature.0);
    PublicKey::from_bytes(validator.0).is_ok_and(|key| key.verify(root.as_slice(), &signature).is_ok())
}
