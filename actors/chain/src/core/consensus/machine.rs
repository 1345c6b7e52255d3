//! Malachite's state, driven to the end of each input: effects that need only a key or a clock-free check are
//! answered here, all others become [`Output`]s.
//!
//! What must be on disk is in [`Run::log`]; it goes before everything in [`Run::outputs`].

use std::collections::BTreeSet;

use alys_blocks::{Certificate, ChainDomain, Spoken, ValidatorId};
use malachite::{
    Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, ProposedValue, Resumable as _, Resume, SignedConsensusMsg,
    State, ValuePayload, process,
};
use malachite_ed25519::PrivateKey;
use malachite_types::{
    PolkaCertificate, Round, RoundCertificate, SignedProposal, SignedVote, ThresholdParams, Timeout, Validity, ValueOrigin,
    VoteExtensionPolicy,
};

use super::codec::{CodecError, Gossip, RoundChange, WalEntry, certificate_of, from_polka};
use super::context::{Address, Aura, BlockHeight, BlockId, ValidatorSet};
use super::evidence::Evidence;
use super::verify;

/// Votes and proposals of the next heights that are kept until we are there: 4 heights × 2 votes and one
/// proposal of 256 validators.
const QUEUED_HEIGHTS: usize = 4;
const QUEUED_PER_HEIGHT: usize = 1_024;

/// Consensus about one height at a time.
pub struct Machine {
    state: State<Aura>,
    signer: Signer,
}

struct Signer {
    domain: ChainDomain,
    key: PrivateKey,
}

/// What one input led to.
#[derive(Debug, Default)]
pub struct Run {
    /// To be on disk before anything else happens.
    pub log: Vec<WalEntry>,
    /// In order.
    pub outputs: Vec<Output>,
}

/// What consensus wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// A round began.
    RoundStarted {
        /// Round number.
        round: u32,
        /// Whose turn it is.
        proposer: ValidatorId,
    },
    /// It is our turn: build a block and [`Machine::propose`] it.
    GetValue {
        /// For this round.
        round: u32,
    },
    /// Send to the other validators.
    PublishVote(SignedVote<Aura>),
    /// Send with the block.
    PublishProposal(SignedProposal<Aura>),
    /// Send.
    PublishPolka(Certificate),
    /// Send.
    PublishRoundChange(RoundChange),
    /// Call [`Machine::timeout`] after its duration.
    StartTimer(Timeout),
    /// No longer wanted.
    CancelTimer(Timeout),
    /// None is wanted any longer.
    CancelTimers,
    /// More than two thirds committed this block.
    Decided(Certificate),
    /// A validator signed two different things in one place.
    Equivocation(Evidence),
}

/// Going on could equivocate.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Malachite refused.
    #[error("consensus: {0}")]
    Consensus(String),
    /// The log does not decode.
    #[error("consensus log: {0}")]
    Log(#[from] CodecError),
}

impl Machine {
    /// A machine of the validator with this key, at no height yet.
    pub fn new(domain: ChainDomain, key: PrivateKey, validators: ValidatorSet) -> Self {
        let address = Address(ValidatorId::from(*key.public_key().as_bytes()));
        let params = Params {
            address,
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let state = State::new(Aura, BlockHeight(0), validators, params, QUEUED_HEIGHTS, QUEUED_PER_HEIGHT);
        Self { state, signer: Signer { domain, key } }
    }

    /// Our own address.
    pub fn address(&self) -> ValidatorId {
        self.state.address().0
    }

    /// A message as the others take it: signed as a whole.
    pub fn speak(&self, message: &Gossip) -> Vec<u8> {
        Spoken::sign(&self.signer.domain, &self.signer.key, self.height(), message.encode()).encode()
    }

    /// The height that is under way.
    pub fn height(&self) -> u64 {
        self.state.height().0
    }

    /// The round that is under way.
    pub fn round(&self) -> Option<u32> {
        self.state.round().as_u32()
    }

    /// Starts a height of which the log holds nothing.
    pub fn start_height(&mut self, height: u64, validators: ValidatorSet) -> Result<Run, MachineError> {
        self.feed(Input::StartHeight(BlockHeight(height), validators, false, None, VoteExtensionPolicy::Disabled))
    }

    /// Starts a height again from its log. Votes that the log holds are sent again as they are.
    pub fn resume_height(&mut self, height: u64, validators: ValidatorSet, log: &[WalEntry]) -> Result<Run, MachineError> {
        let mut inputs = Vec::with_capacity(log.len());
        for entry in log {
            inputs.extend(entry.to_input()?);
        }
        let known: BTreeSet<Vec<u8>> = log.iter().map(WalEntry::encode).collect();
        let mut run =
            self.feed(Input::StartHeight(BlockHeight(height), validators, true, None, VoteExtensionPolicy::Disabled))?;
        self.state.index_wal_entries(&inputs);
        for input in inputs {
            let step = self.feed(input)?;
            run.log.extend(step.log);
            run.outputs.extend(step.outputs);
        }
        self.state.reset_entries_index();
        run.log.retain(|entry| !known.contains(&entry.encode()));
        self.drop_stale(&mut run.outputs);
        Ok(run)
    }

    /// A proposal of another validator, without its block.
    pub fn proposal(&mut self, proposal: SignedProposal<Aura>) -> Result<Run, MachineError> {
        self.feed(Input::Proposal(proposal))
    }

    /// A vote of another validator.
    pub fn vote(&mut self, vote: SignedVote<Aura>) -> Result<Run, MachineError> {
        self.feed(Input::Vote(vote))
    }

    /// A certificate of prevotes.
    pub fn polka(&mut self, certificate: PolkaCertificate<Aura>) -> Result<Run, MachineError> {
        self.feed(Input::PolkaCertificate(certificate))
    }

    /// A justified change of round.
    pub fn round_change(&mut self, certificate: RoundCertificate<Aura>) -> Result<Run, MachineError> {
        self.feed(Input::RoundCertificate(certificate))
    }

    /// A timer fired.
    pub fn timeout(&mut self, timeout: Timeout) -> Result<Run, MachineError> {
        self.feed(Input::TimeoutElapsed(timeout))
    }

    /// Our own block for a round in which it is our turn. Ignored when the round has passed.
    pub fn propose(&mut self, height: u64, round: u32, block: BlockId) -> Result<Run, MachineError> {
        self.feed(Input::Propose(LocallyProposedValue::new(BlockHeight(height), Round::new(round), block)))
    }

    /// The verdict on another's block that was first proposed in `round`.
    pub fn judged(
        &mut self,
        height: u64,
        round: u32,
        proposer: ValidatorId,
        block: BlockId,
        valid: bool,
    ) -> Result<Run, MachineError> {
        let value = ProposedValue {
            height: BlockHeight(height),
            round: Round::new(round),
            valid_round: Round::Nil,
            proposer: Address(proposer),
            value: block,
            validity: Validity::from_bool(valid),
        };
        self.feed(Input::ProposedValue(value, ValueOrigin::Consensus))
    }

    fn feed(&mut self, input: Input<Aura>) -> Result<Run, MachineError> {
        let mut run = Run::default();
        let signer = &self.signer;
        let state = &mut self.state;
        let result: Result<(), Error<Aura>> = process!(
            input: input,
            state: state,
            metrics: &(),
            with: effect => Ok::<_, std::convert::Infallible>(signer.answer(effect, &mut run))
        );
        result.map_err(|cause| MachineError::Consensus(cause.to_string()))?;
        Ok(run)
    }

    /// After a replay only what the last round wants is still wanted.
    fn drop_stale(&self, outputs: &mut Vec<Output>) {
        let current = self.round();
        let last_cancel = outputs.iter().rposition(|output| matches!(output, Output::CancelTimers)).unwrap_or(0);
        let address = *self.state.address();
        let proposed =
            self.state.full_proposal_at_round_and_proposer(&self.state.height(), self.state.round(), &address).is_some();
        let may_propose = self.state.driver.step_is_propose() && !proposed;
        let mut position = 0_usize;
        outputs.retain(|output| {
            let before_last_round = position < last_cancel;
            position = position.saturating_add(1);
            match output {
                Output::GetValue { round } => may_propose && Some(*round) == current,
                Output::StartTimer(_) | Output::CancelTimer(_) => !before_last_round,
                _ => true,
            }
        });
    }
}

impl Signer {
    fn answer(&self, effect: Effect<Aura>, run: &mut Run) -> Resume<Aura> {
        match effect {
            Effect::SignVote(vote, resume) => resume.resume_with(verify::sign_vote(&self.domain, &self.key, vote)),
            Effect::SignProposal(proposal, resume) => {
                resume.resume_with(verify::sign_proposal(&self.domain, &self.key, proposal))
            }
            Effect::VerifySignature(message, key, resume) => resume.resume_with(verify::is_signed(&self.domain, &message, &key)),
            Effect::VerifyCommitCertificate(certificate, validators, _, resume) => {
                resume.resume_with(verify::check_commit(&self.domain, &certificate, &validators))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, validators, _, _, resume) => {
                resume.resume_with(verify::check_commit(&self.domain, &certificate.trim_vote_extensions(), &validators))
            }
            Effect::VerifyPolkaCertificate(certificate, validators, thresholds, resume) => {
                resume.resume_with(verify::check_polka(&self.domain, &certificate, &validators, thresholds))
            }
            Effect::VerifyRoundCertificate(certificate, validators, thresholds, resume) => {
                resume.resume_with(verify::check_round(&self.domain, &certificate, &validators, thresholds))
            }
            // Extensions are disabled, so neither is ever asked for.
            Effect::ExtendVote(_, _, _, _, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => resume.resume_with(Ok(())),
            Effect::WalAppend(_, input, resume) => {
                run.log.extend(WalEntry::from_input(&input));
                resume.resume_with(())
            }
            Effect::Finalize(_, _, evidence, resume) => {
                run.outputs.extend(Evidence::found(&evidence).into_iter().map(Output::Equivocation));
                resume.resume_with(())
            }
            other => {
                run.outputs.extend(to_output(other));
                Resume::Continue
            }
        }
    }
}

fn to_output(effect: Effect<Aura>) -> Option<Output> {
    Some(match effect {
        Effect::StartRound(_, round, proposer, _, _) => {
            Output::RoundStarted { round: round.as_u32().unwrap_or(0), proposer: proposer.0 }
        }
        Effect::GetValue(_, round, _, _) => Output::GetValue { round: round.as_u32().unwrap_or(0) },
        Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), _)
        | Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), _)
        | Effect::RepublishVote(vote, _) => Output::PublishVote(vote),
        Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), _) => Output::PublishProposal(proposal),
        Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(certificate), _) => {
            Output::PublishPolka(from_polka(&certificate))
        }
        Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(certificate), _)
        | Effect::RepublishRoundCertificate(certificate, _) => Output::PublishRoundChange(RoundChange::new(&certificate, &Aura)),
        Effect::ScheduleTimeout(timeout, _) => Output::StartTimer(timeout),
        Effect::CancelTimeout(timeout, _) => Output::CancelTimer(timeout),
        Effect::CancelAllTimeouts(_) => Output::CancelTimers,
        Effect::Decide(certificate, _, _) => {
            let signatures = certificate.commit_signatures.iter().map(|signed| (signed.address, signed.signature));
            Output::Decided(certificate_of(certificate.height, certificate.round, certificate.value_id, signatures))
        }
        // The block travels with every proposal, so there is nothing to stream again; the sync protocol of
        // malachite is not used; all other effects are answered by `Signer::answer`.
        _ => return None,
    })
}
