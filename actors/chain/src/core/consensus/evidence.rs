//! Proof that a validator signed two different things in one place. Nothing is decided by it: it is for the other operators.

use alloy_primitives::B256;
use alys_blocks::certificate::verify_signature;
use alys_blocks::{ChainDomain, ValidatorId, VoteKind};
use alys_proto::chain;
use malachite::MisbehaviorEvidence;
use ssz::Encode as _;

use super::codec::{CodecError, ProposalMessage, VoteMessage, decode};
use super::context::Aura;

/// So many are kept of each validator and kind: somebody who goes on for years fills no disk.
const KEPT: u64 = 64;

/// What was signed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes.
    Votes(VoteMessage, VoteMessage),
    /// Two proposals.
    Proposals(ProposalMessage, ProposalMessage),
}

/// One of the two.
struct Said {
    kind: &'static str,
    validator: ValidatorId,
    height: u64,
    round: u32,
    block: B256,
    bytes: Vec<u8>,
    is_signed: bool,
}

impl Evidence {
    /// All that malachite found at a height.
    pub fn found(evidence: &MisbehaviorEvidence<Aura>) -> Vec<Self> {
        let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs);
        let votes = votes.map(|(first, second)| Self::Votes(first.into(), second.into()));
        let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs);
        votes.chain(proposals.map(|(first, second)| Self::Proposals(first.into(), second.into()))).collect()
    }

    /// From what is kept.
    pub fn from_record(record: &chain::Evidence) -> Result<Self, CodecError> {
        let (first, second) = (record.first.as_slice(), record.second.as_slice());
        Ok(if record.kind == PROPOSAL {
            Self::Proposals(decode(first)?, decode(second)?)
        } else {
            Self::Votes(decode(first)?, decode(second)?)
        })
    }

    /// Who signed.
    pub fn validator(&self) -> ValidatorId {
        match self {
            Self::Votes(first, _) => first.vote.validator,
            Self::Proposals(first, _) => first.proposal.validator,
        }
    }

    /// Whether it convinces a stranger: one validator's signatures, one place, two contents.
    pub fn is_proof(&self, domain: &ChainDomain) -> bool {
        let (first, second) = self.both(domain);
        let place = |said: &Said| (said.kind, said.validator, said.height, said.round);
        first.is_signed && second.is_signed && place(&first) == place(&second) && first.bytes != second.bytes
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

/// The name under which evidence is kept. It takes the place of that of an earlier height.
pub fn key(evidence: &chain::Evidence) -> String {
    let validator: String = evidence.validator.iter().map(|byte| format!("{byte:02x}")).collect();
    let place = evidence.height.checked_rem(KEPT).unwrap_or(0);
    format!("{PREFIX}{validator}/{}/{place:02}", evidence.kind)
}

const PROPOSAL: &str = "proposal";
/// What all these names begin with.
pub const PREFIX: &str = "evidence/";

fn voted(domain: &ChainDomain, message: &VoteMessage) -> Said {
    let VoteMessage { vote, signature } = message;
    Said {
        kind: if vote.kind == VoteKind::Prevote.code() { "prevote" } else { "precommit" },
        validator: vote.validator,
        height: vote.height,
        round: vote.round,
        block: vote.block,
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
        bytes: message.as_ssz_bytes(),
        is_signed: verify_signature(&proposal.validator, &domain.proposal_root(proposal), signature),
    }
}
