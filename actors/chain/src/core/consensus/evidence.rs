//! Proof that a validator signed two different things in one place. Nothing is decided by it: it is for the other operators.

use alloy_primitives::{B256, hex};
use alys_blocks::certificate::verify_signature;
use alys_blocks::{ChainDomain, ChainSpec, ValidatorId, VoteKind};
use alys_proto::chain;
use malachite::MisbehaviorEvidence;
use malachite_types::SignedVote;
use ssz::Encode as _;

use super::codec::{CodecError, ProposalMessage, VoteMessage, decode};
use super::context::Aura;

/// So many are kept of each validator and kind: somebody who goes on for years fills no disk. 256 validators × 3 kinds × 16
/// of 600 bytes are 7 MiB, which is one answer of storage's.
pub const KEPT: u64 = 16;
/// What the names of all of them begin with.
pub const PREFIX: &str = "evidence/";
const PROPOSAL: &str = "proposal";

/// What was signed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes.
    Votes(VoteMessage, VoteMessage),
    /// Two proposals.
    Proposals(ProposalMessage, ProposalMessage),
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No signed message.
    #[error(transparent)]
    Malformed(#[from] CodecError),
    /// Beside the messages stands something else than in them.
    #[error("it says something else than its signed messages")]
    Mislabelled,
    /// The chain has no such validator.
    #[error("the signer is no validator of this chain")]
    Stranger,
    /// A signature does not fit, or is of another chain.
    #[error("a signature does not hold on this chain")]
    Forged,
    /// One validator may sign both.
    #[error("the two were not signed by one validator in one place")]
    TwoPlaces,
    /// One thing, perhaps signed twice.
    #[error("both say the same")]
    OneThing,
}

/// One of the two.
struct Said {
    kind: &'static str,
    validator: ValidatorId,
    height: u64,
    round: u32,
    block: B256,
    /// Without its signature, of which there may be several.
    content: Vec<u8>,
    bytes: Vec<u8>,
    is_signed: bool,
}

impl Evidence {
    /// All that malachite found at a height: at most three pairs of votes and three of proposals of each validator.
    pub fn found(evidence: &MisbehaviorEvidence<Aura>) -> Vec<Self> {
        let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs);
        let votes = votes.map(|(first, second)| Self::Votes(first.into(), second.into()));
        let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs);
        votes.chain(proposals.map(|(first, second)| Self::Proposals(first.into(), second.into()))).collect()
    }

    /// Whether a record convinces a stranger who knows nothing but the chain's specification.
    pub fn check(record: &chain::Evidence, spec: &ChainSpec) -> Result<(), Flaw> {
        let (first, second) = (record.first.as_slice(), record.second.as_slice());
        let evidence = if record.kind == PROPOSAL {
            Self::Proposals(decode(first)?, decode(second)?)
        } else {
            Self::Votes(vote(first)?, vote(second)?)
        };
        let domain = spec.domain();
        if evidence.record(&domain, record.found_unix_millis) != *record {
            return Err(Flaw::Mislabelled);
        }
        if !spec.validators.contains(&evidence.validator()) {
            return Err(Flaw::Stranger);
        }
        let (first, second) = evidence.both(&domain);
        let place = |said: &Said| (said.kind, said.validator, said.height, said.round);
        if place(&first) != place(&second) {
            Err(Flaw::TwoPlaces)
        } else if first.content == second.content {
            Err(Flaw::OneThing)
        } else if !first.is_signed || !second.is_signed {
            Err(Flaw::Forged)
        } else {
            Ok(())
        }
    }

    /// Who signed.
    pub fn validator(&self) -> ValidatorId {
        match self {
            Self::Votes(first, _) => first.vote.validator,
            Self::Proposals(first, _) => first.proposal.validator,
        }
    }

    /// As it is kept and shown.
    pub fn record(&self, domain: &ChainDomain, found_unix_millis: u64) -> chain::Evidence {
        let (first, second) = self.both(domain);
        chain::Evidence {
            validator: first.validator.to_vec(),
            height: first.height,
            round: first.round,
            kind: first.kind.into(),
            first_block: first.block.to_vec(),
            first: first.bytes,
            second_block: second.block.to_vec(),
            second: second.bytes,
            found_unix_millis,
        }
    }

    fn both(&self, domain: &ChainDomain) -> (Said, Said) {
        match self {
            Self::Votes(first, second) => (voted(domain, first), voted(domain, second)),
            Self::Proposals(first, second) => (proposed(domain, first), proposed(domain, second)),
        }
    }
}

/// The name under which a record is kept. It takes the place of that of an earlier height.
pub fn key(record: &chain::Evidence) -> String {
    let validator = hex::encode(&record.validator);
    let place = record.height.checked_rem(KEPT).unwrap_or(0);
    format!("{PREFIX}{validator}/{}/{place:02}", record.kind)
}

/// A vote of a kind that there is.
fn vote(bytes: &[u8]) -> Result<VoteMessage, CodecError> {
    let message = decode(bytes)?;
    SignedVote::<Aura>::try_from(&message)?;
    Ok(message)
}

fn voted(domain: &ChainDomain, message: &VoteMessage) -> Said {
    let VoteMessage { vote, signature } = message;
    Said {
        kind: if vote.kind == VoteKind::Prevote.code() { "prevote" } else { "precommit" },
        validator: vote.validator,
        height: vote.height,
        round: vote.round,
        block: vote.block,
        content: vote.as_ssz_bytes(),
        bytes: message.as_ssz_bytes(),
        is_signed: verify_signature(&vote.validator, &domain.vote_root(vote), signature),
    }
}

fn proposed(domain: &ChainDomain, message: &ProposalMessage) -> Said {
    let ProposalMessage { proposal, signature } = message;
    Said {
        kind: PROPOSAL,
        validator: proposal.validator,
        height: proposal.height,
        round: proposal.round,
        block: proposal.block,
        content: proposal.as_ssz_bytes(),
        bytes: message.as_ssz_bytes(),
        is_signed: verify_signature(&proposal.validator, &domain.proposal_root(proposal), signature),
    }
}
