//! Consensus messages and log entries as bytes (SSZ unions).
//!
//! A proposal travels with the whole block, so a receiver never has to ask for it. Bytes come from strangers:
//! everything is bounded before it is decoded and refused with an error, never a panic.

use alloy_primitives::{B256, FixedBytes};
use alys_blocks::limits::{MAX_BLOCK_BYTES, MaxValidators};
use alys_blocks::{Certificate, CommitSignature};
use malachite::{Input, ProposedValue};
use malachite_ed25519::Signature;
use malachite_types::{
    NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage,
    SignedProposal, SignedVote, Timeout, TimeoutKind, Validity, ValueOrigin, VoteType,
};
use ssz::Encode as _;
use ssz_derive::{Decode, Encode};
use ssz_types::VariableList;
use ssz_types::typenum::U512;

use super::context::{Address, Aura, BlockHeight, BlockId, Proposal, Vote};

/// Room for a proposal's fields beside its block.
const MAX_MESSAGE_BYTES: usize = MAX_BLOCK_BYTES + 1_024;

/// A vote with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteMessage {
    /// What is signed.
    pub vote: alys_blocks::Vote,
    /// Ed25519 over the vote's signing root.
    pub signature: FixedBytes<64>,
}

/// A proposal with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposalMessage {
    /// What is signed.
    pub proposal: alys_blocks::Proposal,
    /// Ed25519 over the proposal's signing root.
    pub signature: FixedBytes<64>,
}

/// A proposal and the block it is for (SSZ `alys_blocks::Block`; empty when the sender no longer has it).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockProposal {
    /// The proposal.
    pub proposal: ProposalMessage,
    /// The block.
    pub block: Vec<u8>,
}

/// Why a round is entered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundChange {
    height: u64,
    round: u32,
    /// 0: skip (f+1 votes of that round), 1: precommits (2f+1 of the round before).
    kind: u8,
    /// At most a prevote and a precommit of each validator.
    votes: VariableList<VoteMessage, U512>,
}

/// What goes over gossip.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[ssz(enum_behaviour = "union")]
pub enum Gossip {
    /// A vote.
    Vote(VoteMessage),
    /// A proposal with its block.
    Proposal(BlockProposal),
    /// More than 2/3 prevoted this block: shaped like a commit certificate, but of prevotes.
    Polka(Certificate),
    /// A justified change of round.
    RoundChange(RoundChange),
}

/// A timeout that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TimeoutEntry {
    round: u32,
    kind: u8,
}

/// A block that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JudgedValue {
    height: u64,
    round: u32,
    valid_round_plus_one: u32,
    block: B256,
    proposer: B256,
    valid: bool,
}

/// What is written to the log before it is acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[ssz(enum_behaviour = "union")]
pub enum WalEntry {
    /// A vote, ours or another's.
    Vote(VoteMessage),
    /// A proposal.
    Proposal(ProposalMessage),
    /// The verdict on a block.
    Value(JudgedValue),
    /// A timeout.
    Timeout(TimeoutEntry),
    /// A certificate of prevotes.
    Polka(Certificate),
    /// The block of a proposal: it must be there again after a crash.
    Block(Vec<u8>),
}

/// The bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the largest message.
    #[error("{0} bytes are more than a consensus message can have")]
    TooLong(usize),
    /// Not the SSZ form.
    #[error("not a consensus message: {0}")]
    Malformed(String),
    /// A number names no vote or timeout kind.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
}

impl Gossip {
    /// SSZ bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From bytes that may come from anybody.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes)
    }
}

impl WalEntry {
    /// SSZ bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From the log.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes)
    }

    /// What malachite wants to have logged; `None` for inputs that it never logs.
    pub fn from_input(input: &Input<Aura>) -> Option<Self> {
        Some(match input {
            Input::Vote(vote) => Self::Vote(vote.into()),
            Input::Proposal(proposal) => Self::Proposal(proposal.into()),
            Input::ProposedValue(value, _) => Self::Value(JudgedValue {
                height: value.height.0,
                round: round_number(value.round),
                valid_round_plus_one: plus_one(value.valid_round),
                block: value.value.0,
                proposer: value.proposer.0,
                valid: value.validity.is_valid(),
            }),
            Input::TimeoutElapsed(timeout) => Self::Timeout(TimeoutEntry::new(*timeout)?),
            Input::PolkaCertificate(certificate) => Self::Polka(from_polka(certificate)),
            _ => return None,
        })
    }

    /// The block of a proposal.
    pub fn proposed(&self) -> Option<B256> {
        if let Self::Proposal(message) = self { Some(message.proposal.block) } else { None }
    }

    /// The block of a verdict.
    pub fn judged(&self) -> Option<B256> {
        if let Self::Value(value) = self { Some(value.block) } else { None }
    }

    /// What malachite is fed on replay; `None` for a block, which is ours.
    pub fn to_input(&self) -> Result<Option<Input<Aura>>, CodecError> {
        Ok(Some(match self {
            Self::Vote(vote) => Input::Vote(vote.try_into()?),
            Self::Proposal(proposal) => Input::Proposal(proposal.into()),
            Self::Value(value) => Input::ProposedValue(value.into(), ValueOrigin::Consensus),
            Self::Timeout(entry) => Input::TimeoutElapsed(entry.timeout()?),
            Self::Polka(certificate) => Input::PolkaCertificate(to_polka(certificate)),
            Self::Block(_) => return Ok(None),
        }))
    }
}

impl RoundChange {
    /// From malachite's.
    pub fn new(certificate: &RoundCertificate<Aura>, ctx: &Aura) -> Self {
        let votes: Vec<VoteMessage> = certificate.votes(ctx).map(|vote| (&vote).into()).take(512).collect();
        let kind = match certificate.cert_type {
            RoundCertificateType::Skip => 0,
            RoundCertificateType::Precommit => 1,
        };
        let votes = VariableList::new(votes).unwrap_or_default();
        Self { height: certificate.height.0, round: round_number(certificate.round), kind, votes }
    }

    /// To malachite's.
    pub fn to_certificate(&self) -> Result<RoundCertificate<Aura>, CodecError> {
        let cert_type = match self.kind {
            0 => RoundCertificateType::Skip,
            1 => RoundCertificateType::Precommit,
            other => return Err(CodecError::UnknownKind(other)),
        };
        let mut round_signatures = Vec::with_capacity(self.votes.len());
        for message in &self.votes {
            let vote: SignedVote<Aura> = message.try_into()?;
            let SignedMessage { message: vote, signature } = vote;
            round_signatures.push(RoundSignature::new(vote.kind, vote.value, vote.voter, signature));
        }
        Ok(RoundCertificate { height: BlockHeight(self.height), round: Round::new(self.round), cert_type, round_signatures })
    }
}

impl TimeoutEntry {
    fn new(timeout: Timeout) -> Option<Self> {
        let kind = match timeout.kind {
            TimeoutKind::Propose => 0,
            TimeoutKind::Prevote => 1,
            TimeoutKind::Precommit => 2,
            TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
        };
        Some(Self { round: round_number(timeout.round), kind })
    }

    fn timeout(self) -> Result<Timeout, CodecError> {
        let kind = match self.kind {
            0 => TimeoutKind::Propose,
            1 => TimeoutKind::Prevote,
            2 => TimeoutKind::Precommit,
            other => return Err(CodecError::UnknownKind(other)),
        };
        Ok(Timeout::new(Round::new(self.round), kind))
    }
}

impl From<&SignedVote<Aura>> for VoteMessage {
    fn from(signed: &SignedVote<Aura>) -> Self {
        Self { vote: vote_to_sign(&signed.message), signature: FixedBytes(signed.signature.to_bytes()) }
    }
}

impl TryFrom<&VoteMessage> for SignedVote<Aura> {
    type Error = CodecError;

    fn try_from(message: &VoteMessage) -> Result<Self, CodecError> {
        let kind = match message.vote.kind {
            0 => VoteType::Prevote,
            1 => VoteType::Precommit,
            other => return Err(CodecError::UnknownKind(other)),
        };
        let value = if message.vote.block.is_zero() { NilOrVal::Nil } else { NilOrVal::Val(BlockId(message.vote.block)) };
        let vote = Vote {
            kind,
            height: BlockHeight(message.vote.height),
            round: Round::new(message.vote.round),
            value,
            voter: Address(message.vote.validator),
        };
        Ok(Self::new(vote, Signature::from_bytes(message.signature.0)))
    }
}

impl From<&SignedProposal<Aura>> for ProposalMessage {
    fn from(signed: &SignedProposal<Aura>) -> Self {
        Self { proposal: proposal_to_sign(&signed.message), signature: FixedBytes(signed.signature.to_bytes()) }
    }
}

impl From<&ProposalMessage> for SignedProposal<Aura> {
    fn from(message: &ProposalMessage) -> Self {
        let proposal = Proposal {
            height: BlockHeight(message.proposal.height),
            round: Round::new(message.proposal.round),
            value: BlockId(message.proposal.block),
            pol_round: minus_one(message.proposal.lock_round_plus_one),
            proposer: Address(message.proposal.validator),
        };
        Self::new(proposal, Signature::from_bytes(message.signature.0))
    }
}

impl From<&JudgedValue> for ProposedValue<Aura> {
    fn from(value: &JudgedValue) -> Self {
        Self {
            height: BlockHeight(value.height),
            round: Round::new(value.round),
            valid_round: minus_one(value.valid_round_plus_one),
            proposer: Address(value.proposer),
            value: BlockId(value.block),
            validity: Validity::from_bool(value.valid),
        }
    }
}

/// The vote whose root is signed.
pub fn vote_to_sign(vote: &Vote) -> alys_blocks::Vote {
    let block = match vote.value {
        NilOrVal::Nil => B256::ZERO,
        NilOrVal::Val(id) => id.0,
    };
    let kind = match vote.kind {
        VoteType::Prevote => alys_blocks::VoteKind::Prevote,
        VoteType::Precommit => alys_blocks::VoteKind::Precommit,
    };
    alys_blocks::Vote {
        kind: kind.code(),
        height: vote.height.0,
        round: round_number(vote.round),
        block,
        validator: vote.voter.0,
    }
}

/// The proposal whose root is signed.
pub fn proposal_to_sign(proposal: &Proposal) -> alys_blocks::Proposal {
    alys_blocks::Proposal {
        height: proposal.height.0,
        round: round_number(proposal.round),
        lock_round_plus_one: plus_one(proposal.pol_round),
        block: proposal.value.0,
        validator: proposal.proposer.0,
    }
}

/// As it is sent and logged.
pub fn from_polka(certificate: &PolkaCertificate<Aura>) -> Certificate {
    let signatures = certificate.polka_signatures.iter().map(|signed| (signed.address, signed.signature));
    certificate_of(certificate.height, certificate.round, certificate.value_id, signatures)
}

/// As malachite takes it.
pub fn to_polka(certificate: &Certificate) -> PolkaCertificate<Aura> {
    let signature =
        |commit: &CommitSignature| PolkaSignature::new(Address(commit.validator), Signature::from_bytes(commit.signature.0));
    PolkaCertificate {
        height: BlockHeight(certificate.height),
        round: Round::new(certificate.round),
        value_id: BlockId(certificate.block),
        polka_signatures: certificate.signatures.iter().map(signature).collect(),
    }
}

/// A certificate in its canonical form: signatures sorted by validator.
pub fn certificate_of(
    height: BlockHeight,
    round: Round,
    block: BlockId,
    signatures: impl Iterator<Item = (Address, Signature)>,
) -> Certificate {
    let mut commits: Vec<CommitSignature> = signatures
        .map(|(address, signature)| CommitSignature { validator: address.0, signature: FixedBytes(signature.to_bytes()) })
        .collect();
    commits.sort_by_key(|commit| commit.validator);
    let signatures: VariableList<CommitSignature, MaxValidators> =
        VariableList::new(commits).expect("one signature per validator, and a specification has at most 256");
    Certificate { height: height.0, round: round_number(round), block: block.0, signatures }
}

pub(super) fn decode<T: ssz::Decode>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(CodecError::TooLong(bytes.len()));
    }
    T::from_ssz_bytes(bytes).map_err(|cause| CodecError::Malformed(format!("{cause:?}")))
}

fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

fn plus_one(round: Round) -> u32 {
    round.as_u32().map_or(0, |round| round.saturating_add(1))
}

fn minus_one(round_plus_one: u32) -> Round {
    round_plus_one.checked_sub(1).map_or(Round::Nil, Round::new)
}
