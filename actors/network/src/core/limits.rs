//! Bounds on what strangers can make us hold, do or send.

use alys_blocks::limits::MAX_BLOCK_BYTES;

/// Bytes of a gossiped block: the block, a certificate (below 32 KiB) and the envelope.
pub const MAX_BLOCK_MESSAGE_BYTES: usize = MAX_BLOCK_BYTES + 64 * 1024;
/// Bytes of a gossiped consensus message: a proposal may carry its block.
pub const MAX_CONSENSUS_MESSAGE_BYTES: usize = MAX_BLOCK_BYTES + 64 * 1024;
/// Bytes of a gossiped transaction, as the usual pools have it.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// Bytes of a request between peers: a handshake is below 120.
pub const MAX_REQUEST_BYTES: u64 = 1_024;
/// Bytes of a response: a page of blocks is at most 8 MiB, or one block of at most 12 MiB.
pub const MAX_RESPONSE_BYTES: u64 = 13 << 20;
/// Blocks in one range.
pub const MAX_RANGE: u32 = 1_024;
/// Characters of a peer's agent that are kept.
pub const MAX_AGENT_CHARS: usize = 64;

/// Blocks that are being checked at once; more are ignored. 12 MiB each.
pub const MAX_VALIDATING: usize = 16;
/// Transactions that wait for the engine's verdict; more are ignored.
pub const MAX_OFFERED: usize = 256;
/// Ranges that are being read for peers, or read by them; more are refused. 13 MiB each at most.
pub const MAX_SERVING: usize = 16;
/// Those of one peer, so that one that does not read its answers is not in the way of all others.
pub const MAX_SERVING_EACH: usize = 8;
/// Ranges that we wait for; more are refused to sync.
pub const MAX_DOWNLOADS: usize = 32;
/// A peer that was not asked for so long is tried again, milliseconds: it may have become faster. At worst it costs one range
/// a minute.
pub const MEASURE_AGAIN_MILLIS: u64 = 60 * 1_000;
/// Consensus messages whose signature is being checked; more are dropped, and are repeated by who said them.
pub const MAX_HEARING: usize = 256;
/// Consensus about heights further ahead of ours is of no use: sync is faster.
pub const FAR_HEIGHTS: u64 = 64;
/// Peers that are asked at once for the head that they claim.
pub const MAX_HEADS: usize = 4;
/// Hashes of blocks that need no second look: more than an hour of two-second blocks.
pub const MAX_SEEN: usize = 4_096;
/// Peers whose score or ban is remembered after they left.
pub const MAX_REMEMBERED: usize = 4_096;
/// Blocks further than this below our head are neither forwarded nor told.
pub const STALE_BLOCKS: u64 = 64;

/// At this penalty a peer is banned.
pub const BAN_PENALTY: u32 = 100;
/// Penalty for bytes that no honest peer sends.
pub const GARBAGE_PENALTY: u32 = 25;
/// Penalty for a range that is not what was asked for.
pub const BAD_RANGE_PENALTY: u32 = 50;
/// Penalty for a range whose blocks prove nothing. Once is enough: a node has checked what it stores, so nobody sends that by
/// accident, and who is not asked again would never be caught a second time.
pub const FORGED_RANGE_PENALTY: u32 = BAN_PENALTY;
/// Penalty for a message above the rate.
pub const FLOOD_PENALTY: u32 = 1;
/// Penalty for a request that comes, or an answer that is read, too slowly. Ten at once are no accident.
pub const SLOW_PENALTY: u32 = 10;
/// Penalty for a connection on which nothing was said of the chain: more than is forgiven meanwhile.
pub const SILENCE_PENALTY: u32 = 20;
/// Penalty that a peer loses per second.
pub const FORGIVEN_PER_SECOND: u32 = 1;
/// How long a ban lasts, milliseconds.
pub const BAN_MILLIS: u64 = 10 * 60 * 1_000;
/// How long a peer of another chain is left alone, milliseconds.
pub const WRONG_CHAIN_MILLIS: u64 = 60 * 1_000;
/// How often heads are exchanged anew, milliseconds.
pub const HANDSHAKE_AGAIN_MILLIS: u64 = 3 * 1_000;
