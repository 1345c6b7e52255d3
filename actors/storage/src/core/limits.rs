//! Bounds on what one request may carry and one answer may return.

use alys_blocks::limits::MAX_BLOCK_BYTES;

/// Bytes of an encoded certificate: 256 signatures × 96 bytes + 48, rounded up.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;
/// Burns in one block. A burn's log costs over 1,500 gas, so a block of 30 million gas has fewer than 20,000.
pub const MAX_BURNS: usize = 20_000;
/// Bytes of the address text in a burn; what the log of one transaction can hold is far below.
pub const MAX_ADDRESS_BYTES: usize = 4 * 1024 * 1024;
/// Ledger facts in one block: every burn, 64 peg-ins, 64 refunds, 16 settlements, 4 payouts, settled work, a decision.
pub const MAX_FACTS: usize = MAX_BURNS + 64 + 64 + 16 + 4 + 1 + 1;
/// Blocks in one commit: as many as chain holds of a batch.
pub const MAX_COMMIT_BLOCKS: usize = 64;
/// Entries in one WAL append.
pub const MAX_WAL_ENTRIES: usize = 1_024;
/// Bytes of one WAL entry: a block and what wraps it.
pub const MAX_WAL_ENTRY_BYTES: usize = MAX_BLOCK_BYTES + 64 * 1024;
/// Entries of one height: 4 validators × 10 messages a round, one round every 2 s, is six days without a block.
pub const MAX_WAL_ENTRIES_PER_HEIGHT: u64 = 1 << 20;
/// Documents in one put.
pub const MAX_DOCUMENTS: usize = 4_096;
/// Bytes of a document's owner or key.
pub const MAX_DOCUMENT_NAME_BYTES: usize = 512;
/// Bytes of a document.
pub const MAX_DOCUMENT_BYTES: usize = 15 << 20;
/// Bytes of an answer that must be whole: ledger, WAL or documents under a prefix. A longer one is refused, because half
/// of it could be taken for all. A message of the cluster has at most 20 MiB.
pub const MAX_WHOLE_ANSWER_BYTES: usize = 16 << 20;
/// Bytes of blocks, facts or WAL entries that one page returns. The first item is returned whatever its size, so a reader
/// always gets on; the largest block and the largest WAL entry are below the whole answer's bound.
pub const MAX_PAGE_BYTES: usize = 8 << 20;
/// Blocks that one read returns.
pub const MAX_BLOCKS_ANSWER: u32 = 1_024;

/// Requests in one transaction.
pub const MAX_BATCH_REQUESTS: usize = 256;
/// Bytes of requests in one transaction; one larger request goes alone.
pub const MAX_BATCH_BYTES: usize = 32 << 20;
/// Writes that wait for the writer thread; behind them the mailbox fills. 256 is one full batch while another is on its way.
pub const MAX_QUEUED_WRITES: usize = 256;
/// Reads that wait for a thread; more are refused as busy.
pub const MAX_QUEUED_READS: usize = 256;

/// Milliseconds of a lease's term. Shorter ones would end holders on a busy machine, longer ones would keep a role away for
/// as long when its host is cut off.
pub const LEASE_TERM_MILLIS: std::ops::RangeInclusive<u64> = 500..=600_000;

/// Dead letters that are kept, and digests of messages that ended a process once or twice.
pub const MAX_LETTERS: usize = 1_000;
/// Bytes of their bodies.
pub const MAX_LETTER_BYTES: u64 = 64 << 20;
/// Bytes of the text that explains one.
pub const MAX_EXPLANATION_BYTES: usize = 16 << 10;

/// Messages that may wait in one role's outbox.
pub const MAX_POSTED: usize = 1_000;
/// Bytes of their bodies.
pub const MAX_POSTED_BYTES: usize = 32 << 20;

/// Blocks that pruning always leaves: the engine is behind storage by a batch of blocks after a crash, peers that were away for minutes
/// fetch what they missed, governance nodes replay at most 256 blocks again.
pub const MIN_KEEP: u64 = 1_024;
/// Blocks that one commit prunes. One would do to keep up; with 16 a floor that was raised by a million is reached in 62,500
/// blocks, and no commit does noticeably more work than its own block.
pub const MAX_PRUNED_PER_COMMIT: u64 = 16;
/// Bytes of blocks after which a commit prunes no further one.
pub const MAX_PRUNED_BYTES: usize = 4 << 20;
