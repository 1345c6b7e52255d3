//! Tables of the database. One version of the state is kept flat (one look-up per account, slot or code), its tries by
//! path, and what every block replaced, so that the state after any block can be read.
//!
//! Numbers in composite keys are big endian, so that ranges run in their order.

use redb::TableDefinition;

/// Version of this layout. A database with another one is not opened.
pub const SCHEMA: u64 = 1;

/// `schema` → 8 bytes, `genesis` → 32 bytes, `head` → number (8) ‖ hash (32).
pub const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Address → RLP (nonce, balance, storage root, code hash).
pub const ACCOUNTS: TableDefinition<'static, [u8; 20], &[u8]> = TableDefinition::new("accounts");
/// Address ‖ slot → value without leading zeros. A slot that is 0 has no entry.
pub const STORAGE: TableDefinition<'static, [u8; 52], &[u8]> = TableDefinition::new("storage");
/// Keccak of the code → code. Never deleted: old blocks may need it.
pub const CODE: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("code");

/// Path, one nibble per byte → node of the account trie.
pub const ACCOUNT_TRIE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("account_trie");
/// Address ‖ path → node of that account's storage trie.
pub const STORAGE_TRIE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("storage_trie");

/// Address ‖ block → the account before that block, empty when there was none. Only blocks that changed it.
pub const ACCOUNT_HISTORY: TableDefinition<'static, [u8; 28], &[u8]> = TableDefinition::new("account_history");
/// Address ‖ slot ‖ block → the slot before that block. Only blocks that changed it.
pub const STORAGE_HISTORY: TableDefinition<'static, [u8; 60], &[u8]> = TableDefinition::new("storage_history");

/// Block → RLP header.
pub const HEADERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("headers");
/// Block → RLP body.
pub const BODIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("bodies");
/// Block → senders, 20 bytes each, so that nobody recovers them twice.
pub const SENDERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("senders");
/// Block → RLP list of receipts without blooms.
pub const RECEIPTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("receipts");
/// Block hash → block.
pub const BLOCK_NUMBERS: TableDefinition<'static, [u8; 32], u64> = TableDefinition::new("block_numbers");
/// Transaction hash → (block, position).
pub const TRANSACTIONS: TableDefinition<'static, [u8; 32], (u64, u32)> = TableDefinition::new("transactions");
/// Block → number of burns in it, for blocks that have any. The burns themselves are in the receipts.
pub const BURN_BLOCKS: TableDefinition<'static, u64, u32> = TableDefinition::new("burn_blocks");
