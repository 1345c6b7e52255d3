//! Caps on every list of a block, as type-level lengths. The largest legal block is about 10.5 MiB:
//! payload 8 MiB + peg-ins 64 × ~37 KiB + the rest below 200 KiB; gossip and sync carry 12 MiB.

use ssz_types::typenum;

/// Peg-ins in one block.
pub type MaxPegIns = typenum::U64;
/// Payout batches in one block.
pub type MaxPayouts = typenum::U4;
/// Burns in one payout batch.
pub type MaxBurnsPerPayout = typenum::U512;
/// Settlements in one block.
pub type MaxSettlements = typenum::U16;
/// Refunds in one block.
pub type MaxRefunds = typenum::U64;
/// Validators, so signatures in a certificate.
pub type MaxValidators = typenum::U256;
/// Governance records in one block.
pub type MaxGovernanceRecords = typenum::U16;
/// At most one AuxPoW bundle: an SSZ optional.
pub type MaxBundles = typenum::U1;

/// Bytes of a Bitcoin transaction without witness. Standard transactions are at most 100 kvB; a deposit is far smaller.
pub type MaxTransactionBytes = typenum::U32768;
/// Bytes of a Bitcoin `MerkleBlock`: header, 32-byte hashes for a depth of at most ~15, flags; generous.
pub type MaxMerkleBytes = typenum::U4096;
/// Bytes of a payout transaction: 512 outputs × 43 + inputs.
pub type MaxPayoutBytes = typenum::U65536;
/// Bytes of a reason.
pub type MaxReasonBytes = typenum::U64;
/// Bytes of a governance record.
pub type MaxRecordBytes = typenum::U4096;
/// Bytes of an AuxPoW bundle.
pub type MaxBundleBytes = typenum::U65536;
/// Bytes of an execution payload: 8 MiB.
pub type MaxPayloadBytes = typenum::U8388608;

/// Bytes of an encoded block that a decoder looks at before it decodes.
pub const MAX_BLOCK_BYTES: usize = 12 * 1024 * 1024;
