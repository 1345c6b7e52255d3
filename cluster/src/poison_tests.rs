//! The guard against a storage that a test plays.
#![allow(clippy::unwrap_used, clippy::panic)]

use alys_proto::bridge;
use alys_proto::storage::{DeadLetters, Death};
use bytes::Bytes;

use super::*;
use crate::testing::{Probe, probe};

fn guard() -> (Arc<Guard>, Probe<storage::Inbox>) {
    let (remote, storage) = probe();
    (Guard::new::<bridge::Inbox>(Role::Bridge, Some(remote)), storage)
}

fn seen(body: &[u8], letter: u64) -> Envelope {
    let method = bridge::Inbox::method("BitcoinTransactionSeen").unwrap();
    let content = Content { method, header: Header::default(), body: Bytes::copy_from_slice(body) };
    Envelope { content: Packed::one(content), answer: Answer::Told(None), letter }
}

fn in_hand(letter: u64) -> Option<InFlight> {
    let content = seen(b"poison", letter).content;
    Some(InFlight { name: content.method.name, since: std::time::Instant::now(), content: Some(content), letter })
}

async fn death(storage: &mut Probe<storage::Inbox>) -> DeadLetter {
    let storage::Inbox::ReportDeath(request, reply) = storage.next().await else { panic!("not a death") };
    reply.send(Death { deaths: 1, dead: false });
    request.letter.unwrap()
}

#[tokio::test]
async fn a_panic_and_a_broken_promise_are_reported_with_their_message_and_nothing_else_is() {
    let (guard, mut storage) = guard();
    let broken = |error| -> Ended<()> { Ok(Err(error)) };
    let panicked = blame::<()>(&Err(Box::new("index out of bounds")));
    let (_, letter) = tokio::join!(guard.report(panicked, in_hand(4)), death(&mut storage));
    assert_eq!((letter.id, letter.body.as_slice(), letter.method.as_str()), (4, b"poison".as_slice(), "BitcoinTransactionSeen"));
    assert_eq!((letter.receiver(), letter.explanation.as_str()), (Role::Bridge, "panicked: index out of bounds"));
    let ended = broken(ActorError::Broken("a promise".into()));
    let (_, letter) = tokio::join!(guard.report(blame(&ended), in_hand(0)), death(&mut storage));
    assert_eq!(letter.explanation, "broken: a promise");

    for innocent in [ActorError::Temporary, ActorError::Network, ActorError::Configuration, ActorError::Fenced] {
        guard.report(blame(&broken(innocent("it".into()))), in_hand(0)).await;
    }
    let own = InFlight::own("local", std::time::Instant::now());
    guard.report(blame(&broken(ActorError::Broken("a timer, not a message".into()))), Some(own)).await;
    guard.report(blame(&ended), None).await;
    assert!(storage.try_next().is_none(), "an innocent message was reported");
}

#[tokio::test]
async fn a_dead_letter_is_refused_until_it_is_requeued_and_leaves_when_it_is_handled() {
    let (guard, mut storage) = guard();
    let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let dead = wire::digest("bridge", "BitcoinTransactionSeen", b"poison").to_vec();
    let starting = tokio::spawn({
        let guard = guard.clone();
        async move { guard.start::<bridge::Inbox>(move |envelope| drop(sender.send(envelope))).await }
    });
    let storage::Inbox::TakeRequeued(_, reply) = storage.next().await else { panic!("not a question for letters") };
    reply.send(DeadLetters { dead: vec![dead], ..DeadLetters::default() });
    starting.await.unwrap();
    assert!(matches!(guard.check(&seen(b"poison", 0)), Err(Refused::Failed(_))));
    assert_eq!(guard.check(&seen(b"other", 0)), Ok(()));

    let letter = DeadLetter { id: 4, method: "BitcoinTransactionSeen".into(), body: b"poison".to_vec(), ..DeadLetter::default() };
    for _ in 0..2 {
        let storage::Inbox::TakeRequeued(_, reply) = storage.next().await else { panic!("not a question for letters") };
        reply.send(DeadLetters { letters: vec![letter.clone()], ..DeadLetters::default() });
    }
    let envelope = taken.recv().await.unwrap();
    assert_eq!((envelope.letter, &*envelope.content.body), (4, b"poison".as_slice()));
    assert_eq!(guard.check(&envelope), Ok(()));
    assert!(taken.try_recv().is_err(), "taken twice");
    guard.handled(envelope.letter, envelope.content.method.name);
    loop {
        match storage.next().await {
            storage::Inbox::DropDeadLetter(request, _) => break assert_eq!(request.id, 4),
            storage::Inbox::TakeRequeued(_, reply) => reply.send(DeadLetters::default()),
            _ => panic!("an unexpected message"),
        }
    }
}
