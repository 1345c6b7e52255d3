//! The table, and messages posted, delivered and handled while every process dies at any step.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use alys_cluster::delivery::{Marks, Next, after};
use alys_proto::{Refused, Role};
use proptest::prelude::*;

use super::*;

fn message(body: &[u8]) -> PostMessage {
    PostMessage {
        receiver: Role::Bridge.into(),
        method: "BurnEventDetected".into(),
        body: body.to_vec(),
        ..PostMessage::default()
    }
}

fn posted(number: u64, body: &[u8]) -> PostedMessage {
    let PostMessage { receiver, method, body, traceparent } = message(body);
    PostedMessage { number, receiver, method, body, traceparent }
}

#[test]
fn every_row_of_the_table() {
    let waiting = [posted(3, b"a"), posted(4, b"b")];
    assert_eq!(judge(&waiting, &message(b"b")), Verdict::Waits(4));
    assert_eq!(judge(&waiting, &message(b"c")), Verdict::Keep);
    let to_another = PostMessage { receiver: Role::Stream.into(), ..message(b"b") };
    assert_eq!(judge(&waiting, &to_another), Verdict::Keep);
    let many: Vec<_> = (0..1_000).map(|number| posted(number, &number.to_be_bytes())).collect();
    assert_eq!(judge(&many[1..], &message(b"c")), Verdict::Keep);
    assert_eq!(judge(&many, &message(b"c")), Verdict::Full);
    assert_eq!(judge(&many, &message(&7u64.to_be_bytes())), Verdict::Waits(7), "what waits is no more to keep");
    assert_eq!(judge(&[posted(1, &vec![0; MAX_POSTED_BYTES])], &message(b"c")), Verdict::Full);
}

/// One step of somebody; what is not written down on disk goes with a crash.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The sender posts its next message; the answer may be lost.
    Post {
        answered: bool,
    },
    /// The sender sends the first that waits; the message may be lost.
    Send {
        arrives: bool,
    },
    /// The receiver handles what it has.
    Handle,
    /// Its mark reaches the disk.
    Mark,
    /// Its acknowledgement reaches the sender, or is lost.
    Acknowledge {
        arrives: bool,
    },
    /// The sender's clearing reaches the disk.
    Clear,
    SenderDies,
    ReceiverDies,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(|answered| Step::Post { answered }),
        6 => prop::bool::weighted(0.8).prop_map(|arrives| Step::Send { arrives }),
        6 => Just(Step::Handle),
        6 => Just(Step::Mark),
        6 => prop::bool::weighted(0.8).prop_map(|arrives| Step::Acknowledge { arrives }),
        6 => Just(Step::Clear),
        1 => Just(Step::SenderDies),
        1 => Just(Step::ReceiverDies),
    ]
}

#[derive(Default)]
struct World {
    // On disk.
    outbox: Vec<PostedMessage>,
    next_number: u64,
    marks_on_disk: Marks,
    // In the sender.
    next_body: u64,
    in_flight: Option<u64>,
    acknowledged: Option<u64>,
    // In the receiver.
    marks: Marks,
    arrived: Option<PostedMessage>,
    to_mark: Option<u64>,
    to_acknowledge: Option<u64>,
    // What an observer sees.
    posted: Vec<u64>,
    handled: BTreeMap<u64, u64>,
    excused: BTreeMap<u64, u64>,
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Post { answered } => {
                let post = message(&self.next_body.to_be_bytes());
                match judge(&self.outbox, &post) {
                    Verdict::Keep => {
                        self.next_number += 1;
                        self.outbox.push(posted(self.next_number, &post.body));
                    }
                    Verdict::Waits(_) => {}
                    Verdict::Full => return,
                }
                // Without an answer the sender does not know, and in this world lets it be.
                if answered {
                    self.posted.push(self.next_body);
                }
                self.next_body += 1;
            }
            Step::Send { arrives } => {
                let Some(first) = self.outbox.first() else { return };
                self.in_flight = Some(first.number);
                if arrives && self.to_mark.is_none() {
                    self.arrived = Some(first.clone());
                }
            }
            Step::Handle => {
                let Some(message) = self.arrived.take() else { return };
                if !self.marks.knows(Role::Engine, message.number) {
                    let body = u64::from_be_bytes(message.body.try_into().unwrap());
                    *self.handled.entry(body).or_default() += 1;
                    self.marks.set(Role::Engine, message.number);
                }
                self.to_mark = Some(message.number);
            }
            Step::Mark => {
                let Some(number) = self.to_mark.take() else { return };
                self.marks_on_disk.set(Role::Engine, number);
                self.to_acknowledge = Some(number);
            }
            Step::Acknowledge { arrives } => {
                let number = self.to_acknowledge.take();
                let answer = if arrives && number.is_some() && number == self.in_flight {
                    Ok(())
                } else {
                    Err(Refused::TooLate(String::new()))
                };
                match after(answer) {
                    Next::Clear => self.acknowledged = self.in_flight.take(),
                    Next::Again => {}
                    Next::Dead(refused) => panic!("{refused}"),
                }
            }
            Step::Clear => {
                if let Some(number) = self.acknowledged.take() {
                    self.outbox.retain(|message| message.number != number);
                }
            }
            Step::SenderDies => (self.in_flight, self.acknowledged) = (None, None),
            Step::ReceiverDies => {
                // The one gap: its effect is there, its mark is not. Such a message is handled once more.
                if let Some(number) = self.to_mark.take().filter(|number| !self.marks_on_disk.knows(Role::Engine, *number)) {
                    let message = self.outbox.iter().find(|message| message.number == number).unwrap();
                    *self.excused.entry(u64::from_be_bytes(message.body.clone().try_into().unwrap())).or_default() += 1;
                }
                (self.arrived, self.to_acknowledge) = (None, None);
                self.marks = self.marks_on_disk.clone();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_dies_all_that_was_posted_is_handled_and_once(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        // Everybody lives on: what waits is delivered.
        for _ in 0..=2 * world.outbox.len() + 2 {
            for step in [Step::Send { arrives: true }, Step::Handle, Step::Mark, Step::Acknowledge { arrives: true }, Step::Clear] {
                world.take(step);
            }
        }
        prop_assert!(world.outbox.is_empty(), "{} messages are stuck", world.outbox.len());
        for body in &world.posted {
            prop_assert!(world.handled.contains_key(body), "message {body} was acknowledged to its poster and lost");
        }
        for (body, times) in &world.handled {
            let excused = world.excused.get(body).copied().unwrap_or(0);
            prop_assert!(*times <= 1 + excused, "message {body} was handled {times} times, {excused} of them between effect and mark");
        }
    }
}
