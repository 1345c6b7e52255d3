use std::hint::black_box;
use std::time::{Duration, Instant};

use super::support::*;
use super::vectors::{crown, namecoin};
use crate::AuxPow;

/// Checks in one round, rounds, and what one check may take.
const CHECKS: u32 = 1_000;
const ROUNDS: usize = 20;
const AIM: Duration = Duration::from_micros(50);

/// The best of many rounds, so that only a slower check fails it and not a busy machine.
#[test]
fn a_check_takes_at_most_50_microseconds() {
    for vector in [namecoin(), crown()] {
        let (proof, expected) = (vector.proof(), vector.expected());
        let checked = best(|| assert!(black_box(&proof).check(black_box(&expected)).is_ok()));
        let bytes = proof.encode();
        let decoded = best(|| drop(black_box(AuxPow::decode(black_box(&bytes)))));
        println!("{}: check {checked:?}, decode {decoded:?}, {} bytes", vector.name, bytes.len());
        assert!(checked <= AIM, "{checked:?}");
    }
    let mined = best(|| {
        black_box(mined_hash());
    });
    println!("mined hash {mined:?}");
}

fn best(mut call: impl FnMut()) -> Duration {
    let round = |_| {
        let begun = Instant::now();
        for _check in 0..CHECKS {
            call();
        }
        begun.elapsed() / CHECKS
    };
    (0..ROUNDS).map(round).min().unwrap()
}
