//! Whether a request is well-formed. What comes in is bytes of another process: nothing is written before it passed here.

use std::fmt;

use alys_cluster::Header;
use alys_proto::storage::{AcquireLease, AppendWal, CommitBlock, DeadLetter, Document, GetDocuments, PostMessage, PutDocuments};
use alys_proto::{Refused, Role};

use super::lease::{Holder, Incarnation, Stamp};
use super::limits::{
    LEASE_TERM_MILLIS, MAX_ADDRESS_BYTES, MAX_BURNS, MAX_CERTIFICATE_BYTES, MAX_COMMIT_BLOCKS, MAX_DOCUMENT_BYTES,
    MAX_DOCUMENT_NAME_BYTES, MAX_DOCUMENTS, MAX_EXPLANATION_BYTES, MAX_FACTS, MAX_WAL_ENTRIES, MAX_WAL_ENTRY_BYTES,
};
use alys_blocks::limits::MAX_BLOCK_BYTES;

/// A 32-byte hash, shown as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a request breaks its contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A required part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A hash is not 32 bytes.
    #[error("{what} has {length} bytes instead of 32")]
    NoHash {
        /// Which.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// Over a bound of [`super::limits`].
    #[error("{what}: {length} is more than the allowed {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much came.
        length: usize,
        /// The bound.
        most: usize,
    },
    /// A burn or fact of another height inside a block.
    #[error("{what} of height {found} in block {height}")]
    OtherHeight {
        /// Burn or fact.
        what: &'static str,
        /// Its height.
        found: u64,
        /// The block's.
        height: u64,
    },
    /// Not the eight bytes of an incarnation.
    #[error("{what} has {length} bytes instead of 8")]
    NoIncarnation {
        /// Whose.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// A lease's term outside its bounds.
    #[error("a lease's term of {0} ms is not within {LEASE_TERM_MILLIS:?} ms")]
    Term(u64),
    /// The sender is no role that could hold a lease.
    #[error("{0} holds no lease")]
    NoHolder(Role),
    /// Burns not in log order, or one twice.
    #[error("burns are not in log order at log {0}")]
    BurnOrder(u32),
}

/// The 32 bytes of a hash.
pub fn hash(what: &'static str, bytes: &[u8]) -> Result<Hash, Malformed> {
    <[u8; 32]>::try_from(bytes).map(Hash).map_err(|_| Malformed::NoHash { what, length: bytes.len() })
}

fn at_most(what: &'static str, length: usize, most: usize) -> Result<(), Malformed> {
    if length > most { Err(Malformed::TooMuch { what, length, most }) } else { Ok(()) }
}

/// What every table row of a block is made from.
#[derive(Debug)]
pub struct BlockKeys {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its parent's hash.
    pub parent: Hash,
}

/// Checks blocks that are committed together.
pub fn commits(requests: &[CommitBlock]) -> Result<Vec<BlockKeys>, Malformed> {
    if requests.is_empty() {
        return Err(Malformed::Missing("blocks"));
    }
    at_most("blocks", requests.len(), MAX_COMMIT_BLOCKS)?;
    requests.iter().map(commit).collect()
}

/// Checks a block and its ledger delta.
pub fn commit(request: &CommitBlock) -> Result<BlockKeys, Malformed> {
    let block = request.block.as_ref().ok_or(Malformed::Missing("block"))?;
    let keys = BlockKeys {
        height: block.height,
        hash: hash("block hash", &block.hash)?,
        parent: hash("parent hash", &request.parent_hash)?,
    };
    if block.block.is_empty() {
        return Err(Malformed::Missing("block bytes"));
    }
    at_most("block bytes", block.block.len(), MAX_BLOCK_BYTES)?;
    at_most("certificate bytes", block.certificate.len(), MAX_CERTIFICATE_BYTES)?;
    at_most("burns", block.burns.len(), MAX_BURNS)?;
    let mut last_log = None;
    for burn in &block.burns {
        if burn.height != keys.height {
            return Err(Malformed::OtherHeight { what: "burn", found: burn.height, height: keys.height });
        }
        if last_log.is_some_and(|last| last >= burn.log_index) {
            return Err(Malformed::BurnOrder(burn.log_index));
        }
        at_most("bytes of a burn's address", burn.bitcoin_address.len(), MAX_ADDRESS_BYTES)?;
        last_log = Some(burn.log_index);
    }
    let facts = request.ledger.as_ref().map_or(&[][..], |ledger| &ledger.facts);
    at_most("ledger facts", facts.len(), MAX_FACTS)?;
    for fact in facts {
        if fact.height != keys.height {
            return Err(Malformed::OtherHeight { what: "ledger fact", found: fact.height, height: keys.height });
        }
        if fact.fact.is_none() {
            return Err(Malformed::Missing("what a ledger fact states"));
        }
    }
    Ok(keys)
}

/// Checks a WAL append.
pub fn append_wal(request: &AppendWal) -> Result<(), Malformed> {
    at_most("wal entries", request.entries.len(), MAX_WAL_ENTRIES)?;
    request.entries.iter().try_for_each(|entry| at_most("bytes of a wal entry", entry.len(), MAX_WAL_ENTRY_BYTES))
}

/// Checks a put.
pub fn put_documents(request: &PutDocuments) -> Result<(), Malformed> {
    at_most("documents", request.documents.len(), MAX_DOCUMENTS)?;
    request.documents.iter().try_for_each(document)
}

/// A role writes its own documents only. Who may write any at all says the matrix of permissions.
pub fn owned(sender: Role, request: &PutDocuments) -> Result<(), Refused> {
    let foreign = request.documents.iter().find(|document| sender != Role::Debug && document.owner != sender.name());
    foreign.map_or(Ok(()), |document| {
        Err(Refused::Unauthorised(format!("{} may not write documents of {}", sender.name(), document.owner)))
    })
}

fn document(document: &Document) -> Result<(), Malformed> {
    document_name(&document.owner, &document.key)?;
    if document.key.is_empty() {
        return Err(Malformed::Missing("a document's key"));
    }
    at_most("bytes of a document", document.value.len(), MAX_DOCUMENT_BYTES)
}

/// Checks a read of documents.
pub fn get_documents(request: &GetDocuments) -> Result<(), Malformed> {
    document_name(&request.owner, &request.prefix)
}

/// Who sends.
pub fn stamp(header: &Header) -> Stamp {
    Stamp { role: header.sender, incarnation: header.incarnation.0.to_be_bytes(), epoch: header.epoch() }
}

/// Checks a request for a lease: who wants it, and whom it saw to be gone.
pub fn acquire_lease(stamp: Stamp, request: &AcquireLease) -> Result<(Holder, Option<Incarnation>), Malformed> {
    if matches!(stamp.role, Role::Unspecified | Role::Debug) {
        return Err(Malformed::NoHolder(stamp.role));
    }
    if stamp.incarnation == Incarnation::default() {
        return Err(Malformed::Missing("the sender's incarnation"));
    }
    if !LEASE_TERM_MILLIS.contains(&request.term_millis) {
        return Err(Malformed::Term(request.term_millis));
    }
    at_most("bytes of an instance's name", request.instance.len(), MAX_DOCUMENT_NAME_BYTES)?;
    let process = request.process.clone().unwrap_or_default();
    at_most("bytes of a boot id", process.boot_id.len(), MAX_DOCUMENT_NAME_BYTES)?;
    let gone = match request.gone.as_slice() {
        [] => None,
        bytes => Some(bytes.try_into().map_err(|_| Malformed::NoIncarnation { what: "who is gone", length: bytes.len() })?),
    };
    let holder = Holder {
        instance: request.instance.clone(),
        incarnation: stamp.incarnation,
        process,
        term: std::time::Duration::from_millis(request.term_millis),
    };
    Ok((holder, gone))
}

/// Checks a message for an outbox.
pub fn post(message: &PostMessage) -> Result<(), Malformed> {
    if message.method.is_empty() || matches!(message.receiver(), Role::Unspecified | Role::Debug) {
        return Err(Malformed::Missing("a posted message's receiver or method"));
    }
    at_most("bytes of a method's name", message.method.len(), MAX_DOCUMENT_NAME_BYTES)?;
    at_most("bytes of a trace's parent", message.traceparent.len(), MAX_DOCUMENT_NAME_BYTES)
}

/// Checks a dead letter.
pub fn letter(letter: &DeadLetter) -> Result<(), Malformed> {
    if letter.service.is_empty() || letter.method.is_empty() {
        return Err(Malformed::Missing("a dead letter's service or method"));
    }
    at_most("bytes of a service's name", letter.service.len(), MAX_DOCUMENT_NAME_BYTES)?;
    at_most("bytes of a method's name", letter.method.len(), MAX_DOCUMENT_NAME_BYTES)?;
    at_most("bytes of an explanation", letter.explanation.len(), MAX_EXPLANATION_BYTES)
}

fn document_name(owner: &str, key: &str) -> Result<(), Malformed> {
    if owner.is_empty() {
        return Err(Malformed::Missing("a document's owner"));
    }
    at_most("bytes of a document's owner", owner.len(), MAX_DOCUMENT_NAME_BYTES)?;
    at_most("bytes of a document's key", key.len(), MAX_DOCUMENT_NAME_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alys_proto::common::Burn;
    use alys_proto::storage::{LedgerDelta, LedgerFact};

    use super::*;
    use crate::tests::kit;

    #[test]
    fn each_breach_of_a_block_is_refused() {
        type Breach = (&'static str, fn(&mut CommitBlock));
        let breaches: [Breach; 9] = [
            ("block is missing", |r| r.block = None),
            ("block hash", |r| r.block.as_mut().unwrap().hash.truncate(31)),
            ("parent hash", |r| r.parent_hash.clear()),
            ("block bytes is missing", |r| r.block.as_mut().unwrap().block.clear()),
            ("block bytes:", |r| r.block.as_mut().unwrap().block = vec![0; MAX_BLOCK_BYTES + 1]),
            ("certificate", |r| r.block.as_mut().unwrap().certificate = vec![0; MAX_CERTIFICATE_BYTES + 1]),
            ("burn of height", |r| r.block.as_mut().unwrap().burns = vec![Burn { height: 9, ..Burn::default() }]),
            ("log order", |r| {
                r.block.as_mut().unwrap().burns =
                    vec![Burn { height: 1, ..Burn::default() }, Burn { height: 1, ..Burn::default() }];
            }),
            ("ledger fact", |r| r.ledger = Some(LedgerDelta { facts: vec![LedgerFact { height: 1, fact: None }] })),
        ];
        assert!(commit(&kit::chain(1)[0]).is_ok());
        for (says, breach) in breaches {
            let mut request = kit::chain(1)[0].clone();
            breach(&mut request);
            assert!(commit(&request).unwrap_err().to_string().contains(says), "{says}");
        }
    }

    #[test]
    fn a_role_writes_its_own_documents_only() {
        let put =
            |owner: &str| PutDocuments { documents: vec![Document { owner: owner.into(), key: "key".into(), value: vec![1] }] };
        assert_eq!(owned(Role::Bridge, &put("bridge")), Ok(()));
        assert!(matches!(owned(Role::Chain, &put("bridge")), Err(Refused::Unauthorised(_))));
    }

    #[test]
    fn documents_need_an_owner_and_a_key() {
        let put = |owner: &str, key: &str| PutDocuments {
            documents: vec![Document { owner: owner.into(), key: key.into(), value: vec![1] }],
        };
        assert!(put_documents(&put("bridge", "cursor")).is_ok());
        assert!(put_documents(&put("", "cursor")).is_err());
        assert!(put_documents(&put("bridge", "")).is_err());
        assert!(put_documents(&put("bridge", &"k".repeat(MAX_DOCUMENT_NAME_BYTES + 1))).is_err());
    }
}
