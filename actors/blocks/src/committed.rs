//! Whether a committed block proves itself: what gossip and sync ask before they pass on what a stranger sent.
//!
//! Cheap checks first: without a validator's key a stranger costs one signature at most, and the block's megabytes are
//! only hashed for a certificate that holds. Execution and the parent are not looked at.

use crate::block::{Block, BlockDecodeError};
use crate::certificate::{Certificate, CertificateError, ValidatorId};
use crate::domain::ChainDomain;
use crate::spec::ChainSpec;

/// Bytes of an encoded certificate: 256 signatures × 96 bytes + 48, rounded up.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Why a committed block does not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommittedFault {
    /// More bytes than a certificate can have.
    #[error("{0} bytes are more than a certificate can have")]
    CertificateTooLong(usize),
    /// The certificate is for another block.
    #[error("the certificate is for another block")]
    OtherCertificate,
    /// The certificate proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The bytes are not a block.
    #[error(transparent)]
    Block(#[from] BlockDecodeError),
    /// Height, hash or chain id are not those of the block.
    #[error("height, hash or chain are not the block's")]
    OtherBlock,
}

/// A committed block as it travels.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// Its height.
    pub height: u64,
    /// Its hash, 32 bytes.
    pub hash: &'a [u8],
    /// SSZ [`Block`].
    pub block: &'a [u8],
    /// SSZ [`Certificate`].
    pub certificate: &'a [u8],
}

/// What committed blocks are checked against.
#[derive(Clone, Debug)]
pub struct CommittedRules {
    pub(crate) chain_id: u64,
    pub(crate) domain: ChainDomain,
    pub(crate) validators: Vec<ValidatorId>,
}

impl CommittedRules {
    /// Those of a chain.
    pub fn of(spec: &ChainSpec) -> Self {
        Self { chain_id: spec.chain_id, domain: spec.domain(), validators: spec.validators.clone() }
    }

    /// The block, if its certificate proves it.
    pub fn check(&self, message: Committed<'_>) -> Result<Block, CommittedFault> {
        if message.certificate.len() > MAX_CERTIFICATE_BYTES {
            return Err(CommittedFault::CertificateTooLong(message.certificate.len()));
        }
        let certificate = Certificate::decode(message.certificate)?;
        if certificate.height != message.height || certificate.block.as_slice() != message.hash {
            return Err(CommittedFault::OtherCertificate);
        }
        certificate.verify(&self.domain, &self.validators)?;
        let block = Block::decode(message.block)?;
        let same = block.header.height == message.height && block.header.chain_id == self.chain_id;
        if !same || self.domain.block_hash(&block.header) != certificate.block {
            return Err(CommittedFault::OtherBlock);
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use ssz_types::VariableList;

    use super::*;
    use crate::testing::{key, spec};
    use crate::{Body, Header, testing};

    #[derive(Clone)]
    struct Owned {
        height: u64,
        hash: Vec<u8>,
        block: Vec<u8>,
        certificate: Vec<u8>,
    }

    impl Owned {
        fn check(&self, spec: &ChainSpec) -> Result<Block, CommittedFault> {
            let Self { height, hash, block, certificate } = self;
            CommittedRules::of(spec).check(Committed { height: *height, hash, block, certificate })
        }
    }

    fn certified(header: Header) -> Owned {
        let spec = spec();
        let block = Block::new(header, Body::empty(Certificate::default(), VariableList::new(vec![1, 2, 3]).unwrap()));
        let certificate = testing::certificate(&spec, &[key()], &block);
        let (height, hash, certificate) = (certificate.height, certificate.block, certificate.encode());
        Owned { height, hash: hash.to_vec(), block: block.encode(), certificate }
    }

    fn good(height: u64) -> Owned {
        certified(Header { height, chain_id: 212_121, ..Header::default() })
    }

    #[test]
    fn a_certified_block_passes_and_each_breach_is_refused() {
        type Breach = (&'static str, fn(&mut Owned));
        let breaches: [Breach; 7] = [
            ("more than a certificate", |b| b.certificate = vec![0; MAX_CERTIFICATE_BYTES + 1]),
            ("not a certificate", |b| b.certificate.truncate(5)),
            ("another block", |b| b.height = 2),
            ("another block", |b| b.hash = vec![1; 32]),
            ("is wrong", |b| *b.certificate.last_mut().unwrap() ^= 1),
            ("not a block", |b| b.block.truncate(9)),
            ("height, hash or chain", |b| b.block = good(2).block),
        ];
        assert!(good(1).check(&spec()).is_ok());
        for (says, breach) in breaches {
            let mut block = good(1);
            breach(&mut block);
            let fault = block.check(&spec()).unwrap_err().to_string();
            assert!(fault.contains(says), "{says}: {fault}");
        }
    }

    #[test]
    fn another_chains_block_and_a_strangers_certificate_are_refused() {
        assert_eq!(certified(Header { height: 1, ..Header::default() }).check(&spec()), Err(CommittedFault::OtherBlock));
        let other = ChainSpec { validators: vec![[9; 32].into()], ..spec() };
        assert!(good(1).check(&other).is_err());
    }

    proptest! {
        #[test]
        fn no_damage_goes_unnoticed(part in 0usize..3, position in 0usize..1_000, change in 1u8..) {
            let mut block = good(1);
            let bytes = match part { 0 => &mut block.block, 1 => &mut block.certificate, _ => &mut block.hash };
            let length = bytes.len();
            bytes[position % length] ^= change;
            prop_assert!(block.check(&spec()).is_err());
        }
    }
}
