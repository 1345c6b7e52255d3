//! The state of the bridge, and where each input goes.
//!
//! It is made of three functions and a few timers: sightings are a function of Bitcoin's best chain, the ledger is a
//! function of the sidechain, partial signatures are in storage. What is to be done follows from these three, so after a
//! crash the same things are done again, and everything is repeated until a chain shows its effect [PEG-19].

use std::collections::BTreeMap;
use std::sync::Arc;

use alys_blocks::ChainSpec;
use alys_peg::ledger::ReplayError;
use alys_peg::{Fact, Federation, FederationError, Ledger, PegRules, Violation, Violations, WireError};
use alys_proto::Height;
use alys_proto::storage::LedgerFact;
use bitcoin::{OutPoint, Txid};

use crate::core::deposits::Unconfirmed;
use crate::core::documents::{Document, Stored};
use crate::core::effect::Effect;
use crate::core::follow::{BlockRef, Extension, Followed};
use crate::core::input::{Input, Millis};
use crate::core::sightings::Sightings;
use crate::core::signatures::Signatures;
use crate::core::turns::{Turns, Work};

/// Burns that engine told us of are in the ledger after this long, or the ledger is read again.
const LEDGER_PATIENCE: u64 = 3_000;

/// How often each repeated work is repeated, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// A deposit to governance.
    pub announce: u64,
    /// A proposal to chain.
    pub propose: u64,
    /// A signature request.
    pub sign: u64,
    /// A broadcast.
    pub broadcast: u64,
    /// A fee estimate.
    pub fees: u64,
}

/// What does not change while the process lives.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The chain.
    pub spec: Arc<ChainSpec>,
    /// Who holds the coins.
    pub federation: Federation,
    /// The limits.
    pub peg: PegRules,
    /// Repetition.
    pub intervals: Intervals,
    /// Fee rate while bitcoind has none, satoshis per 1,000 virtual bytes.
    pub fallback_fee_rate: u64,
}

/// How things stand with bitcoind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bitcoin {
    /// It does not answer, or not usably; why.
    Away(String),
    /// We read blocks up to this one.
    CatchingUp(BlockRef),
    /// We have followed up to its tip.
    Following,
}

/// A promise was broken by somebody we must be able to trust. Going on could lose money.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A committed block states something that no rule allows.
    #[error("the committed block at height {height} breaks the peg's rules: {source}")]
    Rule {
        /// Its height.
        height: u64,
        /// Which rule.
        source: Box<Violation>,
    },
    /// A committed fact does not decode.
    #[error("a fact of the committed block at height {height} does not decode: {source}")]
    Fact {
        /// Its height.
        height: u64,
        /// Why not.
        source: WireError,
    },
    /// The stored ledger does not replay.
    #[error("the stored ledger does not replay: {0}")]
    Replay(#[source] Box<ReplayError>),
}

/// The bridge.
pub struct State {
    pub(super) rules: Rules,
    pub(super) now: Millis,
    pub(super) bitcoin: Bitcoin,
    pub(super) followed: Followed,
    pub(super) reading: bool,
    pub(super) sightings: Sightings,
    pub(super) unconfirmed: BTreeMap<OutPoint, Unconfirmed>,
    pub(super) ledger: Ledger,
    pub(super) burned: Option<(u64, Millis)>,
    pub(super) signatures: Signatures,
    /// Bitcoind's last answer, once it was asked.
    pub(super) estimate: Option<Option<u64>>,
    pub(super) refusals: BTreeMap<Txid, String>,
    pub(super) turns: Turns,
    pub(super) violations: Violations,
}

impl Rules {
    /// From the specification.
    pub fn new(spec: Arc<ChainSpec>, intervals: Intervals, fallback_fee_rate: u64) -> Result<Self, FederationError> {
        let federation = Federation::try_from(spec.as_ref())?;
        let peg = PegRules::from(spec.as_ref());
        Ok(Self { spec, federation, peg, intervals, fallback_fee_rate })
    }
}

impl State {
    /// The bridge as it finds itself at a start: from the ledger and the documents that storage holds. The effects throw
    /// away what is of no use any more.
    pub fn restore(rules: Rules, ledger: Ledger, documents: &[(String, Vec<u8>)]) -> (Self, Vec<Effect>) {
        let mut state = Self {
            now: Millis::default(),
            bitcoin: Bitcoin::Away("bitcoind was not asked yet".into()),
            followed: Followed::new(rules.spec.bitcoin.start_height),
            reading: false,
            sightings: Sightings::default(),
            unconfirmed: BTreeMap::new(),
            ledger,
            burned: None,
            signatures: Signatures::default(),
            estimate: None,
            refusals: BTreeMap::new(),
            turns: Turns::default(),
            violations: Violations::default(),
            rules,
        };
        let useless = state.read_documents(documents);
        let effects = if useless.is_empty() { Vec::new() } else { vec![Effect::Persist(useless)] };
        (state, effects)
    }

    fn read_documents(&mut self, documents: &[(String, Vec<u8>)]) -> Vec<Document> {
        let (mut blocks, mut coins, mut spends) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut useless = Vec::new();
        let mut scan_is_whole = true;
        for (key, value) in documents {
            match Stored::read(key, value) {
                Ok(Some(Stored::Block(block))) => blocks.push(block),
                Ok(Some(Stored::Coin(outpoint, coin))) => drop(coins.insert(outpoint, *coin)),
                Ok(Some(Stored::Spend(txid, spend))) => drop(spends.insert(txid, spend)),
                Ok(Some(Stored::Signature(of, signature))) => self.signatures.restore(of, signature),
                Ok(None) => {}
                Err(_) => {
                    scan_is_whole &= !Document::is_scan(key);
                    useless.push(Document { key: key.clone(), value: None });
                }
            }
        }
        match Followed::restore(self.rules.spec.bitcoin.start_height, blocks) {
            Some(followed) if scan_is_whole => {
                self.followed = followed;
                self.sightings = Sightings::restore(coins, spends);
            }
            // Everything on Bitcoin can be found again.
            _ => useless.extend(
                documents
                    .iter()
                    .filter(|(key, _)| Document::is_scan(key))
                    .map(|(key, _)| Document { key: key.clone(), value: None }),
            ),
        }
        useless
    }

    /// What does not change.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Our copy of the ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Invariants that the audit found broken.
    pub const fn violations(&self) -> &Violations {
        &self.violations
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input) -> Result<Vec<Effect>, Broken> {
        let mut effects = Vec::new();
        match input {
            Input::Tick(now) => self.tick(now, &mut effects),
            Input::BitcoinTip(best) => self.bitcoin_tip(best, &mut effects),
            Input::BitcoinAway(reason) => {
                self.bitcoin = Bitcoin::Away(reason);
                self.reading = false;
                self.turns.reset(&Work::Fees);
            }
            Input::Extended(extension) => self.extended(extension, &mut effects),
            Input::Fees(estimate) => self.estimate = Some(estimate.or(self.estimate.flatten())),
            Input::TransactionSeen(txid) => effects.push(Effect::LookUp(txid)),
            Input::Unconfirmed(transaction) => self.see_unconfirmed(&transaction),
            Input::Finalized { height, facts } => self.finalized(height, &facts, &mut effects)?,
            Input::Ledger { height, facts } => self.replace_ledger(height, &facts, &mut effects)?,
            Input::Burned { height } => self.burned = Some((height, self.now)),
            Input::Signatures { ticket, member, txid, signatures } => {
                self.take_signatures(ticket, &member, txid, &signatures, &mut effects)
            }
            Input::Broadcast { txid, outcome } => drop(match outcome {
                Ok(()) => self.refusals.remove(&txid),
                Err(reason) => self.refusals.insert(txid, reason),
            }),
        }
        self.do_what_is_due(&mut effects);
        Ok(effects)
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.now = now;
        self.turns.sweep(now);
        self.drop_old_unconfirmed();
        if self.bitcoin == Bitcoin::Following && self.turns.take(Work::Fees, now, self.rules.intervals.fees) {
            effects.push(Effect::EstimateFees);
        }
        if let Some((height, since)) = self.burned {
            if height <= self.ledger.height().0 {
                self.burned = None;
            } else if now.0.saturating_sub(since.0) >= LEDGER_PATIENCE {
                self.reload(effects);
            }
        }
    }

    fn bitcoin_tip(&mut self, best: BlockRef, effects: &mut Vec<Effect>) {
        if self.followed.tip() == Some(best) {
            self.bitcoin = Bitcoin::Following;
            return;
        }
        // After trouble, only blocks that connect to ours show that it is over.
        if !matches!(self.bitcoin, Bitcoin::Away(_)) {
            self.bitcoin = Bitcoin::CatchingUp(best);
        }
        self.read_on(effects);
    }

    fn read_on(&mut self, effects: &mut Vec<Effect>) {
        if !self.reading {
            self.reading = true;
            effects.push(Effect::Follow { locator: self.followed.locator(), start_height: self.followed.start_height() });
        }
    }

    /// Undoes what the best chain no longer has, and takes in what it has more. One transaction in storage holds it all.
    fn extended(&mut self, extension: Extension, effects: &mut Vec<Effect>) {
        if !self.reading {
            return;
        }
        self.reading = false;
        let before = self.followed.tip();
        if extension.ancestor.is_some_and(|ancestor| !self.followed.contains(&ancestor)) {
            // An answer to a question that we would not ask any more; ask again.
            return self.read_on(effects);
        }
        let mut documents = Vec::new();
        while let Some(tip) = self.followed.tip() {
            if extension.ancestor == Some(tip) {
                break;
            }
            self.undo(tip, &mut documents);
        }
        for block in &extension.blocks {
            let Ok((place, forgotten)) = self.followed.push(block) else { break };
            documents.extend(self.sightings.apply(place, block, &self.rules.federation, &self.rules.peg));
            documents.push(Document::block(place));
            documents.extend(forgotten.map(|old| Document::no_block(old.height)));
            self.confirm_unconfirmed(block);
            if let Some(oldest) = forgotten {
                let ledger = &self.ledger;
                let settled = |txid: &Txid| ledger.payout(txid).is_some_and(|payout| payout.settled.is_some());
                documents.extend(self.sightings.forget(oldest.height, |outpoint| ledger.is_minted(outpoint), settled));
            }
        }
        if !documents.is_empty() {
            effects.push(Effect::Persist(documents));
        }
        self.after_extension(before, extension.best, effects);
    }

    fn undo(&mut self, tip: BlockRef, documents: &mut Vec<Document>) {
        self.followed.pop();
        let (undone, lost) = self.sightings.undo(tip);
        documents.extend(undone);
        documents.push(Document::no_block(tip.height));
        self.remember_lost(lost);
    }

    fn after_extension(&mut self, before: Option<BlockRef>, best: BlockRef, effects: &mut Vec<Effect>) {
        let tip = self.followed.tip();
        if tip == Some(best) {
            self.bitcoin = Bitcoin::Following;
        } else {
            self.bitcoin = Bitcoin::CatchingUp(best);
            // When nothing moved, the next poll asks again: bitcoind was changing its mind, or is below the start height.
            if tip != before {
                self.read_on(effects);
            }
        }
        if let Some(moved) = tip.filter(|tip| Some(*tip) != before && *tip == best) {
            effects.push(Effect::BitcoinViewChanged(moved));
        }
    }

    fn finalized(&mut self, height: u64, facts: &[LedgerFact], effects: &mut Vec<Effect>) -> Result<(), Broken> {
        if height <= self.ledger.height().0 {
            return Ok(());
        }
        if Height(height) != self.ledger.height().next() {
            self.reload(effects);
            return Ok(());
        }
        let typed: Result<Vec<Fact>, WireError> = facts.iter().map(Fact::try_from).collect();
        let typed = typed.map_err(|source| Broken::Fact { height, source })?;
        self.ledger.apply(Height(height), &typed).map_err(|source| Broken::Rule { height, source: Box::new(source) })?;
        self.audit();
        self.ledger_moved(effects);
        Ok(())
    }

    fn replace_ledger(&mut self, height: u64, facts: &[LedgerFact], effects: &mut Vec<Effect>) -> Result<(), Broken> {
        if height > self.ledger.height().0 {
            self.ledger =
                Ledger::replay(&self.rules.spec, Height(height), facts).map_err(|error| Broken::Replay(Box::new(error)))?;
            self.ledger_moved(effects);
        }
        self.turns.reset(&Work::Reload);
        Ok(())
    }

    fn reload(&mut self, effects: &mut Vec<Effect>) {
        if self.turns.take(Work::Reload, self.now, LEDGER_PATIENCE) {
            effects.push(Effect::ReloadLedger);
        }
    }

    fn do_what_is_due(&mut self, effects: &mut Vec<Effect>) {
        // While we do not know Bitcoin's best chain, nothing of what we know about depth counts.
        if self.bitcoin == Bitcoin::Following {
            self.announce_deposits(effects);
            self.create_peg_out_transaction(effects);
            self.drive_payouts(effects);
        }
    }
}
