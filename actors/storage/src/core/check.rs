//! Whether what is stored fits together: judged block by block, in order, from what a walk over the tables reads.
//!
//! | part | what must hold |
//! |---|---|
//! | blocks | heights 1 to the head without a gap; each names its predecessor as parent; each is the block whose hash it is stored under |
//! | certificates | each whole block has one, and it proves the block |
//! | index | each hash leads to its height, and nothing else is in the index |
//! | pruned | below the floor only hash and parent are kept |
//! | burns, facts | what a block's body and burns state is what is stored as its facts |
//! | ledger | the facts fold into a ledger without breaking a rule of the peg |
//! | wal | entries of one height, which follows the head or is older |
//!
//! Blocks are not executed again: which burns a payload makes is taken from what is stored.

use alys_blocks::{ChainSpec, Committed, CommittedRules};
use alys_peg::{Fact, Ledger};
use alys_proto::Height;
use alys_proto::common::Burn;
use alys_proto::storage::LedgerFact;
use serde::Serialize;

use super::commit::ChainId;
use super::form::Hash;

/// Damages that are named; of more only the number is. One lost page can be thousands.
pub const MAX_DAMAGES: usize = 100;

/// What a person does about any of it.
pub const ADVICE: &str = "Keep the file, then `alys storage restore` a backup. A full node may also remove it and sync again; a validator must not: its votes are in it";

/// Where the damage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The pages and checksums of the file.
    File,
    /// The blocks.
    Blocks,
    /// Their certificates.
    Certificates,
    /// Hash → height.
    Index,
    /// What pruning left.
    Pruned,
    /// Burns of blocks.
    Burns,
    /// What blocks state about the peg.
    Facts,
    /// What follows from the facts.
    Ledger,
    /// The consensus log.
    Wal,
    /// Leases, outboxes and what else roles keep.
    Roles,
    /// What the database says of itself.
    Meta,
}

/// Something does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where.
    pub part: Part,
    /// Of which block; 0: of none in particular.
    pub height: u64,
    /// What.
    pub text: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Schema of the database.
    pub schema: u64,
    /// Height of the last block.
    pub head_height: u64,
    /// Its hash; empty before the first.
    pub head_hash: String,
    /// Blocks below this are pruned; 0: none is.
    pub pruned_below: u64,
    /// It was restored, and no vote has been written since.
    pub votes_lost: bool,
    /// Blocks that were looked at, pruned ones included.
    pub blocks: u64,
    /// Ledger facts that were folded.
    pub facts: u64,
    /// What does not fit: the first [`MAX_DAMAGES`].
    pub damages: Vec<Damage>,
    /// So many more.
    pub more: u64,
}

impl Report {
    /// Nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    /// Notes a damage.
    pub fn add(&mut self, part: Part, height: u64, text: impl Into<String>) {
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(Damage { part, height, text: text.into() });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// A block as its rows say.
#[derive(Debug)]
pub struct StoredBlock<'a> {
    /// Key of its row.
    pub height: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its parent's.
    pub parent: Hash,
    /// SSZ block; empty: pruned.
    pub block: &'a [u8],
    /// SSZ certificate.
    pub certificate: Option<&'a [u8]>,
    /// Where the index says that the hash is.
    pub indexed: Option<u64>,
    /// In log order.
    pub burns: Vec<Burn>,
    /// In order.
    pub facts: Vec<LedgerFact>,
}

/// Takes the blocks in order of height.
#[derive(Debug)]
pub struct Judge {
    rules: CommittedRules,
    /// `None`: it broke, and what would follow says nothing.
    ledger: Option<Ledger>,
    last: Hash,
    next: u64,
    floor: u64,
    settled: Option<u64>,
    report: Report,
}

impl Judge {
    /// Before block 1. `pruned_below` is 0 when nothing is pruned.
    pub fn new(spec: &ChainSpec, pruned_below: u64) -> Self {
        let mut report = Report { pruned_below, ..Report::default() };
        let ledger = Ledger::of(spec).inspect_err(|cause| report.add(Part::Ledger, 0, cause.to_string())).ok();
        let last = ChainId::of(spec).genesis;
        Self { rules: CommittedRules::of(spec), ledger, last, next: 1, floor: pruned_below, settled: None, report }
    }

    /// The next block.
    pub fn block(&mut self, stored: &StoredBlock<'_>) {
        let height = stored.height;
        if height > self.next {
            self.report.add(Part::Blocks, self.next, format!("blocks {} to {} are missing", self.next, height.saturating_sub(1)));
        } else if stored.parent != self.last {
            let text = format!("its parent is {}, the block before it is {}", stored.parent, self.last);
            self.report.add(Part::Blocks, height, text);
        }
        if stored.indexed != Some(height) {
            let found = stored.indexed.map_or_else(|| "not there".to_owned(), |found| format!("led to {found}"));
            self.report.add(Part::Index, height, format!("its hash {} is {found}", stored.hash));
        }
        if height < self.floor {
            self.pruned(stored);
        } else {
            self.whole(stored);
        }
        self.fold(height, &stored.facts);
        self.last = stored.hash;
        self.next = height.saturating_add(1);
        self.report.blocks = self.report.blocks.saturating_add(1);
        (self.report.head_height, self.report.head_hash) = (height, stored.hash.to_string());
    }

    fn pruned(&mut self, stored: &StoredBlock<'_>) {
        if !stored.block.is_empty() || stored.certificate.is_some() || !stored.burns.is_empty() {
            self.report.add(Part::Pruned, stored.height, format!("it is below the floor {} and not pruned", self.floor));
        }
    }

    fn whole(&mut self, stored: &StoredBlock<'_>) {
        let height = stored.height;
        let Some(certificate) = stored.certificate else {
            return self.report.add(Part::Certificates, height, "it has no certificate");
        };
        let message = Committed { height, hash: &stored.hash.0, block: stored.block, certificate };
        let block = match self.rules.check(message) {
            Ok(block) => block,
            Err(fault) => {
                use alys_blocks::CommittedFault as F;
                let of_certificate = matches!(fault, F::CertificateTooLong(_) | F::OtherCertificate | F::Certificate(_));
                let part = if of_certificate { Part::Certificates } else { Part::Blocks };
                return self.report.add(part, height, fault.to_string());
            }
        };
        if block.header.parent.0 != stored.parent.0 {
            self.report.add(Part::Blocks, height, format!("it says that its parent is {}", block.header.parent));
        }
        let stated = match alys_peg::block::facts(&block.body, &stored.burns) {
            Ok(stated) => stated,
            Err(cause) => return self.report.add(Part::Burns, height, cause.to_string()),
        };
        let found: Result<Vec<Fact>, _> = stored.facts.iter().map(Fact::try_from).collect();
        // `fold` names facts that do not decode.
        let Ok(found) = found else { return };
        let (work, others): (Vec<Fact>, Vec<Fact>) = found.into_iter().partition(|fact| matches!(fact, Fact::WorkSettled(_)));
        if others != stated || work.len() != block.body.bundle.len() {
            let text = format!("it states {} facts, {} others are stored", stated.len(), others.len());
            self.report.add(Part::Facts, height, text);
        }
    }

    fn fold(&mut self, height: u64, facts: &[LedgerFact]) {
        self.report.facts = self.report.facts.saturating_add(u64::try_from(facts.len()).unwrap_or(u64::MAX));
        let typed: Result<Vec<Fact>, _> = facts.iter().map(Fact::try_from).collect();
        let typed = match typed {
            Ok(typed) => typed,
            Err(cause) => {
                self.ledger = None;
                return self.report.add(Part::Facts, height, cause.to_string());
            }
        };
        for fact in &typed {
            if let Fact::WorkSettled(settled) = fact {
                self.settled = Some(settled.end.height);
            }
        }
        let Some(ledger) = self.ledger.as_mut() else { return };
        if let Err(violation) = ledger.apply(Height(height), &typed) {
            self.report.add(Part::Ledger, height, violation.to_string());
            self.ledger = None;
        }
    }

    /// After the last block: what must agree with all of them together.
    pub fn finish(mut self, whole: &Totals) -> Report {
        if let Some(ledger) = &self.ledger
            && let Err(violation) = ledger.check_invariants()
        {
            self.report.add(Part::Ledger, self.report.head_height, violation.to_string());
        }
        let blocks = self.report.blocks;
        let pruned = self.floor.saturating_sub(1).min(blocks);
        let counts = [
            (Part::Index, "hashes in the index", whole.indexed, blocks),
            (Part::Certificates, "certificates", whole.certificates, blocks.saturating_sub(pruned)),
            (Part::Facts, "facts", whole.facts, self.report.facts),
        ];
        for (part, what, found, expected) in counts {
            if found > expected {
                self.report.add(part, 0, format!("{found} {what} where the blocks account for {expected}"));
            }
        }
        if whole.settled != self.settled {
            let text = format!("the settled height is {:?}, the facts say {:?}", whole.settled, self.settled);
            self.report.add(Part::Meta, 0, text);
        }
        if self.floor > self.next {
            self.report.add(Part::Pruned, 0, format!("the floor {} is above the head {}", self.floor, self.report.head_height));
        }
        self.report
    }

    /// For what a walk finds besides blocks.
    pub const fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

/// Rows of whole tables, and what the database says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Rows of the index.
    pub indexed: u64,
    /// Rows of the certificates.
    pub certificates: u64,
    /// Rows of the facts.
    pub facts: u64,
    /// Last settled height.
    pub settled: Option<u64>,
}
