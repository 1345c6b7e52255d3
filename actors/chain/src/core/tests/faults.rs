//! What a seeded schedule does to the nodes, and what a lying validator says.

use alloy_primitives::B256;
use alys_proto::chain;
use malachite_types::{NilOrVal, SignedVote};

use super::fixtures::{key, view};
use super::simulation::{Simulation, Weather, imported};
use crate::core::consensus::verify::sign_vote;
use crate::core::consensus::{Aura, BlockId, Evidence, Gossip, WalEntry, evidence};
use crate::core::{Input, PegVerdict, Ticket};

/// A node of a schedule dies within so many effects.
const EFFECTS: u64 = 60;

impl Simulation {
    /// One more fault, or the end of one.
    pub(crate) fn disturb(&mut self) {
        let nodes = self.nodes.len() as u64;
        let node = self.random(nodes) as usize;
        match self.random(10) {
            0 => self.weather = Weather { lost: self.random(30), latest: 1 + self.random(1_500), ..self.weather.clone() },
            1 => self.weather = Weather { lost: 0, latest: 0, ..self.weather.clone() },
            2 => self.weather.far = (0..self.nodes.len()).filter(|_| self.random(2) == 0).collect(),
            3 => self.weather.far.clear(),
            4 => self.nodes[node].dies_after = Some(self.random(EFFECTS) as usize),
            5 => self.revive(),
            6 => self.nodes[node].engine_away = !self.nodes[node].engine_away,
            7 => {
                let height = 1 + self.random(30) as u32;
                self.nodes[node].bitcoin = Some(view(height));
                self.step(node, Input::BitcoinView(view(height)));
            }
            8 => {
                let lags = self.random(2) == 0;
                self.nodes[node].peg_verdict = if lags { PegVerdict::Lagging("behind".into()) } else { PegVerdict::Valid };
            }
            _ => self.claim_deposit(node),
        }
    }

    /// Every fault is over.
    pub(crate) fn calm(&mut self) {
        self.weather = Weather::default();
        for node in &mut self.nodes {
            (node.dies_after, node.engine_away, node.peg_verdict) = (None, false, PegVerdict::Valid);
        }
        self.revive();
    }

    /// Starts whoever is dead.
    fn revive(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].state.is_none() {
                self.start(node);
            }
        }
    }

    /// What network and sync do: heads are exchanged, and whoever asks for blocks gets those of a node that it reaches.
    pub(crate) fn exchange(&mut self) {
        for node in 0..self.nodes.len() {
            let height = self.height(node);
            let lives = |other: &usize| self.nodes[*other].state.is_some() && self.is_joined(node, *other);
            let best = (0..self.nodes.len()).filter(lives).max_by_key(|other| self.height(*other));
            let Some(best) = best.filter(|best| self.nodes[node].state.is_some() && self.height(*best) > height) else {
                continue;
            };
            let blocks: Vec<_> = self.nodes[best].disk.blocks.iter().skip(height as usize).map(imported).collect();
            if let Some(head) = blocks.last() {
                self.step(node, Input::BlockReceived(head.clone()));
            }
            if !std::mem::take(&mut self.nodes[node].sync_wanted).is_empty() {
                self.step(node, Input::BatchBlockImport { ticket: Ticket(1), blocks });
            }
        }
    }

    /// Runs with sync until `done`, at most `seconds` of simulated time.
    pub(crate) fn run_with_exchange(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) {
        for _ in 0..seconds * 2 {
            self.run_for(500);
            self.exchange();
            if done(self) {
                return;
            }
        }
        panic!("not done after {seconds} s: heights {:?}", self.heights());
    }

    /// What is told is on disk.
    pub(crate) fn assert_logged(&self, from: usize, gossip: &Gossip) {
        let needed = match gossip {
            Gossip::Vote(vote) => vec![WalEntry::Vote(vote.clone())],
            Gossip::Proposal(message) => {
                vec![WalEntry::Block(message.block.clone()), WalEntry::Proposal(message.proposal.clone())]
            }
            Gossip::Polka(_) | Gossip::RoundChange(_) => Vec::new(),
        };
        for entry in needed {
            assert!(self.nodes[from].disk.wal.contains(&entry.encode()), "told before it was on disk: {entry:?}");
        }
    }

    /// What a node keeps of another's lies is proof, and nobody else is accused.
    pub(crate) fn keep(&mut self, node: usize, record: chain::Evidence) {
        assert_eq!(Evidence::check(&record, &self.rules.spec), Ok(()), "{record:?}");
        let is_guilty = |liar: &usize| self.rules.spec.validators[*liar].as_slice() == record.validator;
        assert!(self.liars.iter().any(is_guilty), "an honest validator is accused: {record:?}");
        self.nodes[node].disk.evidence.insert(evidence::key(&record), record);
    }

    /// What a liar sends beside what its core wants sent; true: instead.
    pub(crate) fn lie(&mut self, from: usize, gossip: &Gossip) -> bool {
        match gossip {
            // Votes for something else, to some.
            Gossip::Vote(message) => {
                let mut other = SignedVote::<Aura>::try_from(message).unwrap().message;
                let invented = NilOrVal::Val(BlockId(B256::repeat_byte(self.random(256) as u8)));
                other.value = if self.random(2) == 0 { NilOrVal::Nil } else { invented };
                let signed = sign_vote(&self.rules.domain, &key(from as u8), other);
                let bytes = Gossip::Vote((&signed).into()).encode();
                for to in self.others(from) {
                    if self.random(2) == 0 {
                        self.send(to, Input::ConsensusMessage(bytes.clone()));
                    }
                }
                self.random(4) == 0
            }
            // Kept back, or with another block than it names.
            Gossip::Proposal(proposal) => {
                let mut bad = proposal.clone();
                if let Some(byte) = bad.block.get_mut(200) {
                    *byte ^= 1;
                }
                let bytes = Gossip::Proposal(bad).encode();
                for to in self.others(from) {
                    self.send(to, Input::ConsensusMessage(bytes.clone()));
                }
                self.random(2) == 0
            }
            // A block that too few have signed.
            Gossip::Polka(_) | Gossip::RoundChange(_) => {
                let Some(last) = self.nodes[from].disk.blocks.last() else { return false };
                let mut forged = imported(last);
                forged.height += 1;
                forged.certificate.height += 1;
                for to in self.others(from) {
                    self.send(to, Input::BlockReceived(forged.clone()));
                }
                false
            }
        }
    }
}
