#![allow(clippy::as_conversions, reason = "small counts of a test")]
use proptest::prelude::*;

use super::*;

const CUT: Cut = Cut { batch: 4, window: 3, patience: 100 };

fn heights(piece: Piece) -> Vec<u64> {
    (piece.from..piece.end()).collect()
}

#[test]
fn pieces_are_cut_within_the_window_and_imported_in_order() {
    let mut book: Book<u8, u64> = Book::new(CUT);
    book.aim(30);
    book.set_head(10);
    let pieces = [1, 2, 3].map(|worker| book.pull(&worker, 0));
    let cut = |from| Some(Piece { from, count: 4 });
    assert_eq!(pieces, [cut(11), cut(15), cut(19)]);
    assert_eq!(book.pull(&4, 0), None, "the window is full");
    assert!(book.deliver(&2, 15, vec![15, 16, 17, 18]));
    assert_eq!(book.import(), None, "11 is missing");
    assert!(book.deliver(&1, 11, vec![11, 12, 13, 14]));
    assert_eq!(book.import(), Some((1, &[11, 12, 13, 14][..])));
    assert_eq!(book.import(), None, "one import at a time");
    book.set_head(14);
    assert_eq!(book.import(), Some((2, &[15, 16, 17, 18][..])));
    assert_eq!(book.pull(&4, 0), cut(23), "the window has moved");
    assert_eq!(book.pull(&1, 0), None);
    assert_eq!(book.counts(), (2, 1));
}

#[test]
fn what_a_worker_loses_another_gets() {
    let mut book: Book<u8, u64> = Book::new(CUT);
    book.aim(8);
    let first = book.pull(&1, 0);
    book.pull(&2, 0);
    assert_eq!(book.pull(&3, 100), None, "both are in their time");
    book.gone(&1);
    assert_eq!(book.pull(&3, 100), first);
    assert_eq!(book.pull(&4, 101), Some(Piece { from: 5, count: 4 }), "2 is too slow");
    assert!(book.deliver(&2, 5, vec![5, 6, 7, 8]), "but first");
    assert!(!book.deliver(&4, 5, vec![5, 6, 7, 8]));
    assert!(!book.deliver(&4, 99, vec![99]), "nobody asked for it");
}

#[test]
fn a_short_delivery_leaves_a_rest_and_a_refused_one_is_fetched_again() {
    let mut book: Book<u8, u64> = Book::new(CUT);
    book.aim(4);
    book.pull(&1, 0);
    assert!(book.deliver(&1, 1, vec![1, 2]));
    assert_eq!(book.pull(&1, 0), Some(Piece { from: 3, count: 2 }));
    assert!(book.import().is_some());
    book.refused();
    assert_eq!(book.pull(&2, 0), Some(Piece { from: 1, count: 2 }));
    assert!(!book.deliver(&2, 1, vec![1, 2, 3]), "more than was asked for");
    assert!(!book.deliver(&2, 1, vec![]));
    assert_eq!(book.pull(&3, 0), Some(Piece { from: 1, count: 2 }), "free again");
}

#[derive(Clone, Debug)]
enum Event {
    Pull(u8),
    Deliver { worker: u8, short: bool },
    Fail(u8),
    Die(u8),
    Wait(u64),
    Import { refused: bool, part: bool },
    Grow(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let worker = 0u8..5;
    prop_oneof![
        4 => worker.clone().prop_map(Event::Pull),
        4 => (worker.clone(), any::<bool>()).prop_map(|(worker, short)| Event::Deliver { worker, short }),
        1 => worker.clone().prop_map(Event::Fail),
        1 => worker.prop_map(Event::Die),
        1 => (0u64..300).prop_map(Event::Wait),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(refused, part)| Event::Import { refused, part }),
        1 => (0u64..20).prop_map(Event::Grow),
    ]
}

/// The world around a book: workers that hold pieces, and a chain that counts what it imports.
struct World {
    book: Book<u8, u64>,
    held: BTreeMap<u8, Piece>,
    now: Millis,
    chain: Vec<u64>,
    target: u64,
}

impl World {
    fn new(target: u64) -> Self {
        let mut book = Book::new(CUT);
        book.aim(target);
        Self { book, held: BTreeMap::new(), now: 0, chain: Vec::new(), target }
    }

    fn pull(&mut self, worker: u8) {
        match self.book.pull(&worker, self.now) {
            Some(piece) => {
                self.held.insert(worker, piece);
            }
            None => {
                self.held.remove(&worker);
            }
        }
    }

    fn deliver(&mut self, worker: u8, short: bool) {
        let Some(piece) = self.held.remove(&worker) else { return };
        let mut blocks = heights(piece);
        if short && blocks.len() > 1 {
            blocks.pop();
        }
        self.book.deliver(&worker, piece.from, blocks);
    }

    /// Chain takes blocks only in order, and all, a part, or none of them.
    fn import(&mut self, refused: bool, part: bool) {
        let Some((_, blocks)) = self.book.import() else { return };
        let mut blocks = blocks.to_vec();
        if refused {
            self.book.refused();
            return;
        }
        if part && blocks.len() > 1 {
            blocks.pop();
        }
        self.chain.extend(blocks);
        let head = self.chain.len() as u64;
        assert_eq!(self.chain.last(), Some(&head), "each height once, in order: {:?}", self.chain);
        self.book.set_head(head);
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Pull(worker) => self.pull(worker),
            Event::Deliver { worker, short } => self.deliver(worker, short),
            Event::Fail(worker) => {
                if let Some(piece) = self.held.remove(&worker) {
                    self.book.failed(&worker, piece.from);
                }
            }
            // It is gone without a word, or with one: what it delivers later may still come.
            Event::Die(worker) => self.book.gone(&worker),
            Event::Wait(span) => self.now += span,
            Event::Import { refused, part } => self.import(refused, part),
            Event::Grow(by) => {
                self.target += by;
                self.book.aim(self.target);
            }
        }
        let (out, waiting) = self.book.counts();
        assert!(out + waiting <= 2 * (CUT.window * CUT.batch) as usize, "bounded");
    }
}

proptest! {
    #[test]
    fn every_height_is_imported_exactly_once_under_any_schedule(events in proptest::collection::vec(event(), 0..300)) {
        let mut world = World::new(30);
        for event in &events {
            world.take(event);
        }
        // Then one worker that is well brings it to an end.
        for _ in 0..200 {
            world.now += CUT.patience + 1;
            world.pull(7);
            world.deliver(7, false);
            world.import(false, false);
        }
        prop_assert_eq!(world.chain.len() as u64, world.target);
        prop_assert!(!world.book.is_behind());
    }
}
