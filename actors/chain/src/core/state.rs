//! The state, how it begins, and where each input goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::B256;
use alys_blocks::{BitcoinView, Block};
use alys_cluster::metrics::Histogram;
use alys_peg::{Ledger, Violations};
use malachite_ed25519::PrivateKey;
use malachite_types::Timeout;

use super::building::Building;
use super::claims::{Pending, Verdict};
use super::committing::Committing;
use super::consensus::codec::BlockProposal;
use super::consensus::{Machine, MachineError, WalEntry};
use super::effect::{Answer, Effect, HaltReason, Note};
use super::importing::BlockImportRequest;
use super::input::{Claim, Input, Ticket, Timer};
use super::judging::Candidate;
use super::mining::{Mining, WorkStatus};
use super::rules::{BlockRefusal, ChainRules, Head};
use super::slots::Millis;

/// Hashes of committed blocks that are kept to recognise a fork without asking the disk. Those that wait for work are kept
/// in any case: at most as many as the specification lets wait.
const RECENT_BLOCKS: usize = 1_024;

/// By how much the clocks of the host that was lost and of ours may differ, beside the slot by which a block may be early.
const CLOCK_MARGIN_MILLIS: u64 = 10_000;

/// The chain role's whole state.
pub struct State {
    pub(super) rules: Arc<ChainRules>,
    pub(super) head: Head,
    pub(super) ledger: Ledger,
    /// `None` on a full node.
    pub(super) machine: Option<Machine>,
    pub(super) candidates: BTreeMap<B256, Candidate>,
    pub(super) pending: Pending,
    pub(super) mining: Mining,
    pub(super) bitcoin: Option<BitcoinView>,
    pub(super) building: Option<Building>,
    pub(super) committing: Option<Committing>,
    pub(super) imports: VecDeque<BlockImportRequest>,
    /// Proposals of heights that we have not started.
    pub(super) early: Vec<BlockProposal>,
    /// Running step timers and which start of them counts.
    pub(super) timers: Vec<(Timeout, u64)>,
    pub(super) generation: u64,
    pub(super) round_started: Millis,
    pub(super) recheck_at: Option<Millis>,
    pub(super) height_start: Millis,
    /// Blocks to ask bridge about again.
    pub(super) lagging: Vec<B256>,
    /// Hashes of blocks in the log of this height.
    pub(super) logged_blocks: Vec<B256>,
    pub(super) recent: BTreeMap<u64, B256>,
    pub(super) sync_target: u64,
    /// This validator's disk was empty at the start, and it has not committed a block by its own vote since.
    pub(super) is_fresh: bool,
    /// Height from which it votes.
    pub(super) votes_from: u64,
    /// The database is a backup: this validator's later votes are lost, and it is silent until a block from after this
    /// moment is committed. Every place in which it may have voted is decided then.
    pub(super) silent_until: Option<Millis>,
    pub(super) halted: Option<HaltReason>,
    pub(super) committed_at: Millis,
    pub(super) latency_millis: u64,
    /// Of all blocks since the start, seconds.
    pub(super) latencies: Histogram,
    pub(super) violations: Violations,
    pub(super) missed_slots: u64,
    pub(super) equivocations: u64,
    /// Committed blocks that we proposed.
    pub(super) proposed: u64,
}

/// What a start finds.
pub struct Boot {
    /// From the specification.
    pub rules: Arc<ChainRules>,
    /// What storage has as head.
    pub head: Head,
    /// Its ledger.
    pub ledger: Ledger,
    /// `None`: a full node.
    pub key: Option<PrivateKey>,
    /// Hashes of the unsettled blocks below the head; none without merged mining.
    pub unsettled: BTreeMap<u64, B256>,
    /// The log of the height after the head.
    pub log: Vec<Vec<u8>>,
    /// The database was restored from a backup, and nothing was voted since.
    pub votes_lost: bool,
}

/// Nothing can be started from this.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The key is nobody's.
    #[error("the validator key {0} is not in the chain specification; remove the key file to run a full node")]
    NotAValidator(B256),
    /// The log.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// For people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Head height.
    pub height: u64,
    /// Head hash.
    pub hash: B256,
    /// Head slot.
    pub slot: u64,
    /// EL block of the head.
    pub el_hash: B256,
    /// Whether this node proposes and votes.
    pub producing: bool,
    /// Whether it is silent because its votes were lost with a disk that a backup replaced.
    pub votes_lost: bool,
    /// Round that is under way.
    pub round: Option<u32>,
    /// Claims that wait.
    pub pending_claims: usize,
    /// The block since which the peg stands still, while it does.
    pub peg_paused: Option<u64>,
    /// Slots of committed heights in which no block was committed, since the start.
    pub missed_slots: u64,
    /// Slot start → committed, of the last block.
    pub latency_millis: u64,
    /// Validators seen to sign twice, since the start.
    pub equivocations: u64,
    /// Committed blocks that this validator proposed, since the start.
    pub proposed: u64,
    /// When the head was committed here; 0: before the start.
    pub committed_unix_millis: u64,
    /// What pegs are judged against.
    pub bitcoin: Option<BitcoinView>,
    /// A height that somebody has and we do not.
    pub sync_target: u64,
    /// Merged mining, if the chain has it.
    pub work: Option<WorkStatus>,
    /// Why everything stopped.
    pub halted: Option<HaltReason>,
}

impl State {
    /// Starts from what storage has. With a log, the height that was under way goes on at once; else it starts on the
    /// grid.
    pub fn boot(boot: Boot, now: Millis) -> Result<(Self, Vec<Effect>), StateError> {
        let machine = match boot.key {
            Some(key) => Some(own_machine(&boot.rules, key)?),
            None => None,
        };
        let silent_until = boot.votes_lost.then(|| now.after(boot.rules.clock.slot_millis().saturating_add(CLOCK_MARGIN_MILLIS)));
        let mut recent = boot.unsettled;
        recent.insert(boot.head.height, boot.head.hash);
        let mut state = Self {
            committed_at: Millis(0),
            recent,
            is_fresh: boot.head.height == 0 && boot.log.is_empty(),
            votes_from: 0,
            silent_until,
            head: boot.head,
            ledger: boot.ledger,
            machine,
            candidates: BTreeMap::new(),
            pending: Pending::default(),
            mining: Mining::default(),
            bitcoin: None,
            building: None,
            committing: None,
            imports: VecDeque::new(),
            early: Vec::new(),
            timers: Vec::new(),
            generation: 0,
            round_started: now,
            recheck_at: None,
            height_start: now,
            lagging: Vec::new(),
            logged_blocks: Vec::new(),
            sync_target: 0,
            halted: None,
            latency_millis: 0,
            latencies: crate::metrics::latencies(),
            violations: Violations::default(),
            missed_slots: 0,
            equivocations: 0,
            proposed: 0,
            rules: boot.rules,
        };
        let mut effects = vec![Effect::GetBitcoinView];
        // Votes of before the backup without those of after it say nothing.
        let logged = if boot.votes_lost { &[][..] } else { &boot.log };
        let log: Result<Vec<WalEntry>, _> = logged.iter().map(|entry| WalEntry::decode(entry)).collect();
        state.resume(now, &log.map_err(MachineError::Log)?, &mut effects)?;
        Ok((state, effects))
    }

    /// One thing happened.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.halted.is_some() {
            refuse_when_halted(input, &mut effects);
            return effects;
        }
        match input {
            Input::Timer(timer) => self.on_timer(now, timer, &mut effects),
            Input::TemplateBuilt { height, round, result } => self.on_template(now, height, round, result, &mut effects),
            Input::ExecutionDone { hash, result } => self.on_execution(now, hash, result, &mut effects),
            Input::PegVerdict { subject, verdict } => self.on_peg_verdict(now, subject, verdict, &mut effects),
            Input::ConsensusMessage(bytes) => self.on_message(now, &bytes, &mut effects),
            Input::BlockReceived(block) => self.on_block_received(now, block, &mut effects),
            Input::BatchBlockImport { ticket, blocks } => self.on_batch(now, ticket, blocks, &mut effects),
            Input::Committed { hash } => self.on_committed(now, hash, &mut effects),
            Input::ClaimArrived { ticket, claim } => self.on_claim(ticket, claim, &mut effects),
            Input::BitcoinView(view) => self.bitcoin = Some(view),
            Input::AuxBlockWanted { ticket, fee_recipient } => self.on_aux_block_wanted(ticket, fee_recipient, &mut effects),
            Input::AuxBlockSolved { ticket, hash, proof } => self.on_aux_block_solved(now, ticket, hash, &proof, &mut effects),
        }
        effects
    }

    /// What people see.
    pub fn status(&self) -> Status {
        Status {
            height: self.head.height,
            hash: self.head.hash,
            slot: self.head.slot,
            el_hash: self.head.el_hash,
            producing: self.machine.is_some() && self.halted.is_none() && self.may_vote(self.head.height.saturating_add(1)),
            votes_lost: self.machine.is_some() && self.silent_until.is_some(),
            round: self.machine.as_ref().and_then(Machine::round),
            peg_paused: self.ledger.paused().map(|since| since.0),
            pending_claims: self.pending.len(),
            missed_slots: self.missed_slots,
            latency_millis: self.latency_millis,
            equivocations: self.equivocations,
            proposed: self.proposed,
            committed_unix_millis: self.committed_at.0,
            bitcoin: self.bitcoin,
            sync_target: self.sync_target,
            work: self.work_status(),
            halted: self.halted.clone(),
        }
    }

    /// Slot start → committed, of all blocks since the start.
    pub const fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// Invariants of the peg that were found broken here.
    pub const fn violations(&self) -> &Violations {
        &self.violations
    }

    /// Length of a slot.
    pub fn slot_millis(&self) -> u64 {
        self.rules.clock.slot_millis()
    }

    /// The ledger of the head.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn on_timer(&mut self, now: Millis, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::HeightStart { height } => self.on_height_start(now, height, effects),
            Timer::Step { height, timeout, generation } => self.on_step_timer(now, height, timeout, generation, effects),
            Timer::Recheck => {
                self.recheck_at = None;
                self.recheck(now, effects);
            }
        }
    }

    fn on_claim(&mut self, ticket: Ticket, claim: Claim, effects: &mut Vec<Effect>) {
        let answer = if Pending::is_recorded(&claim, &self.ledger) {
            Answer::Accepted
        } else if self.machine.is_none() {
            Answer::Refused("this node has no validator key and proposes nothing".into())
        } else {
            match self.pending.add(claim, &self.rules, &self.ledger) {
                Verdict::Accepted => Answer::Accepted,
                Verdict::Refused(reason) => Answer::Refused(reason),
                Verdict::Full => Answer::Busy("too many claims of this kind wait".into()),
            }
        };
        effects.push(Effect::Answer { ticket, answer });
        if self.pending.len() > 0 {
            self.ask_for_view(effects);
        }
    }

    /// Bridge tells of every new tip; asked is only when that may have been missed: never heard of any, or a claim waits
    /// for a later one.
    pub(super) fn ask_for_view(&self, effects: &mut Vec<Effect>) {
        let missed = self.bitcoin.is_none_or(|view| self.pending.wants_later_view(&self.rules, &view));
        if missed {
            effects.push(Effect::GetBitcoinView);
        }
    }

    pub(super) fn halt(&mut self, reason: HaltReason, effects: &mut Vec<Effect>) {
        if self.halted.is_none() {
            if let HaltReason::InvalidCommitted { reason: refusal, .. } = &reason {
                self.violated(refusal);
            }
            self.halted = Some(reason.clone());
            effects.push(Effect::Halt(reason));
        }
    }

    /// A block that was built here is not proposed.
    pub(super) fn refuse_own(&mut self, reason: BlockRefusal, effects: &mut Vec<Effect>) {
        self.violated(&reason);
        effects.push(Effect::Note(Note::OwnBlockRefused(reason)));
    }

    fn violated(&mut self, refusal: &BlockRefusal) {
        if let Some(invariant) = refusal.invariant() {
            self.violations.count(invariant);
        }
    }

    /// Wakes what waits, not later than `after` milliseconds from now.
    pub(super) fn recheck_in(&mut self, now: Millis, after: u64, effects: &mut Vec<Effect>) {
        let at = now.after(after);
        if self.recheck_at.is_none_or(|planned| planned > at) {
            self.recheck_at = Some(at);
            effects.push(Effect::StartTimer { timer: Timer::Recheck, at });
        }
    }

    pub(super) fn remember(&mut self, height: u64, hash: B256) {
        self.recent.insert(height, hash);
        let settled = self.rules.work.as_ref().map_or(u64::MAX, |work| work.settled(&self.ledger).end.height);
        while self.recent.len() > RECENT_BLOCKS && self.recent.keys().next().is_some_and(|oldest| *oldest <= settled) {
            self.recent.pop_first();
        }
    }

    pub(super) fn hash_of(&self, block: &Block) -> B256 {
        self.rules.domain.block_hash(&block.header)
    }
}

fn own_machine(rules: &ChainRules, key: PrivateKey) -> Result<Machine, StateError> {
    let machine = Machine::new(rules.domain, key, rules.validators.clone());
    let address = machine.address();
    if rules.spec.validators.contains(&address) { Ok(machine) } else { Err(StateError::NotAValidator(address)) }
}

/// Whoever waits learns that nothing goes on here.
fn refuse_when_halted(input: Input, effects: &mut Vec<Effect>) {
    let halted = || "the chain is halted; see the status of the chain role".to_owned();
    match input {
        Input::ClaimArrived { ticket, .. } => effects.push(Effect::Answer { ticket, answer: Answer::Busy(halted()) }),
        Input::AuxBlockWanted { ticket, .. } | Input::AuxBlockSolved { ticket, .. } => {
            effects.push(Effect::Answer { ticket, answer: Answer::Busy(halted()) });
        }
        Input::BatchBlockImport { ticket, .. } => {
            effects.push(Effect::Answer { ticket, answer: Answer::ImportRefused(halted()) })
        }
        _ => {}
    }
}
