//! Nodes in one thread: a queue of events in seeded order, an engine that hashes, disks that survive crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::B256;
use alys_blocks::{BitcoinView, Block, Certificate, Spoken, decode_payload};
use alys_peg::Ledger;
use alys_proto::common::{Burn, CommittedBlock};
use alys_proto::storage::LedgerFact;
use alys_proto::{Height, chain};
use malachite_types::SignedVote;

use super::fixtures::{EL_GENESIS, GENESIS_TIME, build, el_hash, key, rules};
use crate::core::consensus::{Aura, Gossip};
use crate::core::rules::{ChainRules, Head, payload_hash};
use crate::core::{
    Answer, Boot, Effect, Execution, HaltReason, ImportedBlock, Input, Millis, Note, PegCheck, PegVerdict, State, Ticket,
};

pub(crate) struct Simulation {
    pub(crate) rules: Arc<ChainRules>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Millis,
    queue: BTreeMap<(Millis, u64, u64), (usize, u64, Event)>,
    sequence: u64,
    random: u64,
    /// Nodes that hear nothing and are not heard.
    pub(crate) cut_off: Vec<usize>,
    pub(crate) weather: Weather,
    /// Validators that say more than their core does.
    pub(crate) liars: Vec<usize>,
    /// The one block that anybody has ever committed at each height.
    chain: BTreeMap<u64, Vec<u8>>,
    /// What has happened, when it is kept.
    pub(crate) log: Option<String>,
    /// (validator, height, round, kind) → block, over all lives of all nodes.
    votes: BTreeMap<(B256, u64, u32, bool), String>,
}

/// The lines between the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Of a hundred messages.
    pub(crate) lost: u64,
    /// Longest way, milliseconds; 0: 40.
    pub(crate) latest: u64,
    /// Nodes on the far side of a partition.
    pub(crate) far: Vec<usize>,
}

enum Event {
    Input(Input),
}

pub(crate) struct Node {
    pub(crate) state: Option<State>,
    number: Option<u8>,
    life: u64,
    pub(crate) disk: Disk,
    pub(crate) answers: Vec<(Ticket, Answer)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) sync_wanted: Vec<(u64, u64)>,
    pub(crate) peg_checks: Vec<PegCheck>,
    pub(crate) peg_verdict: PegVerdict,
    pub(crate) bitcoin: Option<BitcoinView>,
    /// Burns that the next built block has.
    pub(crate) burns: Vec<Burn>,
    /// Carries out this many effects, then dies.
    pub(crate) dies_after: Option<usize>,
    pub(crate) engine_away: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) blocks: Vec<CommittedBlock>,
    pub(crate) facts: Vec<LedgerFact>,
    pub(crate) wal_height: u64,
    pub(crate) wal: Vec<Vec<u8>>,
    /// It was restored from a backup.
    pub(crate) votes_lost: bool,
    pub(crate) evidence: BTreeMap<String, chain::Evidence>,
}

impl Simulation {
    /// `validators` voting nodes and `followers` without a key.
    pub(crate) fn new(validators: u8, followers: usize, seed: u64) -> Self {
        Self::of(rules(validators), followers, seed)
    }

    /// All validators of a chain and `followers` without a key.
    pub(crate) fn of(rules: Arc<ChainRules>, followers: usize, seed: u64) -> Self {
        let validators = u8::try_from(rules.spec.validators.len()).unwrap();
        let mut simulation = Self {
            rules,
            nodes: Vec::new(),
            now: Millis(GENESIS_TIME * 1_000 + 500),
            queue: BTreeMap::new(),
            sequence: 0,
            random: seed.wrapping_mul(2).wrapping_add(1),
            cut_off: Vec::new(),
            weather: Weather::default(),
            liars: Vec::new(),
            chain: BTreeMap::new(),
            log: None,
            votes: BTreeMap::new(),
        };
        for number in 0..validators {
            simulation.add_node(Some(number));
        }
        for _ in 0..followers {
            simulation.add_node(None);
        }
        simulation
    }

    fn add_node(&mut self, number: Option<u8>) {
        self.nodes.push(Node {
            state: None,
            number,
            life: 0,
            disk: Disk::default(),
            answers: Vec::new(),
            notes: Vec::new(),
            halted: None,
            sync_wanted: Vec::new(),
            peg_checks: Vec::new(),
            peg_verdict: PegVerdict::Valid,
            bitcoin: None,
            burns: Vec::new(),
            dies_after: None,
            engine_away: false,
        });
        self.start(self.nodes.len() - 1);
    }

    /// Starts a node from its disk; a life before ends.
    pub(crate) fn start(&mut self, index: usize) {
        let rules = self.rules.clone();
        let node = &mut self.nodes[index];
        node.life += 1;
        node.dies_after = None;
        let head = node.disk.head(&rules);
        let ledger = Ledger::replay(&rules.spec, Height(head.height), &node.disk.facts).unwrap();
        let log = if node.disk.wal_height == head.height + 1 { node.disk.wal.clone() } else { Vec::new() };
        // A bundle may name any of them.
        let hash = |block: &CommittedBlock| (block.height, B256::from_slice(&block.hash));
        let unsettled = node.disk.blocks.iter().map(hash).collect();
        let votes_lost = node.disk.votes_lost;
        let boot = Boot { rules, head, ledger, key: node.number.map(key), unsettled, log, votes_lost };
        let (state, effects) = State::boot(boot, self.now).unwrap();
        self.nodes[index].state = Some(state);
        self.carry_out(index, effects);
    }

    pub(crate) fn state(&self, index: usize) -> &State {
        self.nodes[index].state.as_ref().unwrap()
    }

    pub(crate) fn height(&self, index: usize) -> u64 {
        self.nodes[index].disk.blocks.len() as u64
    }

    pub(crate) fn step(&mut self, index: usize, input: Input) {
        let now = self.now;
        let Some(state) = self.nodes[index].state.as_mut() else { return };
        let effects = state.step(now, input);
        self.carry_out(index, effects);
    }

    pub(crate) fn claim(&mut self, index: usize, claim: crate::core::Claim) -> Answer {
        self.step(index, Input::ClaimArrived { ticket: Ticket(7), claim });
        self.nodes[index].answers.pop().unwrap().1
    }

    /// Runs until `done`, at most `seconds` of simulated time.
    pub(crate) fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) {
        let end = self.now.after(seconds * 1_000);
        while !done(self) {
            let Some((at, ..)) = self.queue.keys().next().copied() else { panic!("nothing happens any more") };
            assert!(at <= end, "not done after {seconds} s: heights {:?}", self.heights());
            self.next_event();
        }
    }

    /// Runs for this long.
    pub(crate) fn run_for(&mut self, millis: u64) {
        let end = self.now.after(millis);
        while self.queue.keys().next().is_some_and(|(at, ..)| *at <= end) {
            self.next_event();
        }
        self.now = end;
    }

    fn next_event(&mut self) {
        let ((at, ..), (index, life, Event::Input(input))) = self.queue.pop_first().unwrap();
        self.now = self.now.max(at);
        if let Some(log) = &mut self.log {
            log.push_str(&format!("{} {index} {input:?}\n", self.now.0));
        }
        if self.nodes[index].life == life {
            self.step(index, input);
        }
    }

    pub(crate) fn heights(&self) -> Vec<u64> {
        (0..self.nodes.len()).map(|index| self.height(index)).collect()
    }

    /// Everybody's chains agree where they overlap.
    pub(crate) fn assert_one_chain(&self) {
        for left in &self.nodes {
            assert_eq!(left.halted, None);
            for right in &self.nodes {
                for (a, b) in left.disk.blocks.iter().zip(&right.disk.blocks) {
                    assert_eq!(a.hash, b.hash, "two blocks at height {}", a.height);
                }
            }
        }
    }

    /// Another number below this.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn later(&mut self, index: usize, at: Millis, input: Input) {
        self.sequence += 1;
        let tie = self.random(1_000);
        let life = self.nodes[index].life;
        self.queue.insert((at, tie, self.sequence), (index, life, Event::Input(input)));
    }

    fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            if let Some(left) = self.nodes[index].dies_after.as_mut() {
                if *left == 0 {
                    self.nodes[index].state = None;
                    self.nodes[index].life += 1;
                    return;
                }
                *left -= 1;
            }
            if let Effect::CommitBlock(commit) = effect {
                let disk = &mut self.nodes[index].disk;
                assert_eq!(commit.block.height, disk.blocks.len() as u64 + 1, "storage takes only the next block");
                disk.blocks.push(commit.block.clone());
                let known = self.chain.entry(commit.block.height).or_insert_with(|| commit.block.hash.clone());
                assert_eq!(*known, commit.block.hash, "two blocks are committed at height {}", commit.block.height);
                disk.facts.extend(commit.facts.clone());
                if let Some(state) = self.nodes[index].state.as_mut() {
                    effects.extend(state.step(self.now, Input::Committed { hash: commit.hash }));
                }
                self.gossip_block(index, &commit.block);
            } else {
                self.carry_out_one(index, effect);
            }
        }
    }

    fn carry_out_one(&mut self, index: usize, effect: Effect) {
        let soon = self.now.after(1);
        match effect {
            Effect::AppendWal { height, entries } => {
                let disk = &mut self.nodes[index].disk;
                if disk.wal_height != height {
                    disk.wal.clear();
                    disk.wal_height = height;
                }
                // As storage does.
                disk.votes_lost &= entries.is_empty();
                disk.wal.extend(entries);
            }
            Effect::KeepEvidence(record) => self.keep(index, *record),
            Effect::Publish(message) => self.publish(index, message),
            Effect::GetTemplate(wanted) => {
                let mut template = build(&wanted, self.rules.spec.execution.gas_limit);
                template.burns = std::mem::take(&mut self.nodes[index].burns);
                let away = self.nodes[index].engine_away;
                let result = if away { Err(crate::core::EngineFailure("away".into())) } else { Ok(template) };
                self.later(index, soon, Input::TemplateBuilt { height: wanted.height, round: wanted.round, result });
            }
            Effect::Execute { hash, payload, .. } => {
                let result = if self.nodes[index].engine_away {
                    Err(crate::core::EngineFailure("away".into()))
                } else {
                    let el_hash = el_hash(&decode_payload(&payload).unwrap());
                    Ok(Execution::Valid { el_hash, burns: Vec::new() })
                };
                self.later(index, soon, Input::ExecutionDone { hash, result });
            }
            Effect::ValidatePegs(check) => {
                let verdict = self.nodes[index].peg_verdict.clone();
                self.later(index, soon, Input::PegVerdict { subject: check.subject, verdict });
                self.nodes[index].peg_checks.push(check);
            }
            Effect::GetBitcoinView => {
                if let Some(view) = self.nodes[index].bitcoin {
                    self.later(index, soon, Input::BitcoinView(view));
                }
            }
            Effect::StartTimer { timer, at } => self.later(index, at, Input::Timer(timer)),
            Effect::SyncRequired { local, target } => self.nodes[index].sync_wanted.push((local, target)),
            Effect::Answer { ticket, answer } => self.nodes[index].answers.push((ticket, answer)),
            Effect::Halt(reason) => self.nodes[index].halted = Some(reason),
            Effect::Note(note) => self.nodes[index].notes.push(note),
            Effect::CommitBlock(_) => unreachable!("carried out by the caller"),
        }
    }

    fn publish(&mut self, from: usize, message: Vec<u8>) {
        let message = Spoken::decode(&message).unwrap().message;
        let gossip = Gossip::decode(&message).unwrap();
        self.assert_logged(from, &gossip);
        if self.liars.contains(&from) && self.lie(from, &gossip) {
            return;
        }
        if let Gossip::Vote(vote) = gossip {
            let vote = SignedVote::<Aura>::try_from(&vote).unwrap();
            let kind = vote.kind == malachite_types::VoteType::Precommit;
            let place = (vote.voter.0, vote.height.0, vote.round.as_u32().unwrap(), kind);
            let said = format!("{:?}", vote.value);
            let before = self.votes.entry(place).or_insert_with(|| said.clone());
            assert_eq!(*before, said, "equivocation at {place:?}");
        }
        self.deliver(from, |_| Input::ConsensusMessage(message.clone()));
    }

    fn gossip_block(&mut self, from: usize, block: &CommittedBlock) {
        let block = imported(block);
        self.deliver(from, |_| Input::BlockReceived(block.clone()));
    }

    fn deliver(&mut self, from: usize, input: impl Fn(usize) -> Input) {
        for to in self.others(from) {
            if self.is_joined(from, to) && self.random(100) >= self.weather.lost {
                self.send(to, input(to));
            }
        }
    }

    /// All nodes but one.
    pub(crate) fn others(&self, from: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.nodes.len()).filter(move |to| *to != from)
    }

    /// On its way to one node.
    pub(crate) fn send(&mut self, to: usize, input: Input) {
        let latest = if self.weather.latest == 0 { 40 } else { self.weather.latest };
        let at = self.now.after(1 + self.random(latest));
        self.later(to, at, input);
    }

    /// Whether there is a line between two nodes.
    pub(crate) fn is_joined(&self, one: usize, other: usize) -> bool {
        let is_far = |node| self.weather.far.contains(&node);
        is_far(one) == is_far(other) && ![one, other].iter().any(|node| self.cut_off.contains(node))
    }
}

pub(crate) fn imported(block: &CommittedBlock) -> ImportedBlock {
    ImportedBlock {
        height: block.height,
        block: block.block.clone(),
        certificate: Certificate::decode(&block.certificate).unwrap(),
    }
}

impl Disk {
    pub(crate) fn head(&self, rules: &ChainRules) -> Head {
        let Some(last) = self.blocks.last() else { return rules.genesis(EL_GENESIS) };
        let block = Block::decode(&last.block).unwrap();
        Head {
            height: block.header.height,
            hash: rules.domain.block_hash(&block.header),
            slot: block.header.slot,
            time: block.header.time,
            el_hash: payload_hash(&block).unwrap(),
            view: block.header.bitcoin_view,
            certificate: Certificate::decode(&last.certificate).unwrap(),
        }
    }

    pub(crate) fn block(&self, height: usize) -> Block {
        Block::decode(&self.blocks[height - 1].block).unwrap()
    }
}
