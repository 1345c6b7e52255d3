//! The number by which merged miners tell chains apart: it picks the chain's slot in their tree and marks its own blocks.
//!
//! By convention a merge-mined chain keeps its number in the upper 16 bits of its block versions, and refuses a parent
//! that carries its own: else one work could count twice. Parents from Bitcoin carry no number, but their upper bits are
//! not empty:
//!
//! | version of the parent | upper 16 bits | what it is |
//! |---|---|---|
//! | 1 to 4, and any below 2^16 | 0 | a Bitcoin block of old |
//! | `001` on top (BIP 9) | 0x2000 to 0x3fff | Bitcoin today; bits 13 to 28 are signals, or rolled as a nonce (BIP 320) |
//! | `01` on top | 0x4000 to 0x7fff | legal in Bitcoin, without meaning |
//! | negative | 0x8000 and above | never in Bitcoin since BIP 34, harmless elsewhere |
//! | a chain's number × 2^16 + … | the number | a block of that chain |
//!
//! Every version of a parent is legal except one that carries our number. So that no Bitcoin block can carry it by chance,
//! our number is not taken from the ranges of the lines above the last.

use bitcoin::block::Version;

/// The number of a chain in merged mining, 1 to 0x1fff. Not the EVM chain id, which is too large for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxChainId(u16);

/// The number belongs to Bitcoin's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("merged mining chain id {0} is not between 1 and {max}: a Bitcoin block could carry it", max = AuxChainId::MAX)]
pub struct ChainIdError(pub u16);

impl AuxChainId {
    /// Below it BIP 9 begins.
    pub const MAX: u16 = 0x1fff;

    /// Checks the range.
    pub const fn new(id: u16) -> Result<Self, ChainIdError> {
        if id == 0 || id > Self::MAX { Err(ChainIdError(id)) } else { Ok(Self(id)) }
    }

    /// As in the arithmetic of slots and in `createauxblock`.
    pub fn to_u32(self) -> u32 {
        u32::from(self.0)
    }

    /// Whether a block with this version is one of this chain.
    pub fn is_of(self, version: Version) -> bool {
        let upper = version.to_consensus().cast_unsigned() >> 16;
        upper == self.to_u32()
    }
}
