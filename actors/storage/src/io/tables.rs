//! The tables and their encodings. Keys sort as their tuples do; values are raw bytes or protobuf messages, whose
//! encoding is stable as long as their `.proto` only grows. Any change of this file, also a new table, needs a new [`SCHEMA`] and
//! a step of the ladder in `migrate.rs`.

use redb::TableDefinition;

/// Version of everything in this file.
///
/// | schema | new |
/// |---|---|
/// | 1 | the first |
/// | 2 | [`META_SETTLED`]; blocks may be pruned and votes may be lost, which a build that does not know of it must not overlook |
pub(super) const SCHEMA: u64 = 2;

/// What the database is: see the `META_` keys. Numbers are 8 bytes, little endian.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// [`SCHEMA`] of the build that wrote the database.
pub(super) const META_SCHEMA: &str = "schema";
/// EVM chain id.
pub(super) const META_CHAIN_ID: &str = "chain_id";
/// Genesis hash.
pub(super) const META_GENESIS: &str = "genesis";
/// Height of the last block that work has settled. Absent before the first bundle.
pub(super) const META_SETTLED: &str = "settled";
/// Lowest block that is here whole. Absent: 1.
pub(super) const META_FLOOR: &str = "floor";
/// Present since a restore, until a vote is written again: what this validator voted for after the backup is not known.
pub(super) const META_VOTES_LOST: &str = "votes_lost";
/// Newest height that the WAL was written for.
pub(super) const META_WAL_HEIGHT: &str = "wal_height";

/// Number of the next posted message.
pub(super) const META_POSTED_NEXT: &str = "posted_next";
/// Id of the next dead letter.
pub(super) const META_LETTERS_NEXT: &str = "letters_next";
/// Dead letters that made room for others.
pub(super) const META_LETTERS_FALLEN_OUT: &str = "letters_fallen_out";

/// (hash, parent hash, SSZ block). The block of a pruned height is empty; it has no certificate and no burns.
pub(super) type BlockRow = (&'static [u8; 32], &'static [u8; 32], &'static [u8]);
/// Height → block. The last row is the head.
pub(super) const BLOCKS: TableDefinition<u64, BlockRow> = TableDefinition::new("blocks");
/// Block hash → height.
pub(super) const HEIGHTS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("heights");
/// Height → SSZ certificate.
pub(super) const CERTIFICATES: TableDefinition<u64, &[u8]> = TableDefinition::new("certificates");
/// (height, log index) → `alys.common.Burn`.
pub(super) const BURNS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("burns");
/// (height, index within the block) → `alys.storage.LedgerFact`.
pub(super) const FACTS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("facts");
/// (height, sequence) → consensus WAL entry. Rows of one height only.
pub(super) const WAL: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("wal");
/// Number of the role → `alys.storage.Lease`.
pub(super) const LEASES: TableDefinition<i32, &[u8]> = TableDefinition::new("leases");
/// (sender's role, number) → `alys.storage.PostedMessage`.
pub(super) const OUTBOX: TableDefinition<(i32, u64), &[u8]> = TableDefinition::new("outbox");
/// (receiver's role, sender's role) → the highest number that the receiver has handled.
pub(super) const HANDLED: TableDefinition<(i32, i32), u64> = TableDefinition::new("handled");
/// Id → `alys.storage.DeadLetter` without its body: the list is read often.
pub(super) const LETTERS: TableDefinition<u64, &[u8]> = TableDefinition::new("letters");
/// Id → body of the dead letter.
pub(super) const LETTER_BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("letter_bodies");
/// Digest of a message → how often it ended its process, and when last, Unix milliseconds.
pub(super) const DEATHS: TableDefinition<&[u8; 32], (u32, u64)> = TableDefinition::new("deaths");
/// (owner, key) → document.
pub(super) const DOCUMENTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("documents");
