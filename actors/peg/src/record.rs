//! What the federation decides as a whole and a block records: that the peg pauses, and that it goes on [PEG-18].
//!
//! | decided | from the next block on |
//! |---|---|
//! | pause | nothing is minted, given back or paid out, and no member approves or signs; what is burned waits; what Bitcoin has already is settled |
//! | resume | as before |
//!
//! A record is made by the chain, not by one of them: each member signs a decision with its own number and its own key, and
//! whoever proposes a block puts the signatures of as many members together as the federation asks for. The number is that of
//! the last recorded decision and one more, so a signature is of use once, whatever happened meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, FixedBytes};
use alys_blocks::ChainDomain;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey, schnorr};
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash_derive::TreeHash;

use crate::federation::MAX_MEMBERS;
use crate::{Federation, Ledger};

/// Bytes of an encoded record, above what [`MAX_MEMBERS`] signatures need.
pub const MAX_RECORD_BYTES: usize = 4_096;

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The peg stands still.
    PausePeg,
    /// It goes on.
    ResumePeg,
}

impl Action {
    const ALL: [Self; 2] = [Self::PausePeg, Self::ResumePeg];

    /// Its number in a record.
    pub const fn code(self) -> u8 {
        match self {
            Self::PausePeg => 1,
            Self::ResumePeg => 2,
        }
    }

    /// The action of a number; `None`: of a newer program.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.code() == code)
    }

    /// Whether the peg stands still afterwards.
    pub const fn pauses(self) -> bool {
        matches!(self, Self::PausePeg)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PausePeg => "pause",
            Self::ResumePeg => "resume",
        })
    }
}

/// Not the name of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither `pause` nor `resume`")]
pub struct UnknownAction;

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.to_string() == text).ok_or(UnknownAction)
    }
}

/// A decision, as the ledger keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// 1 for the first of a chain, then one more each time.
    pub number: u64,
    /// What.
    pub action: Action,
}

#[derive(TreeHash)]
struct Signed {
    number: u64,
    action: u8,
}

impl Decision {
    /// What a member signs: worth nothing on another chain, nor for another purpose.
    pub fn root(&self, domain: &ChainDomain) -> B256 {
        domain.root("alys/decision/1", &Signed { number: self.number, action: self.action.code() })
    }

    /// One member's part of the record. The same each time: nobody needs randomness for it [PEG-20].
    pub fn sign(self, domain: &ChainDomain, member: usize, secret: &SecretKey) -> Record {
        let secp = Secp256k1::signing_only();
        let pair = Keypair::from_secret_key(&secp, secret);
        let signature = secp.sign_schnorr_no_aux_rand(&Message::from_digest(self.root(domain).0), &pair);
        let member = u8::try_from(member).unwrap_or(u8::MAX);
        let approval = Approval { member, signature: signature.serialize().into() };
        Record::of(self, [approval])
    }
}

/// One member's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Approval {
    /// Place in the federation's list.
    pub member: u8,
    /// BIP-340 over [`Decision::root`].
    pub signature: FixedBytes<64>,
}

type Approvals = VariableList<Approval, typenum::U20>;

/// A decision and who signed it, as a block records it. One member's part of it is the same with one signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// See [`Decision::number`].
    pub number: u64,
    /// See [`Action::code`].
    pub action: u8,
    /// Each member once, in the order of the federation's list.
    pub approvals: Approvals,
}

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum RecordRefusal {
    #[error("the record does not decode")]
    Malformed,
    #[error("action {0} is not known to this program: a newer one is needed")]
    UnknownAction(u8),
    #[error("decision {found}, where {expected} comes next")]
    Number { expected: u64, found: u64 },
    #[error("it changes nothing")]
    NoChange,
    #[error("signatures out of order, or one member twice")]
    Order,
    #[error("the federation has no member {0}")]
    NoMember(u8),
    #[error("the signature of member {0} does not verify")]
    Signature(u8),
    #[error("signed by {signed} members, {needed} needed")]
    TooFew { signed: usize, needed: usize },
    #[error("a block records at most one decision")]
    Several,
}

impl Record {
    fn of(decision: Decision, approvals: impl IntoIterator<Item = Approval>) -> Self {
        // There are no more members than places.
        let approvals = Approvals::new(approvals.into_iter().take(MAX_MEMBERS).collect()).unwrap_or_default();
        Self { number: decision.number, action: decision.action.code(), approvals }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From bytes of a stranger.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordRefusal> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordRefusal::Malformed);
        }
        Self::from_ssz_bytes(bytes).map_err(|_| RecordRefusal::Malformed)
    }

    /// What it decides.
    pub fn decision(&self) -> Result<Decision, RecordRefusal> {
        let action = Action::from_code(self.action).ok_or(RecordRefusal::UnknownAction(self.action))?;
        Ok(Decision { number: self.number, action })
    }

    /// Whether every signature is one of a member and valid, each member once.
    fn check_signatures(&self, domain: &ChainDomain, federation: &Federation) -> Result<Decision, RecordRefusal> {
        let decision = self.decision()?;
        if !self.approvals.is_sorted_by(|left, right| left.member < right.member) {
            return Err(RecordRefusal::Order);
        }
        let (secp, message) = (Secp256k1::verification_only(), Message::from_digest(decision.root(domain).0));
        for Approval { member, signature } in &self.approvals {
            let key = federation.members().get(usize::from(*member)).ok_or(RecordRefusal::NoMember(*member))?;
            schnorr::Signature::from_slice(signature.as_slice())
                .and_then(|signature| secp.verify_schnorr(&signature, &message, key))
                .map_err(|_| RecordRefusal::Signature(*member))?;
        }
        Ok(decision)
    }
}

/// The decision of a block, if it records one, on top of its parent's ledger: enough members stand behind it [PEG-18].
pub fn check<'r>(
    records: impl IntoIterator<Item = &'r [u8]>,
    domain: &ChainDomain,
    parent: &Ledger,
) -> Result<Option<Decision>, RecordRefusal> {
    let mut records = records.into_iter();
    let Some(bytes) = records.next() else { return Ok(None) };
    if records.next().is_some() {
        return Err(RecordRefusal::Several);
    }
    let record = Record::decode(bytes)?;
    check_next(&record.decision()?, parent)?;
    let decision = record.check_signatures(domain, parent.federation())?;
    let (signed, needed) = (record.approvals.len(), parent.federation().threshold());
    if signed < needed { Err(RecordRefusal::TooFew { signed, needed }) } else { Ok(Some(decision)) }
}

fn check_next(decision: &Decision, parent: &Ledger) -> Result<(), RecordRefusal> {
    let expected = parent.decisions().saturating_add(1);
    if decision.number != expected {
        return Err(RecordRefusal::Number { expected, found: decision.number });
    }
    if decision.action.pauses() == parent.paused().is_some() { Err(RecordRefusal::NoChange) } else { Ok(()) }
}

/// Signatures for the next decision, until there are enough. Each member may have signed each action once, so it stays small.
#[derive(Clone, Debug, Default)]
pub struct Ballot(BTreeMap<Decision, BTreeMap<u8, Approval>>);

impl Ballot {
    /// Takes the signatures of a record. Those of a decision that is recorded already are not needed any more.
    pub fn add(&mut self, bytes: &[u8], domain: &ChainDomain, ledger: &Ledger) -> Result<(), RecordRefusal> {
        let record = Record::decode(bytes)?;
        check_next(&record.decision()?, ledger)?;
        let decision = record.check_signatures(domain, ledger.federation())?;
        let known = self.0.entry(decision).or_default();
        known.extend(record.approvals.iter().map(|approval| (approval.member, *approval)));
        Ok(())
    }

    /// The record that the next block may hold.
    pub fn record(&self, ledger: &Ledger) -> Option<Record> {
        let enough = |signed: &&BTreeMap<u8, Approval>| signed.len() >= ledger.federation().threshold();
        let next = |decision: &Decision| check_next(decision, ledger).is_ok();
        let (decision, signed) = self.0.iter().filter(|(decision, _)| next(decision)).find(|(_, signed)| enough(signed))?;
        Some(Record::of(*decision, signed.values().copied()))
    }

    /// The head moved.
    pub fn prune(&mut self, ledger: &Ledger) {
        self.0.retain(|decision, _| check_next(decision, ledger).is_ok());
    }

    /// Decisions that some members have signed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
