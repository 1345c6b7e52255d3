use bitcoin::block::Version;
use proptest::prelude::*;

use super::support::chain_id;
use crate::{AuxChainId, ChainIdError};

#[test]
fn numbers_that_bitcoin_versions_use_are_refused() {
    for bad in [0, 0x2000, 0x3fff, 0x4000, 0x8000, 0xffff] {
        assert_eq!(AuxChainId::new(bad), Err(ChainIdError(bad)));
    }
    for good in [1, 20, 0x62, 1_337, 0x1fff] {
        assert_eq!(AuxChainId::new(good).unwrap().to_u32(), u32::from(good));
    }
}

#[test]
fn a_parent_is_ours_only_by_its_upper_half() {
    let is_ours = |version: i32| chain_id().is_of(Version::from_consensus(version));
    assert!(is_ours(1_337 << 16));
    assert!(is_ours(1_337 << 16 | 0x0102));
    for others in [1, 2, 4, 1_337, 0x2000_0000, 0x2000_0000 | 1_337, 0x3fff_ffff, (0x62 << 16) | 0x0102, -1, i32::MIN] {
        assert!(!is_ours(others), "{others:#x}");
    }
}

proptest! {
    #[test]
    fn no_number_is_met_by_a_bitcoin_version(id in 1..=AuxChainId::MAX, rolled in 0..0x2000_0000, old in 0..5) {
        let id = AuxChainId::new(id).unwrap();
        prop_assert!(!id.is_of(Version::from_consensus(0x2000_0000 | rolled)));
        prop_assert!(!id.is_of(Version::from_consensus(old)));
    }
}
