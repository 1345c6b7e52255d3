//! One worker: pulls a piece from the leader, fetches it from peers, checks it, delivers it, pulls the next.
//!
//! ```text
//! resting ──woken──▶ pulling ──piece──▶ fetching ──▶ checking ──▶ delivering ──▶ pulling
//!    ▲                  │ nothing to do     │            │             │
//!    └──────────────────┴───── failed: rests for longer each time, then tells the leader with its next pull
//! ```

use alys_proto::common::CommittedBlock;

use super::book::{Millis, Piece};
use super::range::RangeFault;

/// How long a worker rests.
#[derive(Clone, Copy, Debug)]
pub struct Rests {
    /// When there was nothing to do.
    pub idle: Millis,
    /// After the first failure; doubles with every further one.
    pub first: Millis,
    /// Longest after a failure.
    pub longest: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Resting,
    Pulling,
    Fetching(Piece),
    Checking(Piece),
    Delivering(Piece),
}

/// What a worker learns.
#[derive(Debug)]
pub enum Learned {
    /// A rest is over, or there is news. `turn`: which rest; `None`: any.
    Woken(Option<u64>),
    /// The leader's answer: a piece, or nothing to do.
    Work(Result<Option<Piece>, String>),
    /// Blocks of a peer, and who that was.
    Fetched(Result<(Vec<CommittedBlock>, String), String>),
    /// They have been checked.
    Checked {
        /// Who served them.
        peer: String,
        /// The blocks, or what is wrong with them.
        outcome: Result<Vec<CommittedBlock>, RangeFault>,
    },
    /// The leader has them, or does not answer.
    Delivered(Result<(), String>),
}

/// What a worker does.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// Ask the leader for work; tell it which piece was not got.
    Pull {
        /// First height of that piece.
        failed: Option<u64>,
    },
    /// Ask network for a piece.
    Fetch(Piece),
    /// Check what came, off the actor's thread.
    Check {
        /// Where it must start.
        piece: Piece,
        /// The blocks.
        blocks: Vec<CommittedBlock>,
        /// Who served them.
        peer: String,
    },
    /// Bring it to the leader.
    Deliver {
        /// Which.
        piece: Piece,
        /// The blocks.
        blocks: Vec<CommittedBlock>,
        /// Who served them.
        peer: String,
    },
    /// Tell network that a peer served what proves nothing.
    Blame {
        /// Who.
        peer: String,
        /// What.
        reason: String,
    },
    /// Say `Woken` after so long.
    Rest {
        /// Which rest.
        turn: u64,
        /// How long.
        millis: Millis,
    },
}

/// The worker.
#[derive(Debug)]
pub struct Worker {
    rests: Rests,
    doing: Doing,
    failed: Option<u64>,
    failures: u32,
    last_failure: String,
    fetched: u64,
    turn: u64,
}

impl Worker {
    /// It rests until it is woken.
    pub const fn new(rests: Rests) -> Self {
        Self { rests, doing: Doing::Resting, failed: None, failures: 0, last_failure: String::new(), fetched: 0, turn: 0 }
    }

    /// Failures since the last success, and the last of them.
    pub fn failures(&self) -> (u32, &str) {
        (self.failures, &self.last_failure)
    }

    /// Blocks that it has delivered.
    pub const fn fetched(&self) -> u64 {
        self.fetched
    }

    /// What it does, for people.
    pub const fn name(&self) -> &'static str {
        match self.doing {
            Doing::Resting => "resting",
            Doing::Pulling => "pulling",
            Doing::Fetching(_) => "fetching",
            Doing::Checking(_) => "checking",
            Doing::Delivering(_) => "delivering",
        }
    }

    /// The piece in hand.
    pub const fn piece(&self) -> Option<Piece> {
        match self.doing {
            Doing::Fetching(piece) | Doing::Checking(piece) | Doing::Delivering(piece) => Some(piece),
            Doing::Resting | Doing::Pulling => None,
        }
    }

    /// Something happened; what is to be done? An answer that nobody waits for any more is dropped.
    pub fn step(&mut self, learned: Learned) -> Vec<Task> {
        match (self.doing, learned) {
            (Doing::Resting, Learned::Woken(turn)) if turn.is_none_or(|turn| turn == self.turn) => self.pull(),
            (Doing::Pulling, Learned::Work(Ok(Some(piece)))) => {
                self.doing = Doing::Fetching(piece);
                vec![Task::Fetch(piece)]
            }
            (Doing::Pulling, Learned::Work(Ok(None))) => self.rest(self.rests.idle),
            // Between two leaders: nothing is wrong with this worker.
            (Doing::Pulling, Learned::Work(Err(_))) => self.rest(self.rests.idle),
            (Doing::Fetching(piece), Learned::Fetched(Ok((blocks, peer)))) => {
                self.doing = Doing::Checking(piece);
                vec![Task::Check { piece, blocks, peer }]
            }
            (Doing::Fetching(piece), Learned::Fetched(Err(reason))) => self.fail(piece, reason),
            (Doing::Checking(piece), Learned::Checked { peer, outcome: Ok(blocks) }) => {
                self.doing = Doing::Delivering(piece);
                self.fetched = self.fetched.saturating_add(u64::try_from(blocks.len()).unwrap_or(u64::MAX));
                vec![Task::Deliver { piece, blocks, peer }]
            }
            (Doing::Checking(piece), Learned::Checked { peer, outcome: Err(fault) }) => {
                let reason = fault.to_string();
                let mut tasks = self.fail(piece, format!("{peer}: {reason}"));
                tasks.push(Task::Blame { peer, reason });
                tasks
            }
            (Doing::Delivering(_), Learned::Delivered(Ok(()))) => {
                self.failures = 0;
                self.pull()
            }
            (Doing::Delivering(piece), Learned::Delivered(Err(reason))) => self.fail(piece, reason),
            _ => Vec::new(),
        }
    }

    /// Whoever was asked will not answer: another leads now.
    pub fn forget_leader(&mut self) -> Vec<Task> {
        match self.doing {
            Doing::Pulling | Doing::Delivering(_) => self.rest(self.rests.first),
            Doing::Resting | Doing::Fetching(_) | Doing::Checking(_) => Vec::new(),
        }
    }

    fn pull(&mut self) -> Vec<Task> {
        self.doing = Doing::Pulling;
        vec![Task::Pull { failed: self.failed.take() }]
    }

    fn rest(&mut self, millis: Millis) -> Vec<Task> {
        self.doing = Doing::Resting;
        self.turn = self.turn.wrapping_add(1);
        vec![Task::Rest { turn: self.turn, millis }]
    }

    fn fail(&mut self, piece: Piece, reason: String) -> Vec<Task> {
        let factor = 1u64.checked_shl(self.failures.min(63)).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1);
        (self.failed, self.last_failure) = (Some(piece.from), reason);
        self.rest(self.rests.first.saturating_mul(factor).min(self.rests.longest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    const PIECE: Piece = Piece { from: 11, count: 2 };

    fn worker() -> Worker {
        Worker::new(Rests { idle: 1_000, first: 500, longest: 4_000 })
    }

    fn fetching() -> Worker {
        let mut worker = worker();
        worker.step(Learned::Woken(None));
        assert_eq!(worker.step(Learned::Work(Ok(Some(PIECE)))), [Task::Fetch(PIECE)]);
        worker
    }

    #[test]
    fn a_piece_goes_from_the_leader_to_a_peer_and_back() {
        let mut worker = fetching();
        let blocks = vec![CommittedBlock::default(); 2];
        let checks = worker.step(Learned::Fetched(Ok((blocks.clone(), "peer".into()))));
        assert!(matches!(&checks[..], [Task::Check { piece: PIECE, .. }]), "{checks:?}");
        let delivers = worker.step(Learned::Checked { peer: "peer".into(), outcome: Ok(blocks) });
        assert!(matches!(&delivers[..], [Task::Deliver { piece: PIECE, .. }]), "{delivers:?}");
        assert_eq!(worker.step(Learned::Delivered(Ok(()))), [Task::Pull { failed: None }]);
        assert_eq!(worker.step(Learned::Work(Ok(None))), [Task::Rest { turn: 1, millis: 1_000 }]);
        assert!(worker.step(Learned::Woken(Some(0))).is_empty(), "an old rest");
        assert_eq!(worker.fetched(), 2);
    }

    #[test]
    fn failures_rest_for_longer_until_something_works_and_the_leader_is_told() {
        let mut worker = fetching();
        for millis in [500, 1_000, 2_000, 4_000, 4_000] {
            let rests = worker.step(Learned::Fetched(Err("no peer".into())));
            assert!(matches!(&rests[..], [Task::Rest { millis: rested, .. }] if *rested == millis), "{rests:?}");
            assert_eq!(worker.step(Learned::Woken(None)), [Task::Pull { failed: Some(11) }]);
            worker.step(Learned::Work(Ok(Some(PIECE))));
        }
        assert_eq!(worker.failures(), (5, "no peer"));
    }

    #[test]
    fn a_leader_that_is_gone_is_not_waited_for() {
        let mut worker = worker();
        worker.step(Learned::Woken(None));
        assert_eq!(worker.forget_leader(), [Task::Rest { turn: 1, millis: 500 }]);
        assert_eq!(worker.step(Learned::Woken(None)), [Task::Pull { failed: None }]);
        assert!(fetching().forget_leader().is_empty(), "what it fetches the next leader can use");
    }

    #[test]
    fn a_peer_that_proves_nothing_is_blamed() {
        let mut worker = fetching();
        worker.step(Learned::Fetched(Ok((Vec::new(), "liar".into()))));
        let tasks = worker.step(Learned::Checked { peer: "liar".into(), outcome: Err(RangeFault::Empty) });
        assert!(matches!(&tasks[..], [Task::Rest { .. }, Task::Blame { peer, .. }] if peer == "liar"), "{tasks:?}");
    }

    #[test]
    fn answers_that_nobody_waits_for_are_dropped() {
        let mut worker = worker();
        for late in [Learned::Work(Ok(Some(PIECE))), Learned::Fetched(Err("x".into())), Learned::Delivered(Ok(()))] {
            assert!(worker.step(late).is_empty());
        }
    }
}
