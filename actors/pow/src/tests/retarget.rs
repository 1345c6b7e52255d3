use alloy_primitives::U256;
use alloy_primitives::aliases::U512;
use proptest::prelude::*;

use crate::{Bits, Retarget, RetargetError};

fn bits(compact: u32) -> Bits {
    Bits::new(compact).unwrap()
}

fn bitcoin() -> Retarget {
    Retarget::new(bits(0x1d00_ffff), 600, 2_016, 4).unwrap()
}

/// Windows of Bitcoin's own chain, as its developers test them: first and last time, bits before and after.
#[test]
fn bitcoins_windows_move_as_they_did() {
    for (begun, ended, before, after) in [
        (1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a), // block 32,255
        (1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff), // block 2,015: the limit
        (1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd), // block 68,543: a quarter
        (1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd), // four times
    ] {
        let taken: u64 = ended - begun;
        assert_eq!(bitcoin().next(bits(before), taken).to_u32(), after, "{before:#x}");
    }
}

#[test]
fn steps_are_clamped_both_ways() {
    let old = bits(0x1b10_0000);
    let planned = 600 * 2_016;
    assert_eq!(bitcoin().next(old, planned), old);
    assert_eq!(bitcoin().next(old, planned / 2).to_u32(), 0x1b08_0000);
    assert_eq!(bitcoin().next(old, planned * 2).to_u32(), 0x1b20_0000);
    for quick in [0, 1, planned / 5, planned / 4] {
        assert_eq!(bitcoin().next(old, quick).to_u32(), 0x1b04_0000, "{quick}");
    }
    for slow in [planned * 4, planned * 5, u64::MAX] {
        assert_eq!(bitcoin().next(old, slow).to_u32(), 0x1b40_0000, "{slow}");
    }
}

#[test]
fn the_ends_of_the_range_hold() {
    let widest = Retarget::new(bits(0x2100_ffff), 1, 1, 16).unwrap();
    assert_eq!(widest.next(bits(0x2100_ffff), u64::MAX).to_u32(), 0x2100_ffff);
    assert_eq!(widest.next(Bits::HARDEST, 0), Bits::HARDEST);
    assert_eq!(bitcoin().next(bits(0x207f_ffff), u64::MAX), bits(0x1d00_ffff));
}

#[test]
fn windows_end_with_their_last_bundle() {
    let ends: Vec<u64> = (1..=5_000).filter(|sequence| bitcoin().ends_window(*sequence)).collect();
    assert_eq!(ends, [2_016, 4_032]);
}

#[test]
fn numbers_beyond_their_bounds_are_refused() {
    let limit = bits(0x207f_ffff);
    for (spacing, window, factor, refusal) in [
        (0, 1, 4, RetargetError::Spacing(0)),
        (604_801, 1, 4, RetargetError::Spacing(604_801)),
        (1, 0, 4, RetargetError::Window(0)),
        (1, 100_001, 4, RetargetError::Window(100_001)),
        (1, 1, 1, RetargetError::Factor(1)),
        (1, 1, 17, RetargetError::Factor(17)),
    ] {
        assert_eq!(Retarget::new(limit, spacing, window, factor), Err(refusal));
    }
    assert!(Retarget::new(limit, 604_800, 100_000, 16).is_ok());
}

fn any_bits() -> impl Strategy<Value = Bits> {
    (1_u32..34, 0_u32..0x80_0000).prop_filter_map("no target", |(length, digits)| Bits::new((length << 24) | digits).ok())
}

proptest! {
    #[test]
    fn no_step_leaves_its_clamps_or_the_limit(
        old in any_bits(), limit in any_bits(), spacing in 1_u64..=604_800, window in 1_u64..=100_000, factor in 2_u64..=16,
        taken: u64, scale in 0_u32..64,
    ) {
        let rules = Retarget::new(limit, spacing, window, factor).unwrap();
        let new = rules.next(old, taken >> scale);
        prop_assert_eq!(Bits::new(new.to_u32()), Ok(new));
        prop_assert!(new.target() <= limit.target());
        let (old, new) = (U512::from(old.target().0), U512::from(new.target().0));
        prop_assert!(new <= old * U512::from(factor));
        // The compact form cuts less than one part in 2^15, the division less than one.
        let least = U512::from(limit.target().0).min(old / U512::from(factor));
        prop_assert!(new + (least >> 15) >= least || new == U512::from(1));
    }

    #[test]
    fn a_longer_window_never_makes_it_harder(old in any_bits(), taken in 0_u64..10_000_000, more in 0_u64..10_000_000) {
        prop_assert!(bitcoin().next(old, taken).target() <= bitcoin().next(old, taken + more).target());
    }

    /// On a steady rate of work the target finds the spacing from anywhere and stays there.
    #[test]
    fn a_steady_rate_finds_its_target(start in 1_u64..1_000_000, rate in 1_u64..1_000_000) {
        let rules = Retarget::new(bits(0x1f00_ffff), 10, 10, 4).unwrap();
        let unit: U256 = U256::from(1) << 200;
        let steady: U256 = unit / U256::from(rate);
        let mut at = Bits::at_most(crate::Target(unit / U256::from(start))).unwrap();
        for _window in 0..20 {
            // A target n times the steady one is met n times as fast.
            let taken: U256 = U256::from(100) * steady / at.target().0;
            at = rules.next(at, u64::try_from(taken).unwrap());
        }
        let ratio: U256 = at.target().0 * U256::from(100) / steady;
        prop_assert!((U256::from(95)..U256::from(105)).contains(&ratio), "{}", ratio);
    }
}
