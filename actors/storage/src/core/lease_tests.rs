//! The table row by row, and any schedule of holders that start, renew, freeze, die and give back, with storage restarting
//! among them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const TERM: Duration = Duration::from_secs(9);
const A: Incarnation = [1; 8];
const B: Incarnation = [2; 8];

fn holder(incarnation: Incarnation) -> Holder {
    Holder { instance: "chain".into(), incarnation, process: Process::default(), term: TERM }
}

fn stamp(incarnation: Incarnation, epoch: u64) -> Stamp {
    Stamp { role: Role::Chain, incarnation, epoch }
}

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// A holds epoch 1 since second 0.
fn held() -> Book {
    let mut book = Book::default();
    assert_eq!(epoch(&book.acquire(Role::Chain, &holder(A), None, at(0))), Some(1));
    book
}

fn epoch(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Granted(lease) => Some(lease.epoch),
        Verdict::Held(_) => None,
    }
}

#[test]
fn every_row_of_the_acquire_table() {
    let released = {
        let mut book = held();
        book.release(stamp(A, 1)).unwrap();
        book
    };
    let table = [
        ("nothing on record", Book::default(), B, None, 0, Some(1)),
        ("the same incarnation", held(), A, None, 5, Some(1)),
        ("held", held(), B, None, 8, None),
        ("held, another one is gone", held(), B, Some([7; 8]), 8, None),
        ("held, the holder is gone", held(), B, Some(A), 1, Some(2)),
        ("not renewed for a term", held(), B, None, 9, Some(2)),
        ("released", released.clone(), B, None, 0, Some(2)),
        ("released, and back", released, A, None, 0, Some(2)),
    ];
    for (row, mut book, asker, gone, second, expected) in table {
        assert_eq!(epoch(&book.acquire(Role::Chain, &holder(asker), gone, at(second))), expected, "{row}");
    }
}

#[test]
fn who_is_refused_learns_who_holds_it_and_how_long() {
    let Verdict::Held(lease) = held().judge(Role::Chain, &holder(B), None, at(4)) else { panic!("granted") };
    assert_eq!((lease.holder.incarnation, lease.remaining(at(4))), (A, at(5)));
}

#[test]
fn only_the_holder_renews_releases_and_writes() {
    let mut book = held();
    book.renew(stamp(A, 1), at(8)).unwrap();
    assert_eq!(epoch(&book.judge(Role::Chain, &holder(B), None, at(16))), None, "renewed at 8 for 9 seconds");
    for stranger in [stamp(B, 1), stamp(A, 2), stamp(A, 0), stamp(B, 0)] {
        assert!(book.renew(stranger, at(8)).is_err(), "{stranger:?}");
        assert!(book.release(stranger).is_err(), "{stranger:?}");
        assert!(book.check(stranger).is_err(), "{stranger:?}");
    }
    book.check(stamp(A, 1)).unwrap();
    book.acquire(Role::Chain, &holder(B), None, at(17));
    let stale = book.check(stamp(A, 1)).unwrap_err();
    assert_eq!(
        stale.to_string(),
        "0101010101010101 comes with epoch 1 of chain's lease, but chain (0202020202020202) holds epoch 2"
    );
    book.check(stamp(B, 2)).unwrap();
}

#[test]
fn a_sender_without_leases_writes_only_while_nobody_holds_one() {
    Book::default().check(stamp(A, 0)).unwrap();
    let mut book = held();
    assert!(book.check(stamp(B, 0)).is_err());
    book.release(stamp(A, 1)).unwrap();
    book.check(stamp(B, 0)).unwrap();
    assert!(book.check(stamp(A, 1)).is_err(), "it gave it back");
}

#[test]
fn other_roles_are_not_fenced() {
    held().check(Stamp { role: Role::Stream, incarnation: A, epoch: 0 }).unwrap();
}

#[test]
fn a_restart_of_storage_counts_as_a_renewal() {
    let book = held();
    let rows: Vec<_> = book.iter().map(|(role, lease)| (role, lease.clone())).collect();
    let book = Book::restore(rows, at(100));
    assert_eq!(epoch(&book.judge(Role::Chain, &holder(B), None, at(108))), None);
    assert_eq!(epoch(&book.judge(Role::Chain, &holder(B), None, at(109))), Some(2));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// This process asks for the lease; its answer may be lost.
    Acquire {
        process: usize,
        answered: bool,
    },
    Renew {
        process: usize,
        answered: bool,
    },
    Release(usize),
    /// It is killed; the next one under its number is a new incarnation that knows it to be gone.
    Kill(usize),
    StorageRestarts,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let process = || 0..3usize;
    prop_oneof![
        4 => (process(), any::<bool>()).prop_map(|(process, answered)| Step::Acquire { process, answered }),
        6 => (process(), any::<bool>()).prop_map(|(process, answered)| Step::Renew { process, answered }),
        1 => process().prop_map(Step::Release),
        2 => process().prop_map(Step::Kill),
        1 => Just(Step::StorageRestarts),
        6 => (0u64..7).prop_map(Step::Wait),
    ]
}

/// A process as it sees itself: it acts while it believes in its lease.
#[derive(Clone, Copy, Default)]
struct Actor {
    incarnation: Incarnation,
    epoch: u64,
    acts_until: Moment,
    predecessor: Option<Incarnation>,
}

/// The world: storage's clock starts anew with it, the processes' clock runs on.
struct World {
    book: Book,
    storage_started: Moment,
    now: Moment,
    actors: [Actor; 3],
    born: u64,
    granted: Vec<(u64, Incarnation)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            book: Book::default(),
            storage_started: Moment::ZERO,
            now: Moment::ZERO,
            actors: Default::default(),
            born: 0,
            granted: Vec::new(),
        };
        (0..3).for_each(|process| world.start(process, None));
        world
    }

    fn start(&mut self, process: usize, predecessor: Option<Incarnation>) {
        self.born += 1;
        self.actors[process] = Actor { incarnation: self.born.to_be_bytes(), predecessor, ..Actor::default() };
    }

    fn take(&mut self, step: Step) {
        let storage_now = self.now - self.storage_started;
        match step {
            Step::Acquire { process, answered } => {
                let actor = &mut self.actors[process];
                let verdict = self.book.acquire(Role::Chain, &holder(actor.incarnation), actor.predecessor, storage_now);
                let Verdict::Granted(lease) = verdict else { return };
                self.granted.push((lease.epoch, actor.incarnation));
                if answered {
                    (actor.epoch, actor.acts_until) = (lease.epoch, self.now + TERM * 2 / 3);
                }
            }
            Step::Renew { process, answered } => {
                let actor = &mut self.actors[process];
                // One that stopped believing has ended.
                if actor.acts_until <= self.now {
                    return;
                }
                let renewed = self.book.renew(stamp(actor.incarnation, actor.epoch), storage_now);
                if renewed.is_ok() && answered {
                    actor.acts_until = self.now + TERM * 2 / 3;
                }
            }
            Step::Release(process) => {
                let actor = &mut self.actors[process];
                actor.acts_until = Moment::ZERO;
                let _not_its_own = self.book.release(stamp(actor.incarnation, actor.epoch));
            }
            Step::Kill(process) => self.start(process, Some(self.actors[process].incarnation)),
            Step::StorageRestarts => {
                let rows: Vec<_> = self.book.iter().map(|(role, lease)| (role, lease.clone())).collect();
                self.storage_started = self.now;
                self.book = Book::restore(rows, Moment::ZERO);
            }
            Step::Wait(seconds) => self.now += at(seconds),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_two_holders_and_epochs_only_grow(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            let acting: Vec<_> = world.actors.iter().filter(|actor| actor.acts_until > world.now).collect();
            prop_assert!(acting.len() <= 1, "{} processes act at once after {step:?}", acting.len());
            if let [actor] = acting[..] {
                prop_assert!(world.book.check(stamp(actor.incarnation, actor.epoch)).is_ok(), "the holder is fenced");
            }
            let accepted = world.actors.iter().filter(|actor| {
                actor.epoch > 0 && world.book.check(stamp(actor.incarnation, actor.epoch)).is_ok()
            });
            prop_assert!(accepted.count() <= 1, "writes of two processes are taken");
        }
        for pair in world.granted.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            prop_assert!(after.0 > before.0 || after == before, "{before:?} then {after:?}");
        }
    }
}
