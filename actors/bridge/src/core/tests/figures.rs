//! What waits shows, and for how long.

use alys_peg::Violation;
use alys_proto::Sats;

use super::payouts::{address, recorded_payout};
use super::{BTC, World};
use crate::core::fixture::N;
use crate::core::{Figures, Input};

#[test]
fn a_deposit_waits_then_is_overdue_then_is_minted() {
    let mut world = World::new();
    let waiting = |world: &World| {
        let Figures { detected, confirmed, deposit_overdue, .. } = world.state.figures();
        (detected, confirmed, deposit_overdue)
    };
    assert_eq!(waiting(&world), (0, 0, 0));
    let deposit = world.deposit(1, BTC);
    world.mine(vec![deposit]);
    world.mine_empty(N - 2);
    world.poll();
    assert_eq!(waiting(&world), (1, 0, 0), "one block too few");
    world.mine_empty(1);
    world.poll();
    assert_eq!(waiting(&world), (0, 1, 0));
    world.mine_empty(4);
    world.poll();
    assert_eq!(waiting(&world), (0, 1, 4));

    let mut minted = World::new();
    minted.mint(1, BTC);
    assert_eq!(waiting(&minted), (0, 0, 0));
    let figures = minted.state.figures();
    assert_eq!((figures.held, figures.owed), (Sats(BTC), Sats(0)));
    assert!(figures.supply <= figures.held, "{figures:?}");
}

#[test]
fn burns_and_payouts_grow_old_in_blocks() {
    let mut world = World::new();
    recorded_payout(&mut world);
    world.burn(10_000_000, &address());
    for _block in 0..3 {
        world.commit(&[]);
    }
    let figures = world.state.figures();
    assert_eq!((figures.burns_pending, figures.burn_age), (1, 3));
    assert_eq!((figures.payouts_in_flight, figures.payout_age), (1, 4));
}

#[test]
fn how_far_bitcoind_is_ahead_shows_and_nothing_when_it_is_away() {
    let mut world = World::new();
    assert_eq!((world.state.figures().bitcoin_height, world.state.figures().lag), (Some(0), Some(0)));
    world.step(Input::BitcoinAway("connection refused".into()));
    assert_eq!(world.state.figures().lag, None);
}

#[test]
fn a_ledger_that_does_not_add_up_is_counted() {
    let mut world = World::new();
    for _block in 0..=super::super::figures::AUDIT_EVERY {
        world.commit(&[]);
    }
    assert!(world.state.violations().by_name().all(|(_, count)| count == 0));
    world.state.audited(&Err(Violation::Books("a test")));
    let broken: Vec<_> = world.state.violations().by_name().filter(|(_, count)| *count > 0).collect();
    assert_eq!(broken, [("PEG-12", 1)]);
}
