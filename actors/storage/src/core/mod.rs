//! What storage decides without touching a disk: which requests are well-formed, which block may be committed, which
//! requests share a transaction.

pub mod backup;
pub mod batch;
pub mod check;
pub mod commit;
pub mod form;
pub mod lease;
pub mod letters;
pub mod limits;
pub mod outbox;
pub mod prune;
