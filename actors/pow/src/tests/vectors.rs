//! Proofs of real chains; where they are from is in `tests/vectors/README.md`.

use alloy_primitives::{B256, U256};
use bitcoin::block::{Header, Version};
use bitcoin::consensus::deserialize;

use crate::{AuxChainId, AuxPow, Bits, Expected, MinedHash, ProofRefusal, Target};

/// A proof of a real merge-mined block.
pub(super) struct Vector {
    pub(super) name: &'static str,
    proof: &'static str,
    chain_id: u16,
    /// Of the merge-mined block, as explorers show it.
    hash: &'static str,
    /// The merge-mined block's own header, where the source has it.
    header: Option<&'static str>,
}

pub(super) fn namecoin() -> Vector {
    Vector {
        name: "Namecoin 37,174",
        proof: include_str!("../../tests/vectors/namecoin-37174.hex"),
        chain_id: 1,
        hash: "65ef89dc3da0c0df9b3d5309f89dd2eaceb81227605ead903d8ef6619d328b39",
        header: Some(
            "01010100d681bfa4acb5e0dc772a0099ce069ae4841ee2292ba731a63ac746bde66ddc8a\
             79ad23ebbe11a144734b56d5bba0d0fb9ee68928112eb695a342e74899b3f78138950a4f4a2a241a00000000",
        ),
    }
}

/// Mined before the magic was the rule.
fn early_namecoin() -> Vector {
    Vector {
        name: "Namecoin 19,414",
        proof: include_str!("../../tests/vectors/namecoin-19414.hex"),
        chain_id: 1,
        hash: "5fb89c3b18c27bc38d351d516177cbd3504c95ca0494cbbbbd52f2fb5f2ff1ec",
        header: Some(
            "010101006100f86b5cc8089123e8c3eed1d5408661b97a9acc4da490aba5fa343b9e978b\
             5831f525a853513807f9fd2e2704cb22960e626f29ade2399adc91e4d49af0cefe2d934e69b2001b00000000",
        ),
    }
}

/// The parent has a version of BIP 9.
pub(super) fn crown() -> Vector {
    Vector {
        name: "Crown 1,671,882",
        proof: include_str!("../../tests/vectors/crown-1671882.hex"),
        chain_id: 20,
        hash: "72a79139b132951724255181232988eeabc19e9b855a87727a3d8d59b369e2f7",
        header: Some(
            "020114005301293074c5ac60c575c6b7ace39cae11b38f7590bf6a92940460f2297de881\
             855fb19e30a844ee2ed2c5f596487cab9009ca9aac99288fafed57594ea1d87e1b35355a496d501800000000",
        ),
    }
}

/// Alone in its tree, the parent of the version before BIP 9.
fn early_dogecoin() -> Vector {
    Vector {
        name: "Dogecoin d3ea4835…",
        proof: include_str!("../../tests/vectors/dogecoin-d3ea4835.hex"),
        chain_id: DOGECOIN,
        hash: "d3ea48350b102b90acf9eac6629072d5f697c02faf360b26d365e7b2bfb98070",
        header: Some(
            "020162001e21ad14bc1ef20cf2d58e2b755ae4a7bfb75c906c74ef3dbb97cc57dcd77581\
             b14423c43517df2b4f3277731daba29d0d865b515a6f19f5fb61d5799b28f2c9b48713540fa8071b00000000",
        ),
    }
}

/// One of up to 64 chains.
fn dogecoin() -> Vector {
    Vector {
        name: "Dogecoin 1,000,000",
        proof: include_str!("../../tests/vectors/dogecoin-1000000.hex"),
        chain_id: DOGECOIN,
        hash: "6aae55bea74235f0c80bd066349d4440c31f2d0f27d54265ecd484d8c1d11b47",
        header: None,
    }
}

/// Alone in its tree, the parent with a version of BIP 9.
fn lone_dogecoin() -> Vector {
    Vector {
        name: "Dogecoin 2,679,506",
        proof: include_str!("../../tests/vectors/dogecoin-2679506.hex"),
        chain_id: DOGECOIN,
        hash: "283fa35edb604a913ead7e776b534f1661723da6721131eee75a39738ed2e8f8",
        header: None,
    }
}

/// From a pool that wrote the bare root.
fn dogecoin_without_magic() -> Vector {
    Vector {
        name: "Dogecoin 1,731,044",
        proof: include_str!("../../tests/vectors/dogecoin-1731044.hex"),
        chain_id: DOGECOIN,
        hash: "10b320f69f1eb5e1b7bb45fbc108e4379b5a77dee5a3b0a406038989b9641539",
        header: None,
    }
}

const DOGECOIN: u16 = 98;

impl Vector {
    fn bytes(&self) -> Vec<u8> {
        hex::decode(self.proof.split_whitespace().collect::<String>()).unwrap()
    }

    fn header(&self) -> Option<Header> {
        self.header.map(|header| deserialize(&hex::decode(header).unwrap()).unwrap())
    }

    pub(super) fn proof(&self) -> AuxPow {
        AuxPow::decode(&self.bytes()).unwrap()
    }

    /// The block's own bits are the target. Dogecoin's parents are of Litecoin, whose work is scrypt: there the work is not
    /// looked at.
    pub(super) fn expected(&self) -> Expected {
        let bits = self.header().map(|header| Bits::new(header.bits.to_consensus()).unwrap());
        Expected {
            chain_id: AuxChainId::new(self.chain_id).unwrap(),
            mined_hash: self.hash.parse().unwrap(),
            target: bits.filter(|_| self.chain_id != DOGECOIN).map_or(Target::MAX, Bits::target),
        }
    }
}

fn with_magic() -> [Vector; 5] {
    [namecoin(), crown(), early_dogecoin(), dogecoin(), lone_dogecoin()]
}

fn without_magic() -> [Vector; 2] {
    [early_namecoin(), dogecoin_without_magic()]
}

#[test]
fn proofs_of_real_chains_hold() {
    for vector in with_magic() {
        assert_eq!(vector.proof().check(&vector.expected()), Ok(()), "{}", vector.name);
    }
}

#[test]
fn proofs_of_real_chains_encode_to_their_bytes() {
    for vector in with_magic().into_iter().chain(without_magic()) {
        assert_eq!(vector.proof().encode(), vector.bytes(), "{}", vector.name);
    }
}

#[test]
fn the_vectors_are_of_the_chains_they_say() {
    for vector in with_magic().into_iter().chain(without_magic()) {
        let Some(header) = vector.header() else { continue };
        assert_eq!(header.block_hash().to_string(), vector.hash, "{}", vector.name);
        assert!(vector.expected().chain_id.is_of(header.version), "{}", vector.name);
    }
}

/// Namecoin and Dogecoin take a bare root near the script's beginning as well; the rule here is one magic. All else about
/// these proofs is checked before, so nothing else is wrong with them.
#[test]
fn a_proof_without_magic_is_refused() {
    for vector in without_magic() {
        assert_eq!(vector.proof().check(&vector.expected()), Err(ProofRefusal::NoMagic), "{}", vector.name);
    }
}

#[test]
fn each_damage_of_a_real_proof_is_refused_with_its_own_reason() {
    type Damage = (fn(&mut AuxPow, &mut Expected), ProofRefusal);
    let parent = namecoin().proof().parent.block_hash();
    let damages: [Damage; 8] = [
        (|_, e| e.target = Target(U256::from(1)), ProofRefusal::TooLittleWork(namecoin().proof().parent.block_hash())),
        (|p, _| p.coinbase_branch.index = 1, ProofRefusal::NotCoinbase(1)),
        (|p, _| p.parent = namecoin().header().unwrap(), ProofRefusal::OwnChain),
        (|p, _| p.chain_branch.hashes.resize(31, B256::ZERO), ProofRefusal::ChainBranchTooLong(31)),
        (|p, _| p.coinbase.lock_time = bitcoin::absolute::LockTime::from_consensus(9), ProofRefusal::OtherMerkleRoot),
        (|_, e| e.mined_hash = MinedHash(B256::ZERO), ProofRefusal::OtherRoot),
        (|p, _| p.chain_branch.hashes.swap(0, 1), ProofRefusal::OtherRoot),
        (|p, _| p.chain_branch.index += 16, ProofRefusal::OtherSlot { found: 27, expected: 11 }),
    ];
    assert!(namecoin().expected().target.is_met_by(parent));
    for (damage, refusal) in damages {
        let (mut proof, mut expected) = (namecoin().proof(), namecoin().expected());
        if refusal == ProofRefusal::OwnChain {
            expected.target = Target::MAX;
        }
        damage(&mut proof, &mut expected);
        assert_eq!(proof.check(&expected), Err(refusal));
    }
}

/// A miner rolls the version's bits 13 to 28 like a nonce: none of these is a chain id.
#[test]
fn a_rolled_version_is_not_a_chain_id() {
    let (mut proof, expected) = (crown().proof(), Expected { target: Target::MAX, ..crown().expected() });
    for version in [0x2000_0000, 0x2000_e000, 0x3fff_e000, 0x2014_0000] {
        proof.parent.version = Version::from_consensus(version);
        assert_eq!(proof.check(&expected), Ok(()), "{version:#x}");
    }
    proof.parent.version = Version::from_consensus(0x0014_0000);
    assert_eq!(proof.check(&expected), Err(ProofRefusal::OwnChain));
}
