//! The core as a whole: Bitcoin, the sidechain and the members are played by [`World`].
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use alys_peg::{Burn, BurnRef, Fact, InputSignature, Ledger, Minted, PayoutRecorded, PayoutSettled, Session};
use alys_proto::{Height, Sats};
use bitcoin::{Block, OutPoint, Transaction, Txid};

use crate::core::documents::Document;
use crate::core::fixture::{self, Miner};
use crate::core::input::Ticket;
use crate::core::state::Intervals;
use crate::core::{BlockRef, Effect, Extension, Input, Millis, Rules, State};

mod crashes;
mod deposits;
mod figures;
mod payouts;
mod reorganisations;
mod validation;

/// Somebody on the sidechain.
const ALICE: Address = Address::repeat_byte(0xa1);
const BTC: u64 = 100_000_000;

/// A bridge core, with everything around it.
struct World {
    state: State,
    rules: Rules,
    /// What storage holds.
    disk: BTreeMap<String, Vec<u8>>,
    facts: Vec<alys_proto::storage::LedgerFact>,
    height: u64,
    now: u64,
    /// Bitcoind's best chain, from height 0.
    chain: Vec<Block>,
    miner: Miner,
}

impl World {
    fn new() -> Self {
        let intervals = Intervals { announce: 3_000, propose: 2_000, sign: 3_000, broadcast: 10_000, fees: 60_000 };
        let rules = Rules::new(fixture::spec(), intervals, 2_000).unwrap();
        let (state, effects) = State::restore(rules.clone(), Ledger::of(&rules.spec).unwrap(), &[]);
        assert!(effects.is_empty());
        let mut world = Self {
            state,
            rules,
            disk: BTreeMap::new(),
            facts: Vec::new(),
            height: 0,
            now: 0,
            chain: Vec::new(),
            miner: Miner::new(),
        };
        world.mine(vec![]);
        world.poll();
        world.step(Input::Fees(None));
        world
    }

    /// Takes one input in. Persisted documents reach the disk; questions to bitcoind are answered at once.
    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.state.step(input).unwrap();
        let mut seen = Vec::new();
        while !effects.is_empty() {
            let mut answers = Vec::new();
            for effect in effects {
                match &effect {
                    Effect::Persist(documents) => self.write(documents),
                    Effect::Follow { locator, start_height } => {
                        answers.push(Input::Extended(self.extension(locator, *start_height)))
                    }
                    _ => {}
                }
                seen.push(effect);
            }
            effects = answers.into_iter().flat_map(|answer| self.state.step(answer).unwrap()).collect();
        }
        seen
    }

    fn write(&mut self, documents: &[Document]) {
        for document in documents {
            match &document.value {
                Some(value) => drop(self.disk.insert(document.key.clone(), value.clone())),
                None => drop(self.disk.remove(&document.key)),
            }
        }
    }

    fn extension(&self, locator: &[BlockRef], start_height: u32) -> Extension {
        let in_chain = |block: &&BlockRef| {
            self.chain.get(usize::try_from(block.height).unwrap()).is_some_and(|at| at.block_hash() == block.hash)
        };
        let ancestor = locator.iter().find(in_chain).copied();
        let first = ancestor.map_or(start_height, |block| block.height + 1);
        let blocks = self.chain.iter().skip(usize::try_from(first).unwrap()).take(4).cloned().collect();
        Extension { ancestor, blocks, best: self.best() }
    }

    fn best(&self) -> BlockRef {
        BlockRef { hash: self.chain.last().unwrap().block_hash(), height: u32::try_from(self.chain.len() - 1).unwrap() }
    }

    fn poll(&mut self) -> Vec<Effect> {
        self.step(Input::BitcoinTip(self.best()))
    }

    fn mine(&mut self, transactions: Vec<Transaction>) {
        let block = self.miner.mine(transactions);
        self.chain.push(block);
    }

    fn mine_empty(&mut self, count: u32) {
        for _ in 0..count {
            self.mine(vec![]);
        }
    }

    /// Takes the last `depth` blocks away; the next ones are another branch.
    fn lose(&mut self, depth: usize) {
        self.chain.truncate(self.chain.len() - depth);
        self.miner = self.miner.branch(self.chain.last().unwrap().block_hash());
    }

    fn wait(&mut self, millis: u64) -> Vec<Effect> {
        self.now += millis;
        self.step(Input::Tick(Millis(self.now)))
    }

    /// Commits a sidechain block with these facts.
    fn commit(&mut self, facts: &[Fact]) -> Vec<Effect> {
        self.height += 1;
        let facts: Vec<_> = facts.iter().map(|fact| fact.at(Height(self.height))).collect();
        self.facts.extend(facts.clone());
        self.step(Input::Finalized { height: self.height, facts })
    }

    /// As if the process was killed and started again: only the disk and the sidechain are left.
    fn crash(&mut self) {
        let documents: Vec<(String, Vec<u8>)> = self.disk.clone().into_iter().collect();
        let ledger = Ledger::replay(&self.rules.spec, Height(self.height), &self.facts).unwrap();
        let (state, effects) = State::restore(self.rules.clone(), ledger, &documents);
        self.state = state;
        for effect in effects {
            let Effect::Persist(documents) = effect else { panic!("a restart only tidies up") };
            self.write(&documents);
        }
        self.now = 0;
        self.step(Input::Tick(Millis(0)));
        self.poll();
        self.step(Input::Fees(None));
    }

    fn deposit(&self, salt: u8, sats: u64) -> Transaction {
        fixture::deposit(salt, self.rules.federation.script_pubkey(), sats, Some(ALICE))
    }

    /// A deposit that is in the ledger: coins to pay with.
    fn mint(&mut self, salt: u8, sats: u64) -> OutPoint {
        let deposit = self.deposit(salt, sats);
        let outpoint = OutPoint { txid: deposit.compute_txid(), vout: 0 };
        self.mine(vec![deposit]);
        self.mine_empty(fixture::N);
        self.poll();
        self.commit(&[Fact::Minted(Minted { outpoint, value: Sats(sats), recipient: ALICE })]);
        outpoint
    }

    /// A burn of `sats` in the next sidechain block.
    fn burn(&mut self, sats: u64, address: &str) -> (BurnRef, Vec<Effect>) {
        let id = BurnRef { height: self.height + 1, log_index: 0 };
        let burn = Burn {
            id,
            transaction_hash: B256::repeat_byte(9),
            sender: ALICE,
            bitcoin_address: address.as_bytes().to_vec(),
            amount: Sats(sats).to_wei(),
        };
        (id, self.commit(&[Fact::Burned(burn)]))
    }

    fn sign(&self, txid: &Txid, number: u8) -> Vec<InputSignature> {
        Session::of(&self.state.ledger, txid).unwrap().sign(&fixture::member(number).secret_key()).unwrap()
    }

    fn answer(&mut self, number: u8, txid: Txid, signatures: Vec<InputSignature>) -> Vec<Effect> {
        self.step(Input::Signatures { ticket: Ticket(7), member: format!("governance-{number}"), txid, signatures })
    }

    fn peg_in_states(&self) -> Vec<(String, u32)> {
        self.state.pegs().peg_ins.into_iter().map(|peg| (peg.state, peg.confirmations)).collect()
    }
}

fn announced(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::BitcoinTransactionDetected(_))).count()
}

fn proposed(effects: &[Effect]) -> Option<PayoutRecorded> {
    effects.iter().find_map(|effect| match effect {
        Effect::ProposePayout(recorded) => Some(recorded.as_ref().clone()),
        _ => None,
    })
}

fn settled(world: &World, txid: Txid) -> Fact {
    let block = world.state.sightings.spend(&txid).unwrap().block;
    let hash = B256::from(bitcoin::hashes::Hash::to_byte_array(block.hash));
    Fact::PayoutSettled(PayoutSettled { txid, bitcoin_block: alys_blocks::BitcoinView { hash, height: block.height } })
}
