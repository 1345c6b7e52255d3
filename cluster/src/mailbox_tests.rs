use std::time::Instant;

use alys_proto::{BackpressureStrategy, Lane};

use super::{Admission, Queue, Ticket};
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
