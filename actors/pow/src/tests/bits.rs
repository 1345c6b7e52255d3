use alloy_primitives::U256;
use proptest::prelude::*;

use crate::{Bits, BitsError, Target};

#[test]
fn bits_of_real_chains_are_their_targets() {
    let digits = |value: u64, zero_bytes: usize| U256::from(value) << (8 * zero_bytes);
    for (bits, target) in [
        (0x1d00_ffff, digits(0xffff, 26)),
        (0x1b04_04cb, digits(0x0404cb, 24)),
        (0x1a24_2a4a, digits(0x242a4a, 23)),
        (0x207f_ffff, digits(0x7fffff, 29)),
        (0x0101_0000, U256::from(1)),
        (0x0200_8000, U256::from(0x80)),
        (0x2100_ffff, digits(0xffff, 30)),
    ] {
        let parsed = Bits::new(bits).unwrap();
        assert_eq!(parsed.target(), Target(target), "{bits:#x}");
        assert_eq!(parsed.to_u32(), bits);
    }
}

#[test]
fn what_is_no_target_is_refused_by_name() {
    for (bits, refusal) in [
        (0x0000_0000, BitsError::Zero(0)),
        (0x2000_0000, BitsError::Zero(0x2000_0000)),
        (0x0000_1234, BitsError::Zero(0x1234)),
        (0x0100_3456, BitsError::Zero(0x0100_3456)),
        (0x0492_3456, BitsError::Negative(0x0492_3456)),
        (0x0180_0000, BitsError::Negative(0x0180_0000)),
        (0xff12_3456, BitsError::Overflow(0xff12_3456)),
        (0x2200_0100, BitsError::Overflow(0x2200_0100)),
        (0x2101_0000, BitsError::Overflow(0x2101_0000)),
        (0x2300_0001, BitsError::Overflow(0x2300_0001)),
        (0x2200_00ff, BitsError::NotShortest(0x2200_00ff)),
        (0x0300_0001, BitsError::NotShortest(0x0300_0001)),
        (0x0112_3456, BitsError::NotShortest(0x0112_3456)),
    ] {
        assert_eq!(Bits::new(bits), Err(refusal), "{bits:#x}");
    }
}

#[test]
fn the_whole_range_of_targets_has_bits() {
    assert_eq!(Bits::at_most(Target(U256::ZERO)), None);
    assert_eq!(Bits::at_most(Target(U256::from(1))), Some(Bits::HARDEST));
    assert_eq!(Bits::at_most(Target::MAX).map(Bits::to_u32), Some(0x2100_ffff));
}

proptest! {
    #[test]
    fn bits_are_strict_and_total(bits: u32) {
        if let Ok(parsed) = Bits::new(bits) {
            prop_assert_eq!(parsed.to_u32(), bits);
            prop_assert_eq!(Bits::at_most(parsed.target()), Some(parsed));
        }
    }

    /// Compared with the decoder of rust-bitcoin, which takes what we refuse.
    #[test]
    fn accepted_bits_mean_what_they_mean_to_bitcoin(length in 0_u32..36, digits in 0_u32..0x100_0000) {
        if let Ok(parsed) = Bits::new((length << 24) | digits) {
            let theirs = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(parsed.to_u32()));
            prop_assert_eq!(parsed.target().0.to_le_bytes::<32>(), theirs.to_le_bytes());
            prop_assert_eq!(theirs.to_compact_lossy().to_consensus(), parsed.to_u32());
        }
    }

    #[test]
    fn rounding_loses_less_than_one_part_in_32768(limbs: [u64; 4], shift in 0_usize..256) {
        let target = (U256::from_limbs(limbs) >> shift) | U256::from(1);
        let bits = Bits::at_most(Target(target)).unwrap();
        prop_assert_eq!(Bits::new(bits.to_u32()), Ok(bits));
        let rounded = bits.target().0;
        prop_assert!(rounded <= target);
        prop_assert!(target - rounded <= target >> 15);
    }
}
