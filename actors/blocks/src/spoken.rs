//! What a validator says to the others over gossip, signed as a whole: peers pass it on only when it is a validator's and of
//! the height that is under way, so nobody else can make the network carry anything under this topic.

use alloy_primitives::{B256, FixedBytes};
use malachite_ed25519::PrivateKey;
use sha2::{Digest as _, Sha256};
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use tree_hash_derive::TreeHash;

use crate::certificate::{ValidatorId, verify_signature};
use crate::committed::CommittedRules;
use crate::domain::ChainDomain;

/// A signed consensus message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Spoken {
    /// The height that it is about.
    pub height: u64,
    /// Who speaks.
    pub validator: ValidatorId,
    /// Ed25519 over the rest.
    pub signature: FixedBytes<64>,
    /// A vote, a proposal with its block, or a certificate; consensus judges it.
    pub message: Vec<u8>,
}

#[derive(TreeHash)]
struct Signed {
    height: u64,
    validator: ValidatorId,
    message: B256,
}

/// Why nobody passes it on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpokenFault {
    /// Not the SSZ form.
    #[error("not a consensus message: {0}")]
    Malformed(String),
    /// By somebody who is no validator.
    #[error("said by {0}, who is no validator")]
    Stranger(ValidatorId),
    /// The signature does not verify.
    #[error("the signature of {0} is wrong")]
    BadSignature(ValidatorId),
}

impl Spoken {
    /// Signs a message.
    pub fn sign(domain: &ChainDomain, key: &PrivateKey, height: u64, message: Vec<u8>) -> Self {
        let validator = ValidatorId::from(*key.public_key().as_bytes());
        let root = root(domain, height, validator, &message);
        Self { height, validator, signature: key.sign(root.as_slice()).to_bytes().into(), message }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From bytes of a stranger.
    ///
    /// # Errors
    /// [`SpokenFault::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SpokenFault> {
        Self::from_ssz_bytes(bytes).map_err(|cause| SpokenFault::Malformed(format!("{cause:?}")))
    }
}

impl CommittedRules {
    /// Checks who speaks. The cheap part first: a stranger costs one look at the list.
    ///
    /// # Errors
    /// All of [`SpokenFault`] but the first.
    pub fn check_spoken(&self, spoken: &Spoken) -> Result<(), SpokenFault> {
        if !self.validators.contains(&spoken.validator) {
            return Err(SpokenFault::Stranger(spoken.validator));
        }
        let root = root(&self.domain, spoken.height, spoken.validator, &spoken.message);
        if verify_signature(&spoken.validator, &root, &spoken.signature) {
            Ok(())
        } else {
            Err(SpokenFault::BadSignature(spoken.validator))
        }
    }
}

fn root(domain: &ChainDomain, height: u64, validator: ValidatorId, message: &[u8]) -> B256 {
    let message = B256::from_slice(&Sha256::digest(message));
    domain.root("alys/spoken/1", &Signed { height, validator, message })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn rules(key: &PrivateKey) -> CommittedRules {
        CommittedRules {
            chain_id: 1,
            domain: ChainDomain::new(B256::repeat_byte(1)),
            validators: vec![(*key.public_key().as_bytes()).into()],
        }
    }

    #[test]
    fn only_what_a_validator_has_signed_passes() {
        let (key, stranger) = (PrivateKey::from([7; 32]), PrivateKey::from([8; 32]));
        let rules = rules(&key);
        let good = Spoken::sign(&rules.domain, &key, 5, vec![1, 2, 3]);
        assert_eq!(Spoken::decode(&good.encode()).unwrap(), good);
        assert_eq!(rules.check_spoken(&good), Ok(()));
        let by_stranger = Spoken::sign(&rules.domain, &stranger, 5, vec![1]);
        assert_eq!(rules.check_spoken(&by_stranger), Err(SpokenFault::Stranger(by_stranger.validator)));
        let other_chain = Spoken::sign(&ChainDomain::new(B256::ZERO), &key, 5, vec![1, 2, 3]);
        for bad in [
            Spoken { height: 6, ..good.clone() },
            Spoken { message: vec![1, 2], ..good.clone() },
            Spoken { signature: by_stranger.signature, ..good.clone() },
            other_chain,
        ] {
            assert_eq!(rules.check_spoken(&bad), Err(SpokenFault::BadSignature(good.validator)), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(spoken) = Spoken::decode(&bytes) {
                prop_assert!(rules(&PrivateKey::from([7; 32])).check_spoken(&spoken).is_err());
            }
        }
    }
}
