//! What stands in the parent's coinbase: `fabe6d6d ‖ root ‖ size ‖ nonce`, 44 bytes in the script of the first input.
//!
//! The root is that of a tree with one leaf for each chain that is mined along, written with its bytes reversed (as hashes
//! are shown). Size and nonce are 32 bits, little-endian.

use alloy_primitives::B256;
use bitcoin::Script;

use crate::check::ProofRefusal;

/// Marks the commitment.
pub const MAGIC: [u8; 4] = [0xfa, 0xbe, 0x6d, 0x6d];
/// Bytes of the whole commitment.
pub const COMMITMENT_BYTES: usize = 44;

/// A commitment to a tree of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Root of the tree, internal byte order.
    pub root: B256,
    /// Leaves of the tree: 2^height.
    pub size: u32,
    /// Moves the slots of all chains.
    pub nonce: u32,
}

impl Commitment {
    /// The bytes for the coinbase.
    pub fn to_bytes(&self) -> [u8; COMMITMENT_BYTES] {
        let mut bytes = [0; COMMITMENT_BYTES];
        let parts = MAGIC.into_iter().chain(reversed(self.root)).chain(self.size.to_le_bytes()).chain(self.nonce.to_le_bytes());
        for (byte, value) in bytes.iter_mut().zip(parts) {
            *byte = value;
        }
        bytes
    }

    /// The commitment in a coinbase script, which must have exactly one magic with `root` right after it.
    pub(crate) fn find(script: &Script, root: B256) -> Result<Self, ProofRefusal> {
        let script = script.as_bytes();
        let mut places = script.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
        let (place, _) = places.next().ok_or(ProofRefusal::NoMagic)?;
        if places.next().is_some() {
            return Err(ProofRefusal::TwoMagics);
        }
        let after_magic = script.get(place + MAGIC.len()..).unwrap_or_default();
        let rest = after_magic.strip_prefix(reversed(root).as_slice()).ok_or(ProofRefusal::OtherRoot)?;
        let (size, rest) = rest.split_first_chunk().ok_or(ProofRefusal::CutShort)?;
        let (nonce, _) = rest.split_first_chunk().ok_or(ProofRefusal::CutShort)?;
        Ok(Self { root, size: u32::from_le_bytes(*size), nonce: u32::from_le_bytes(*nonce) })
    }
}

/// The leaf of a chain in a tree of 2^`height` leaves, at most 2^31: a linear congruential generator over nonce and chain
/// id, so that no miner can put two roots of one chain into one tree.
pub const fn slot(nonce: u32, chain_id: u32, height: u32) -> u32 {
    let mixed = step(step(nonce).wrapping_add(chain_id));
    let leaves = 1_u32.wrapping_shl(height);
    mixed & leaves.wrapping_sub(1)
}

const fn step(state: u32) -> u32 {
    state.wrapping_mul(1_103_515_245).wrapping_add(12_345)
}

fn reversed(hash: B256) -> [u8; 32] {
    let mut bytes = hash.0;
    bytes.reverse();
    bytes
}
