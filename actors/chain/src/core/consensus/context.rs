//! Malachite's `Context`: which types consensus runs on, and whose turn a round is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::ValidatorId;
use malachite_ed25519::{Ed25519, PublicKey};
use malachite_types::{
    Context, LinearTimeouts, NilOrVal, Round, SignedExtension, Timeout, Timeouts, ValueId, VoteType, VotingPower,
};

/// The context. All state of it is in the validator set, which is given anew for each height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aura;

/// A validator's address: its ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub ValidatorId);

/// Height of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHeight(pub u64);

/// Hash of a block: what is proposed and voted on, its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId(pub B256);

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Prevote or precommit.
    pub kind: VoteType,
    /// Height.
    pub height: BlockHeight,
    /// Round.
    pub round: Round,
    /// A block or nil.
    pub value: NilOrVal<BlockId>,
    /// Who votes.
    pub voter: Address,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height.
    pub height: BlockHeight,
    /// Round.
    pub round: Round,
    /// The block.
    pub value: BlockId,
    /// Round of the proof of lock, nil for a fresh block.
    pub pol_round: Round,
    /// Who proposes.
    pub proposer: Address,
}

/// Blocks travel whole beside their proposal, so there are no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPart {}

/// A validator; all have one vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    address: Address,
    key: PublicKey,
}

/// The validators in schedule order, with the slot of the height's round 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Arc<[Validator]>,
    first_slot: u64,
}

/// How long a step of a round may take: together one slot. From round 8 on each step grows, so that votes
/// which need longer than a slot to arrive still meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimeouts {
    slot: Duration,
}

/// A validator set that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody.
    #[error("the chain specification names no validator")]
    Empty,
    /// No ed25519 key.
    #[error("validator {0} is not an ed25519 public key")]
    NotAKey(ValidatorId),
    /// Named twice.
    #[error("validator {0} is named twice")]
    Repeated(ValidatorId),
}

/// Rounds with unchanged timeouts.
const STEADY_ROUNDS: u32 = 8;
/// Timeouts grow to at most this many slots.
const LONGEST_STEP_SLOTS: u32 = 8;

impl ValidatorSet {
    /// The validators of a specification.
    pub fn new(ids: &[ValidatorId], first_slot: u64) -> Result<Self, ValidatorSetError> {
        let mut validators: Vec<Validator> = Vec::with_capacity(ids.len());
        for id in ids {
            let key = PublicKey::from_bytes(id.0).map_err(|_| ValidatorSetError::NotAKey(*id))?;
            if validators.iter().any(|known| known.address.0 == *id) {
                return Err(ValidatorSetError::Repeated(*id));
            }
            validators.push(Validator { address: Address(*id), key });
        }
        if validators.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        Ok(Self { validators: validators.into(), first_slot })
    }

    /// The same validators at another height.
    pub fn at(&self, first_slot: u64) -> Self {
        Self { validators: Arc::clone(&self.validators), first_slot }
    }

    /// Aura's schedule: slot `first_slot + round`, `validators[slot mod n]`.
    pub fn proposer(&self, round: Round) -> &Validator {
        let turn = self.first_slot.saturating_add(u64::from(round.as_u32().unwrap_or(0)));
        let count = u64::try_from(self.validators.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(turn % count).expect("smaller than a slice's length");
        &self.validators[index]
    }
}

impl StepTimeouts {
    /// Timeouts for slots of this length.
    pub const fn new(slot_millis: u64) -> Self {
        Self { slot: Duration::from_millis(slot_millis) }
    }

    /// See [`Timeouts::duration_for`].
    pub fn duration(&self, timeout: Timeout) -> Duration {
        let base = LinearTimeouts {
            propose: self.slot / 2,
            propose_delta: self.slot / 4,
            prevote: self.slot / 4,
            prevote_delta: self.slot / 4,
            precommit: self.slot / 4,
            precommit_delta: self.slot / 4,
            rebroadcast: self.slot,
            max_timeout: self.slot.saturating_mul(LONGEST_STEP_SLOTS),
        };
        let late = timeout.round.as_u32().unwrap_or(0).saturating_sub(STEADY_ROUNDS);
        base.duration_for(Timeout::new(Round::new(late), timeout.kind))
    }
}

impl Timeouts<Aura> for StepTimeouts {
    fn duration_for(&self, timeout: Timeout) -> Duration {
        self.duration(timeout)
    }
}

impl Context for Aura {
    type Address = Address;
    type Height = BlockHeight;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = StepTimeouts;
    type Value = BlockId;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, validator_set: &'a ValidatorSet, _: BlockHeight, round: Round) -> &'a Validator {
        validator_set.proposer(round)
    }

    fn new_proposal(&self, height: BlockHeight, round: Round, value: BlockId, pol_round: Round, proposer: Address) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: BlockHeight, round: Round, value: NilOrVal<ValueId<Self>>, voter: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(&self, height: BlockHeight, round: Round, value: NilOrVal<ValueId<Self>>, voter: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, voter }
    }
}

impl malachite_types::Address for Address {}

impl malachite_types::Height for BlockHeight {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl malachite_types::Value for BlockId {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

impl malachite_types::ProposalPart<Aura> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

impl malachite_types::Validator<Aura> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

impl malachite_types::ValidatorSet<Aura> for ValidatorSet {
    fn count(&self) -> usize {
        self.validators.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        u64::try_from(self.validators.len()).unwrap_or(u64::MAX)
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.validators.iter().find(|validator| validator.address == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.validators.get(index)
    }
}

impl malachite_types::Proposal<Aura> for Proposal {
    fn height(&self) -> BlockHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &BlockId {
        &self.value
    }

    fn take_value(self) -> BlockId {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

impl malachite_types::Vote<Aura> for Vote {
    fn height(&self) -> BlockHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.voter
    }

    // Vote extensions are switched off for every height (`VoteExtensionPolicy::Disabled`), so there is never one.
    fn extension(&self) -> Option<&SignedExtension<Aura>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Aura>> {
        None
    }

    fn extend(self, _: SignedExtension<Aura>) -> Self {
        self
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BlockHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
