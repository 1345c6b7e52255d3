//! Partial signatures of payouts. Each is verified by itself, and on disk before its sender hears that it was taken, so a
//! member never has to sign twice and a restart loses none.
//!
//! | the message | answer |
//! |---|---|
//! | its member is not in the specification | refused |
//! | the payout is not in our ledger | refused: our copy may be behind, ask again |
//! | the payout is settled | accepted, complete |
//! | more signatures than inputs | refused |
//! | a signature by a key that is not this member's, or that does not verify | the others are taken, the message is refused |
//! | else | accepted |

use std::collections::BTreeMap;

use alys_peg::{InputSignature, Session};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Txid, XOnlyPublicKey};

use crate::core::documents::{Document, SignatureKey};
use crate::core::effect::Effect;
use crate::core::input::Ticket;
use crate::core::state::State;
use crate::core::turns::Work;

/// The signing sessions, and what storage held at the start for payouts whose session is not open yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Signatures {
    stored: BTreeMap<SignatureKey, Signature>,
    sessions: BTreeMap<Txid, Session>,
}

impl Signatures {
    /// A signature that storage held.
    pub(super) fn restore(&mut self, of: SignatureKey, signature: Signature) {
        self.stored.insert(of, signature);
    }

    /// The session, if one is open.
    pub(super) fn session(&self, txid: &Txid) -> Option<&Session> {
        self.sessions.get(txid)
    }

    /// Forgets a payout's signatures; the documents delete them.
    fn forget(&mut self, txid: &Txid) -> Vec<Document> {
        let taken = self.sessions.remove(txid).map(|session| session.signatures()).unwrap_or_default();
        let stored = self.stored.keys().filter(|of| of.txid == *txid).copied();
        let mut keys: Vec<SignatureKey> = stored.collect();
        keys.extend(taken.iter().map(|signature| key(*txid, signature)));
        keys.sort();
        keys.dedup();
        self.stored.retain(|of, _| of.txid != *txid);
        keys.iter().map(Document::no_signature).collect()
    }

    fn payouts(&self) -> Vec<Txid> {
        let mut payouts: Vec<Txid> = self.sessions.keys().copied().chain(self.stored.keys().map(|of| of.txid)).collect();
        payouts.sort();
        payouts.dedup();
        payouts
    }
}

impl State {
    /// Opens the session of a recorded payout with what storage held for it. `false` when the ledger does not know it.
    pub(super) fn open_session(&mut self, txid: &Txid) -> bool {
        if self.signatures.sessions.contains_key(txid) {
            return true;
        }
        let Ok(mut session) = Session::of(&self.ledger, txid) else { return false };
        for (of, signature) in self.signatures.stored.iter().filter(|(of, _)| of.txid == *txid) {
            // It was verified before it was stored; if it no longer counts, it is asked for again.
            let _ = session.add(&InputSignature { input: of.input, public_key: of.key, signature: *signature });
        }
        self.signatures.sessions.insert(*txid, session);
        true
    }

    /// Whether a payout has enough signatures.
    pub fn is_signed(&self, txid: &Txid) -> bool {
        self.signatures.session(txid).is_some_and(Session::is_complete)
    }

    pub(super) fn take_signatures(
        &mut self,
        ticket: Ticket,
        member: &str,
        txid: Txid,
        signatures: &[InputSignature],
        effects: &mut Vec<Effect>,
    ) {
        let (accepted, complete, reason) = match self.check_signatures(member, txid, signatures) {
            Ok(Some(member_key)) => self.add_signatures(member_key, txid, signatures, effects),
            Ok(None) => (true, true, String::new()),
            Err(reason) => (false, false, reason),
        };
        effects.push(Effect::Answer { ticket, accepted, complete, reason });
    }

    /// The member's key, or `None` when the payout needs nothing any more.
    fn check_signatures(
        &mut self,
        member: &str,
        txid: Txid,
        signatures: &[InputSignature],
    ) -> Result<Option<XOnlyPublicKey>, String> {
        let member_key = self.member_key(member).ok_or_else(|| format!("`{member}` is not a member of the federation"))?;
        let payout = self.ledger.payout(&txid).ok_or_else(|| format!("payout {txid} is not recorded in a block that we know"))?;
        if payout.settled.is_some() {
            return Ok(None);
        }
        if signatures.len() > payout.inputs.len() {
            return Err(format!("{} signatures for {} inputs", signatures.len(), payout.inputs.len()));
        }
        if self.open_session(&txid) { Ok(Some(member_key)) } else { Err(format!("payout {txid} cannot be signed")) }
    }

    fn add_signatures(
        &mut self,
        member_key: XOnlyPublicKey,
        txid: Txid,
        signatures: &[InputSignature],
        effects: &mut Vec<Effect>,
    ) -> (bool, bool, String) {
        let Some(session) = self.signatures.sessions.get_mut(&txid) else { return (false, false, String::new()) };
        let was_complete = session.is_complete();
        let (mut documents, mut refused) = (Vec::new(), None);
        for signature in signatures {
            if signature.public_key != member_key {
                refused = refused.or(Some(format!("the key of input {} is not this member's", signature.input)));
                continue;
            }
            match session.add(signature) {
                Ok(()) => documents.push(Document::signature(&key(txid, signature), &signature.signature)),
                Err(refusal) => refused = refused.or(Some(refusal.to_string())),
            }
        }
        let complete = session.is_complete();
        if !documents.is_empty() {
            effects.push(Effect::Persist(documents));
        }
        if complete && !was_complete {
            self.turns.reset(&Work::Broadcast(txid));
            effects.push(Effect::SigningFinished(txid));
        }
        (refused.is_none(), complete, refused.unwrap_or_default())
    }

    fn member_key(&self, name: &str) -> Option<XOnlyPublicKey> {
        let member = self.rules.spec.federation.members.iter().find(|member| member.name == name)?;
        XOnlyPublicKey::from_slice(member.public_key.as_slice()).ok()
    }

    /// Forgets the signatures of payouts that are settled.
    pub(super) fn forget_settled(&mut self, effects: &mut Vec<Effect>) {
        let mut documents = Vec::new();
        for txid in self.signatures.payouts() {
            if self.ledger.payout(&txid).is_some_and(|payout| payout.settled.is_some()) {
                documents.extend(self.signatures.forget(&txid));
                self.refusals.remove(&txid);
            }
        }
        if !documents.is_empty() {
            effects.push(Effect::Persist(documents));
        }
    }
}

fn key(txid: Txid, signature: &InputSignature) -> SignatureKey {
    SignatureKey { txid, input: signature.input, key: signature.public_key }
}
