//! Whether a peer is of our chain. Before that it gets nothing from us and nothing of it is used.

use alys_blocks::ChainSpec;
use alys_proto::network::Handshake;

/// Version of what peers say to each other.
pub const PROTOCOL: u32 = 1;

/// Why a peer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// It speaks another version.
    #[error("it speaks protocol {theirs}, we speak {ours}")]
    Protocol {
        /// Its version.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// It is of another chain.
    #[error("it is of chain {theirs}, we are of {ours}")]
    Chain {
        /// Its chain id.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// Same chain id, other specification.
    #[error("it has another chain specification (another genesis hash)")]
    Genesis,
    /// Its head is no hash.
    #[error("its head is malformed")]
    Head,
}

/// What we say of ourselves.
#[derive(Clone, Debug)]
pub struct Us {
    handshake: Handshake,
}

impl Us {
    /// On this chain, with no block yet.
    pub fn new(spec: &ChainSpec) -> Self {
        let handshake = Handshake {
            protocol: PROTOCOL,
            chain_id: spec.chain_id,
            genesis_hash: spec.genesis_hash().to_vec(),
            head_height: 0,
            head_hash: Vec::new(),
        };
        Self { handshake }
    }

    /// Our handshake.
    pub fn handshake(&self) -> Handshake {
        self.handshake.clone()
    }

    /// Height of our head.
    pub const fn head(&self) -> u64 {
        self.handshake.head_height
    }

    /// Our head moved. It never goes back.
    pub fn advance(&mut self, height: u64, hash: Vec<u8>) {
        if height >= self.handshake.head_height {
            self.handshake.head_height = height;
            self.handshake.head_hash = hash;
        }
    }

    /// Judges a peer.
    pub fn check(&self, theirs: &Handshake) -> Result<(), Incompatible> {
        let ours = &self.handshake;
        if theirs.protocol != ours.protocol {
            return Err(Incompatible::Protocol { theirs: theirs.protocol, ours: ours.protocol });
        }
        if theirs.chain_id != ours.chain_id {
            return Err(Incompatible::Chain { theirs: theirs.chain_id, ours: ours.chain_id });
        }
        if theirs.genesis_hash != ours.genesis_hash {
            return Err(Incompatible::Genesis);
        }
        let hash_length = if theirs.head_height == 0 { 0 } else { 32 };
        if theirs.head_hash.len() != hash_length {
            return Err(Incompatible::Head);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::kit;

    #[test]
    fn only_our_own_chain_passes() {
        let us = Us::new(&kit::spec());
        let good = us.handshake();
        let table = [
            (good.clone(), Ok(())),
            (Handshake { head_height: 9, head_hash: vec![1; 32], ..good.clone() }, Ok(())),
            (Handshake { protocol: 2, ..good.clone() }, Err(Incompatible::Protocol { theirs: 2, ours: 1 })),
            (Handshake { chain_id: 5, ..good.clone() }, Err(Incompatible::Chain { theirs: 5, ours: good.chain_id })),
            (Handshake { genesis_hash: vec![1; 32], ..good.clone() }, Err(Incompatible::Genesis)),
            (Handshake { head_height: 9, ..good.clone() }, Err(Incompatible::Head)),
            (Handshake { head_hash: vec![1], ..good.clone() }, Err(Incompatible::Head)),
        ];
        for (theirs, expected) in table {
            assert_eq!(us.check(&theirs), expected);
        }
    }

    #[test]
    fn our_head_never_goes_back() {
        let mut us = Us::new(&kit::spec());
        us.advance(5, vec![5; 32]);
        us.advance(4, vec![4; 32]);
        assert_eq!((us.head(), us.handshake().head_hash), (5, vec![5; 32]));
    }
}
