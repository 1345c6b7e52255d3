//! Signatures: ours over what we say, others' over what they say. Every signed root names its purpose and the chain.
#![allow(clippy::result_large_err, reason = "the error type is malachite's, and it is moved once")]

use std::collections::BTreeSet;

use alloy_primitives::FixedBytes;
use alys_blocks::ChainDomain;
use alys_blocks::certificate::verify_signature;
use malachite::ConsensusMsg;
use malachite_ed25519::{PrivateKey, PublicKey, Signature};
use malachite_types::{
    BoxError, CertificateError, CommitCertificate, PolkaCertificate, Round, RoundCertificate, RoundCertificateType,
    SignedMessage, SignedProposal, SignedVote, ThresholdParam, ThresholdParams, ValidatorSet as _, Vote as _, VoteType,
};

use super::codec::{certificate_of, proposal_to_sign, vote_to_sign};
use super::context::{Address, Aura, Proposal, ValidatorSet, Vote};

/// Signs a vote. Called once per vote: what was logged is reused, never signed anew.
pub fn sign_vote(domain: &ChainDomain, key: &PrivateKey, vote: Vote) -> SignedVote<Aura> {
    let signature = key.sign(domain.vote_root(&vote_to_sign(&vote)).as_slice());
    SignedMessage::new(vote, signature)
}

/// Signs a proposal.
pub fn sign_proposal(domain: &ChainDomain, key: &PrivateKey, proposal: Proposal) -> SignedProposal<Aura> {
    let signature = key.sign(domain.proposal_root(&proposal_to_sign(&proposal)).as_slice());
    SignedMessage::new(proposal, signature)
}

/// Whether a message is signed by that key.
pub fn is_signed(domain: &ChainDomain, signed: &SignedMessage<Aura, ConsensusMsg<Aura>>, key: &PublicKey) -> bool {
    let root = match &signed.message {
        ConsensusMsg::Vote(vote) => domain.vote_root(&vote_to_sign(vote)),
        ConsensusMsg::Proposal(proposal) => domain.proposal_root(&proposal_to_sign(proposal)),
    };
    key.verify(root.as_slice(), &signed.signature).is_ok()
}

/// Checks precommits of more than two thirds.
pub fn check_commit(
    domain: &ChainDomain,
    certificate: &CommitCertificate<Aura>,
    validators: &ValidatorSet,
) -> Result<(), CertificateError<Aura>> {
    let signatures = certificate.commit_signatures.iter().map(|signed| (signed.address, signed.signature));
    let plain = certificate_of(certificate.height, certificate.round, certificate.value_id, signatures);
    let ids: Vec<_> = validators.iter().map(|validator| malachite_types::Validator::address(validator).0).collect();
    plain.verify(domain, &ids).map_err(|cause| CertificateError::VerificationError(Some(BoxError(Box::new(cause)))))
}

/// Checks prevotes of more than two thirds.
pub fn check_polka(
    domain: &ChainDomain,
    certificate: &PolkaCertificate<Aura>,
    validators: &ValidatorSet,
    thresholds: ThresholdParams,
) -> Result<(), CertificateError<Aura>> {
    let votes: Vec<_> = certificate.votes(&Aura).collect();
    check_votes(domain, &votes, validators, thresholds.quorum)
}

/// Checks the votes that justify a change of round.
pub fn check_round(
    domain: &ChainDomain,
    certificate: &RoundCertificate<Aura>,
    validators: &ValidatorSet,
    thresholds: ThresholdParams,
) -> Result<(), CertificateError<Aura>> {
    let votes: Vec<_> = certificate.votes(&Aura).collect();
    let threshold = match certificate.cert_type {
        RoundCertificateType::Skip => thresholds.honest,
        RoundCertificateType::Precommit => {
            if let Some(prevote) = votes.iter().find(|vote| vote.vote_type() == VoteType::Prevote) {
                return Err(CertificateError::InvalidVoteType(prevote.voter));
            }
            thresholds.quorum
        }
    };
    check_votes(domain, &votes, validators, threshold)
}

/// Checks each signature once, and that the signers are enough. A skip certificate may hold both votes of a
/// validator: it counts once.
fn check_votes(
    domain: &ChainDomain,
    votes: &[SignedVote<Aura>],
    validators: &ValidatorSet,
    threshold: ThresholdParam,
) -> Result<(), CertificateError<Aura>> {
    let mut signers: BTreeSet<Address> = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for vote in votes {
        if validators.get_by_address(&vote.voter).is_none() {
            return Err(CertificateError::UnknownValidator(vote.voter));
        }
        if vote.round == Round::Nil || !seen.insert((vote.voter, vote.kind)) {
            return Err(CertificateError::DuplicateVote(vote.voter));
        }
        if !has_signature(domain, vote, &vote.signature) {
            return Err(CertificateError::VerificationError(None));
        }
        signers.insert(vote.voter);
    }
    let signed = u64::try_from(signers.len()).unwrap_or(u64::MAX);
    let total = validators.total_voting_power();
    if threshold.is_met(signed, total) {
        Ok(())
    } else {
        Err(CertificateError::NotEnoughVotingPower { signed, total, expected: threshold.min_expected(total) })
    }
}

fn has_signature(domain: &ChainDomain, vote: &Vote, signature: &Signature) -> bool {
    verify_signature(&vote.voter.0, &domain.vote_root(&vote_to_sign(vote)), &FixedBytes(signature.to_bytes()))
}
