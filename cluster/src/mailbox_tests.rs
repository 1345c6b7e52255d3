#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use alys_proto::{BackpressureStrategy, Lane};
use proptest::prelude::*;

use super::{Admission, Queue, Shared, Ticket};
use crate::config::MailboxConfig;

fn queue(capacity: usize) -> Queue<u32> {
    Queue::new(MailboxConfig { capacity, max_bytes: 1_000 })
}

fn ticket(name: &'static str, lane: Lane, backpressure: BackpressureStrategy) -> Ticket {
    Ticket { name, lane, backpressure, bytes: 100, arrived: Instant::now() }
}

#[test]
fn control_is_served_before_normal_before_bulk() {
    let mut queue = queue(10);
    for (lane, item) in [(Lane::Bulk, 1), (Lane::Normal, 2), (Lane::Control, 3), (Lane::Normal, 4)] {
        assert_eq!(queue.push(ticket("a", lane, BackpressureStrategy::Reject), item), Admission::Queued);
    }
    let served: Vec<u32> = std::iter::from_fn(|| queue.take()).map(|(_, item)| item).collect();
    assert_eq!(served, [3, 2, 4, 1]);
}

#[test]
fn a_full_queue_does_what_the_message_says() {
    let mut queue = queue(2);
    queue.push(ticket("droppable", Lane::Normal, BackpressureStrategy::DropOldest), 1);
    queue.push(ticket("kept", Lane::Normal, BackpressureStrategy::NeverDrop), 2);
    assert_eq!(queue.push(ticket("asked", Lane::Normal, BackpressureStrategy::Reject), 3), Admission::Refused(3));
    assert_eq!(queue.push(ticket("droppable", Lane::Normal, BackpressureStrategy::DropOldest), 4), Admission::Displaced(1));
    assert_eq!(queue.push(ticket("kept", Lane::Normal, BackpressureStrategy::NeverDrop), 5), Admission::Queued);
    let figures = queue.figures();
    assert_eq!((figures.depth, figures.high_water, figures.dropped, figures.refused), (3, 3, 1, 1));
}

#[test]
fn what_may_not_be_dropped_never_is() {
    let mut queue = queue(1);
    queue.push(ticket("kept", Lane::Normal, BackpressureStrategy::NeverDrop), 1);
    assert_eq!(queue.push(ticket("droppable", Lane::Normal, BackpressureStrategy::DropOldest), 2), Admission::Refused(2));
    assert_eq!(queue.take().map(|(_, item)| item), Some(1));
}

#[test]
fn a_newer_one_replaces_what_coalesces() {
    let mut queue = queue(10);
    queue.push(ticket("view", Lane::Normal, BackpressureStrategy::Coalesce), 1);
    assert_eq!(queue.push(ticket("view", Lane::Normal, BackpressureStrategy::Coalesce), 2), Admission::Displaced(1));
    assert_eq!(queue.figures().depth, 1);
}

#[test]
fn memory_is_bounded_even_for_what_is_never_dropped() {
    let mut queue = queue(1);
    let admitted = (0..100)
        .filter(|item| queue.push(ticket("kept", Lane::Normal, BackpressureStrategy::NeverDrop), *item) == Admission::Queued)
        .count();
    assert_eq!(admitted, 10, "1,000 bytes hold ten bodies of 100");
}

#[test]
fn there_is_much_room_below_an_eighth_of_either_bound() {
    let mut queue = Queue::new(MailboxConfig { capacity: 16, max_bytes: 10_000 });
    for item in 0..3 {
        assert_eq!(queue.has_much_room(1, 100), item < 2, "{item} of 16 wait");
        queue.push(ticket("a", Lane::Normal, BackpressureStrategy::Reject), item);
    }
    queue.take();
    queue.take();
    assert!(queue.has_much_room(1, 1_150) && !queue.has_much_room(2, 200) && !queue.has_much_room(1, 1_151));
    queue.push(Ticket { bytes: 1_200, ..ticket("large", Lane::Normal, BackpressureStrategy::Reject) }, 4);
    assert!(!queue.has_much_room(0, 0), "1,300 of 10,000 bytes wait");
}

fn shared(capacity: usize) -> Arc<Shared<u32>> {
    Shared::new(MailboxConfig { capacity, max_bytes: 100_000 })
}

fn push_all(mailbox: &Shared<u32>, ticket: &Ticket, items: std::ops::Range<u32>) -> Vec<Admission<u32>> {
    mailbox.push_all(items.map(|item| (ticket.clone(), item)))
}

fn next(mailbox: &Shared<u32>) -> Option<u32> {
    mailbox.next().ok().map(|(_, item)| item)
}

#[test]
fn what_the_executor_has_in_hand_is_seen_to_wait() {
    let mailbox = shared(100);
    push_all(&mailbox, &ticket("a", Lane::Normal, BackpressureStrategy::Reject), 0..5);
    assert_eq!(next(&mailbox), Some(0));
    for _look in 0..2 {
        let queue = mailbox.lock();
        assert_eq!(queue.iter().map(|(_, item)| *item).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let figures = queue.figures();
        assert_eq!((figures.depth, figures.bytes, figures.high_water, figures.by_name["a"]), (4, 400, 5, 4));
    }
    assert_eq!((next(&mailbox), next(&mailbox)), (Some(1), Some(2)), "a look changes nothing");
}

#[test]
fn control_goes_before_what_the_executor_has_in_hand() {
    let mailbox = shared(100);
    push_all(&mailbox, &ticket("a", Lane::Bulk, BackpressureStrategy::Reject), 0..3);
    assert_eq!(next(&mailbox), Some(0));
    push_all(&mailbox, &ticket("b", Lane::Normal, BackpressureStrategy::Reject), 10..12);
    assert_eq!(next(&mailbox), Some(10));
    push_all(&mailbox, &ticket("c", Lane::Control, BackpressureStrategy::Reject), 20..21);
    let served: Vec<u32> = std::iter::from_fn(|| next(&mailbox)).collect();
    assert_eq!(served, [20, 11, 1, 2]);
}

#[test]
fn a_freeze_holds_what_the_executor_has_in_hand() {
    let (mailbox, now) = (shared(100), tokio::time::Instant::now());
    push_all(&mailbox, &ticket("a", Lane::Normal, BackpressureStrategy::Reject), 0..4);
    assert_eq!(next(&mailbox), Some(0));
    mailbox.turn(|valve| valve.freeze("ada", now)).unwrap();
    assert_eq!(next(&mailbox), None);
    assert_eq!(mailbox.lock().figures().depth, 3);
    mailbox.turn(|valve| valve.step(now)).unwrap();
    assert_eq!((next(&mailbox), next(&mailbox)), (Some(1), None), "a step is one message");
    mailbox.turn(|valve| valve.thaw());
    assert_eq!((next(&mailbox), next(&mailbox), next(&mailbox)), (Some(2), Some(3), None));
}

#[derive(Clone, Debug)]
enum Act {
    Push(Vec<(usize, usize, usize)>),
    Take,
    Look,
}

fn act() -> impl Strategy<Value = Act> {
    let pushed = proptest::collection::vec((0..3usize, 0..4usize, 1..300usize), 1..6);
    prop_oneof![2 => pushed.prop_map(Act::Push), 4 => Just(Act::Take), 1 => Just(Act::Look)]
}

proptest! {
    /// Whatever is pushed and taken: the mailbox does what its queue alone would do.
    #[test]
    fn what_is_in_hand_makes_no_difference(acts in proptest::collection::vec(act(), 1..60), capacity in 1..12usize) {
        const LANES: [Lane; 3] = [Lane::Control, Lane::Normal, Lane::Bulk];
        const POLICIES: [BackpressureStrategy; 4] = [
            BackpressureStrategy::Reject,
            BackpressureStrategy::DropOldest,
            BackpressureStrategy::Coalesce,
            BackpressureStrategy::NeverDrop,
        ];
        const NAMES: [&str; 4] = ["reject", "drop", "coalesce", "never"];
        let config = MailboxConfig { capacity, max_bytes: 1_000 };
        let (mut alone, mailbox, mut item) = (Queue::new(config), Shared::new(config), 0u32);
        for act in acts {
            match act {
                Act::Push(pushed) => {
                    let mut messages = Vec::new();
                    for (lane, policy, bytes) in pushed {
                        item += 1;
                        messages.push((Ticket { bytes, ..ticket(NAMES[policy], LANES[lane], POLICIES[policy]) }, item));
                    }
                    let expected = messages.clone().into_iter().map(|(ticket, item)| alone.push(ticket, item));
                    let expected: Vec<_> = expected.filter(|admission| *admission != Admission::Queued).collect();
                    prop_assert_eq!(mailbox.push_all(messages.into_iter()), expected);
                }
                Act::Take => prop_assert_eq!(next(&mailbox), alone.take().map(|(_, item)| item)),
                Act::Look => {
                    let (expected, found) = (alone.figures(), mailbox.lock().figures());
                    prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
                }
            }
        }
    }
}
