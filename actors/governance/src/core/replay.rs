//! Our own copy of the chain's books: every block that our sidechain node serves is checked and folded into the ledger.
//!
//! Checked here: the header's hash and place (height, parent, slot, author, version, chain), the commit certificate by more
//! than 2/3 of the validators, the parent's certificate inside, the EL payload's number and withdrawals [PEG-5], every
//! deposit's proof under the block's own Bitcoin view [PEG-4], that refunds are due [PEG-7], the ledger's rules, and that
//! payouts are what the ledger plans [PEG-13], that enough members stand behind a decision [PEG-18], and that bundles of work are the next ones and have their work [PEG-15]. (The
//! hashes that a bundle names are taken as two thirds committed them.)
//! **Not** checked: the execution of the payload. The burns of a block come from the node that serves it
//! (`CommittedBlock.burns`), which is the member's own; the ledger refuses more burns than there is supply.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use alys_blocks::{Block, Certificate, CertificateError, ChainDomain, ChainSpec, decode_payload};
use alys_peg::{
    Burn, Decision, Fact, FederationError, InclusionProof, Ledger, Minted, PayoutRecorded, PayoutSettled, PegInProof, Refunded,
    Violation, Withdrawal,
};
use alys_peg::{payout, proof, record, refund, withdrawals};
use alys_pow::{Bundle, Settled, WorkRules, WorkSpecError};
use alys_proto::Height;
use alys_proto::common::CommittedBlock;
use bitcoin::Txid;
use serde::{Deserialize, Serialize};

/// The last block that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Height; 0 is genesis.
    pub height: u64,
    /// Hash.
    pub hash: B256,
    /// Slot.
    pub slot: u64,
    /// Unix seconds.
    pub time: u64,
    /// Height of its Bitcoin view, which never goes back.
    pub bitcoin_height: u32,
}

/// Why a block is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReplayFault {
    /// Not a block, not a certificate, not a claim.
    #[error("height {height}: malformed {what}: {cause}")]
    Malformed {
        /// Claimed height.
        height: u64,
        /// What.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// Something in the header is not what must come next.
    #[error("height {height}: wrong {what}")]
    Header {
        /// Claimed height.
        height: u64,
        /// What.
        what: &'static str,
    },
    /// The certificate proves nothing.
    #[error("height {height}: certificate: {cause}")]
    Certificate {
        /// Height.
        height: u64,
        /// Why.
        #[source]
        cause: CertificateError,
    },
    /// A peg claim in a committed block does not hold.
    #[error("height {height}: {cause}")]
    Claim {
        /// Height.
        height: u64,
        /// Which and why.
        cause: String,
    },
    /// The ledger refuses.
    #[error("height {height}: {cause}")]
    Rule {
        /// Height.
        height: u64,
        /// Which rule.
        #[source]
        cause: Violation,
    },
    /// Two thirds committed a block that does not follow ours: two valid certificates for one height. Halt.
    #[error("the chain forked: a valid certificate at height {height} stands behind {parent}, ours is {ours}")]
    Fork {
        /// Height.
        height: u64,
        /// The history behind it.
        parent: B256,
        /// Ours.
        ours: B256,
    },
}

/// A specification that names no possible chain.
#[derive(Debug, thiserror::Error)]
pub enum SpecFault {
    /// Its federation.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// Its rules of work.
    #[error(transparent)]
    Work(#[from] WorkSpecError),
}

/// Own chain state.
#[derive(Clone, Debug)]
pub struct Replay {
    spec: ChainSpec,
    domain: ChainDomain,
    head: Head,
    ledger: Ledger,
    /// Rules of merged mining, and what is settled before the first bundle.
    work: Option<(WorkRules, Settled)>,
    /// Recorded payouts that are not what own ledger planned, with the reason: never signed.
    unplanned: BTreeMap<Txid, String>,
}

impl Replay {
    /// Before block 1.
    pub fn new(spec: ChainSpec) -> Result<Self, SpecFault> {
        let domain = spec.domain();
        let ledger = Ledger::of(&spec)?;
        let work = WorkRules::of(&spec)?;
        let head = Head { height: 0, hash: domain.genesis(), slot: 0, time: spec.genesis_time, bitcoin_height: 0 };
        Ok(Self { spec, domain, head, ledger, work, unplanned: BTreeMap::new() })
    }

    /// The specification.
    pub const fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// The last block.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The books after it.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Why a recorded payout is not what own ledger planned; `None`: it is.
    pub fn not_the_plan(&self, txid: &Txid) -> Option<&str> {
        self.unplanned.get(txid).map(String::as_str)
    }

    /// Checks the next block and folds it in. All or nothing. Returns what it states.
    pub fn apply(&mut self, committed: &CommittedBlock) -> Result<Vec<Fact>, ReplayFault> {
        let height = committed.height;
        let block = Block::decode(&committed.block).map_err(|cause| malformed(height, "block", &cause))?;
        self.check_header(committed, &block)?;
        self.check_certificates(committed, &block)?;
        let claims = Claims::of(height, &block, &committed.burns)?;
        self.check_claims(height, &block, &claims)?;
        let mut facts = claims.into_facts();
        facts.extend(self.work_of(&block)?.map(Fact::WorkSettled));
        facts.extend(self.decision_of(&block)?.map(Fact::Decided));
        self.fold(height, &facts)?;
        let header = &block.header;
        let hash = self.domain.block_hash(header);
        self.head = Head { height, hash, slot: header.slot, time: header.time, bitcoin_height: header.bitcoin_view.height };
        Ok(facts)
    }

    /// Whether the block that the node serves at our head's height is another one. With a valid certificate that is a fork;
    /// without one the node serves something that was never committed.
    pub fn contradicted_by(&self, served: &CommittedBlock) -> Option<ReplayFault> {
        let (height, ours) = (self.head.height, self.head.hash);
        if served.height != height || served.hash == ours.as_slice() {
            return None;
        }
        let hash = B256::try_from(served.hash.as_slice()).unwrap_or_default();
        let proven = Certificate::decode(&served.certificate)
            .and_then(|certificate| certificate.verify(&self.domain, &self.spec.validators).map(|()| certificate))
            .map(|certificate| certificate.height == height && certificate.block == hash);
        match proven {
            Ok(true) => Some(ReplayFault::Fork { height, parent: hash, ours }),
            Ok(false) => Some(ReplayFault::Header { height, what: "certificate's block" }),
            Err(cause) => Some(ReplayFault::Certificate { height, cause }),
        }
    }

    /// Folds in facts that this node has checked and stored before. `head` is the stored head.
    pub fn restore(&mut self, head: Head, stored: &[(u64, Vec<Fact>)]) -> Result<(), ReplayFault> {
        for (height, facts) in stored {
            self.skip_to(height.saturating_sub(1))?;
            self.fold(*height, facts)?;
        }
        self.skip_to(head.height)?;
        self.head = head;
        Ok(())
    }

    /// Heights without facts.
    fn skip_to(&mut self, height: u64) -> Result<(), ReplayFault> {
        while self.ledger.height().0 < height {
            self.fold(self.ledger.height().next().0, &[])?;
        }
        Ok(())
    }

    fn fold(&mut self, height: u64, facts: &[Fact]) -> Result<(), ReplayFault> {
        // The plan is computed from the books after the parent block, so before the facts go in.
        let recorded: Vec<PayoutRecorded> = facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::PayoutRecorded(recorded) => Some(recorded.clone()),
                _ => None,
            })
            .collect();
        let planned = payout::check_all(&recorded, &self.ledger);
        self.ledger.apply(Height(height), facts).map_err(|cause| ReplayFault::Rule { height, cause })?;
        if let Err(why) = planned {
            self.unplanned.extend(recorded.iter().map(|payout| (payout.txid(), why.to_string())));
        }
        Ok(())
    }

    /// What the bundle of a block settles.
    fn work_of(&self, block: &Block) -> Result<Option<Settled>, ReplayFault> {
        let height = block.header.height;
        let refused = |cause: String| ReplayFault::Claim { height, cause: format!("[PEG-15] bundle: {cause}") };
        let Some(bytes) = block.body.bundle.first() else { return Ok(None) };
        let (rules, first) = self.work.as_ref().ok_or_else(|| refused("this chain has no merged mining".into()))?;
        let bundle = Bundle::decode(bytes).map_err(|why| refused(why.to_string()))?;
        let claim = bundle.claim;
        let named = |at| [claim.start, claim.end].into_iter().find(|block| block.height == at).map(|block| block.hash);
        let chain = alys_pow::Committed { head: self.head.height, hash_at: &named };
        let settled = rules.judge(self.ledger.work().unwrap_or(first), &bundle, &chain, block.header.time);
        settled.map(Some).map_err(|why| refused(why.to_string()))
    }

    /// What the federation has decided in a block.
    fn decision_of(&self, block: &Block) -> Result<Option<Decision>, ReplayFault> {
        let height = block.header.height;
        let records = block.body.governance.iter().map(|bytes| &bytes[..]);
        record::check(records, &self.domain, &self.ledger)
            .map_err(|why| ReplayFault::Claim { height, cause: format!("[PEG-18] decision: {why}") })
    }

    fn check_header(&self, committed: &CommittedBlock, block: &Block) -> Result<(), ReplayFault> {
        let (header, head) = (&block.header, &self.head);
        let expected = head.height.saturating_add(1);
        let rules = [
            (header.height == committed.height && committed.height == expected, "height"),
            (self.domain.block_hash(header).as_slice() == committed.hash, "hash"),
            (header.version == alys_blocks::BLOCK_VERSION, "version"),
            (header.chain_id == self.spec.chain_id, "chain id"),
            (expected == 1 || header.slot > head.slot, "slot"),
            (Some(header.proposer) == self.spec.proposer(header.slot), "author"),
            (header.time > head.time || expected == 1, "time"),
            (header.bitcoin_view.height >= head.bitcoin_height, "bitcoin view"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(ReplayFault::Header { height: committed.height, what }),
            None => Ok(()),
        }
    }

    fn check_certificates(&self, committed: &CommittedBlock, block: &Block) -> Result<(), ReplayFault> {
        let height = committed.height;
        let certificate =
            Certificate::decode(&committed.certificate).map_err(|cause| ReplayFault::Certificate { height, cause })?;
        if certificate.height != height || certificate.block.as_slice() != committed.hash {
            return Err(ReplayFault::Header { height, what: "certificate's block" });
        }
        let verify = |certificate: &Certificate| certificate.verify(&self.domain, &self.spec.validators);
        verify(&certificate).map_err(|cause| ReplayFault::Certificate { height, cause })?;
        let (parent, ours) = (block.header.parent, self.head.hash);
        if parent != ours {
            // Two thirds stand behind a history that is not ours.
            return Err(ReplayFault::Fork { height, parent, ours });
        }
        if height == 1 {
            return Ok(());
        }
        let of_parent = &block.body.parent_certificate;
        if of_parent.height != self.head.height || of_parent.block != ours {
            return Err(ReplayFault::Header { height, what: "parent certificate's block" });
        }
        verify(of_parent).map_err(|cause| ReplayFault::Certificate { height, cause })
    }

    fn check_claims(&self, height: u64, block: &Block, claims: &Claims) -> Result<(), ReplayFault> {
        let refused = |cause: String| ReplayFault::Claim { height, cause };
        let (federation, rules) = (self.ledger.federation(), self.ledger.rules());
        let view = &block.header.bitcoin_view;
        for claim in &claims.peg_ins {
            proof::verify(claim, view, federation, rules)
                .map_err(|why| refused(format!("[PEG-4] deposit {}: {why}", claim.outpoint)))?;
        }
        for (claim, settled) in &claims.settlements {
            let proven = proof::verify_inclusion(claim, settled.bitcoin_block.hash, view, rules);
            proven.map_err(|why| refused(format!("[PEG-14] settlement {}: {why}", settled.txid)))?;
        }
        for refunded in &claims.refunds {
            refund::check(refunded, &self.ledger).map_err(|why| refused(format!("[PEG-7] refund {:?}: {why}", refunded.burn)))?;
        }
        let payload = decode_payload(&block.body.payload).map_err(|cause| malformed(height, "payload", &cause))?;
        if payload.payload_inner.payload_inner.block_number != height {
            return Err(ReplayFault::Header { height, what: "payload's number" });
        }
        let found: Vec<Withdrawal> = payload
            .payload_inner
            .withdrawals
            .iter()
            .map(|w| Withdrawal { index: w.index, recipient: w.address, gwei: w.amount })
            .collect();
        let justified = withdrawals::justified(&self.ledger, &claims.minted, &claims.refunds);
        let justified = justified.map_err(|cause| ReplayFault::Rule { height, cause })?;
        withdrawals::check(&found, &justified).map_err(|why| refused(format!("[PEG-5] {why}")))
    }
}

/// The peg records of a block, decoded.
struct Claims {
    peg_ins: Vec<PegInProof>,
    minted: Vec<Minted>,
    refunds: Vec<Refunded>,
    payouts: Vec<PayoutRecorded>,
    settlements: Vec<(InclusionProof, PayoutSettled)>,
    burns: Vec<Burn>,
}

impl Claims {
    fn of(height: u64, block: &Block, burns: &[alys_proto::common::Burn]) -> Result<Self, ReplayFault> {
        let body = &block.body;
        let peg_ins: Result<_, _> = body.peg_ins.iter().map(PegInProof::try_from).collect();
        let refunds: Result<_, _> = body.refunds.iter().map(Refunded::try_from).collect();
        let payouts: Result<_, _> = body.payouts.iter().map(PayoutRecorded::try_from).collect();
        let inclusion = |claim| InclusionProof::try_from(claim).map(|proof| (proof, PayoutSettled::from(claim)));
        let settlements: Result<_, _> = body.settlements.iter().map(inclusion).collect();
        let burns: Result<_, _> = burns.iter().map(Burn::try_from).collect();
        Ok(Self {
            peg_ins: peg_ins.map_err(|cause| malformed(height, "deposit", &cause))?,
            minted: body.peg_ins.iter().map(Minted::from).collect(),
            refunds: refunds.map_err(|cause| malformed(height, "refund", &cause))?,
            payouts: payouts.map_err(|cause| malformed(height, "payout", &cause))?,
            settlements: settlements.map_err(|cause| malformed(height, "settlement", &cause))?,
            burns: burns.map_err(|cause| malformed(height, "burn", &cause))?,
        })
    }

    fn into_facts(self) -> Vec<Fact> {
        let minted = self.minted.into_iter().map(Fact::Minted);
        let refunds = self.refunds.into_iter().map(Fact::Refunded);
        let payouts = self.payouts.into_iter().map(Fact::PayoutRecorded);
        let settlements = self.settlements.into_iter().map(|(_, settled)| Fact::PayoutSettled(settled));
        let burns = self.burns.into_iter().map(Fact::Burned);
        minted.chain(refunds).chain(payouts).chain(settlements).chain(burns).collect()
    }
}

fn malformed(height: u64, what: &'static str, cause: &dyn std::fmt::Display) -> ReplayFault {
    ReplayFault::Malformed { height, what, cause: cause.to_string() }
}
