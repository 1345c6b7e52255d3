//! Dead letters on a real database, through the role's messages.

use alys_cluster::Identity;
use alys_cluster::testing::{self, Started};
use alys_proto::storage::dead_letter::{Reason, State};
use alys_proto::storage::{
    AddDeadLetter, DeadLetter, Death, DropDeadLetter, GetDeadLetter, ListDeadLetters, ReportDeath, RequeueDeadLetter,
    TakeRequeued,
};
use alys_proto::{Refused, Role};
use tempfile::TempDir;

use super::actor::spec;
use super::kit::config;
use crate::StorageActor;

fn start(folder: &TempDir) -> Started<StorageActor> {
    testing::start(StorageActor::new(config(folder), &spec()).unwrap())
}

fn letter(body: &[u8]) -> DeadLetter {
    DeadLetter {
        reason: Reason::KilledItsHandler.into(),
        explanation: "a panic".into(),
        receiver: Role::Bridge.into(),
        service: "bridge".into(),
        method: "BurnEventDetected".into(),
        body: body.to_vec(),
        died_unix_millis: 5,
        ..DeadLetter::default()
    }
}

async fn dies(storage: &Started<StorageActor>, letter: DeadLetter) -> (u32, bool) {
    let Death { deaths, dead } = storage.remote.ask(ReportDeath { letter: Some(letter) }).await.unwrap();
    (deaths, dead)
}

#[tokio::test]
async fn the_third_death_of_a_message_makes_it_a_dead_letter() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    assert_eq!(dies(&storage, letter(b"poison")).await, (1, false));
    assert_eq!(dies(&storage, letter(b"poison")).await, (2, false));
    assert_eq!(dies(&storage, letter(b"another")).await, (1, false));
    assert!(storage.remote.ask(ListDeadLetters::default()).await.unwrap().letters.is_empty());
    storage.stop().await.unwrap();

    let storage = start(&folder);
    assert_eq!(dies(&storage, letter(b"poison")).await, (3, true), "deaths are remembered on disk");
    let listed = storage.remote.ask(ListDeadLetters::default()).await.unwrap();
    assert_eq!((listed.letters.len(), listed.fallen_out), (1, 0));
    let shown = &listed.letters[0];
    assert_eq!((shown.body.len(), shown.body_bytes, shown.deaths, shown.state()), (0, 6, 3, State::Dead));
    let whole = storage.remote.ask(GetDeadLetter { id: shown.id }).await.unwrap();
    assert_eq!((whole.body.as_slice(), whole.explanation.as_str()), (b"poison".as_slice(), "a panic"));
    let others = ListDeadLetters { receiver: Role::Chain.into(), limit: 0 };
    assert!(storage.remote.ask(others).await.unwrap().letters.is_empty());
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn a_requeued_letter_goes_to_its_receiver_until_it_is_handled_or_dies_again() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    storage.remote.ask(AddDeadLetter { letter: Some(letter(b"poison")) }).await.unwrap();
    let id = storage.remote.ask(ListDeadLetters::default()).await.unwrap().letters[0].id;
    let bridge = storage.remote_from(&Identity::new(Role::Bridge, "bridge"), 0);
    let waiting = bridge.ask(TakeRequeued {}).await.unwrap();
    assert_eq!((waiting.letters.len(), waiting.dead.len()), (0, 1), "the receiver learns what it must not take");

    let requeued = storage.remote.ask(RequeueDeadLetter { id }).await.unwrap();
    assert_eq!((requeued.state(), requeued.requeued), (State::Requeued, 1));
    let chain = storage.remote_from(&Identity::new(Role::Chain, "chain"), 0);
    assert!(chain.ask(TakeRequeued {}).await.unwrap().letters.is_empty(), "it is not chain's");
    let taken = bridge.ask(TakeRequeued {}).await.unwrap();
    assert_eq!((taken.letters[0].body.as_slice(), taken.dead.len()), (b"poison".as_slice(), 0));

    assert_eq!(dies(&storage, DeadLetter { id, ..letter(b"poison") }).await, (1, true), "it needs no third time");
    assert!(bridge.ask(TakeRequeued {}).await.unwrap().letters.is_empty());
    storage.remote.ask(RequeueDeadLetter { id }).await.unwrap();
    bridge.ask(DropDeadLetter { id }).await.unwrap();
    assert!(storage.remote.ask(ListDeadLetters::default()).await.unwrap().letters.is_empty());
    let gone = storage.remote.ask(RequeueDeadLetter { id }).await.unwrap_err();
    assert_eq!(gone, Refused::Failed(format!("there is no dead letter {id}")));
    let gone = storage.remote.ask(GetDeadLetter { id }).await.unwrap_err();
    assert_eq!(gone, Refused::Failed(format!("there is no dead letter {id}")));
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn the_oldest_letters_fall_out_and_are_counted() {
    const BODY: usize = 15 << 20;
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    for index in 0..6u8 {
        storage.remote.ask(AddDeadLetter { letter: Some(letter(&vec![index; BODY])) }).await.unwrap();
    }
    let listed = storage.remote.ask(ListDeadLetters::default()).await.unwrap();
    assert_eq!((listed.letters.len(), listed.fallen_out), (4, 2), "64 MiB hold four");
    assert_eq!(listed.letters[0].id, 6, "newest first");
    let malformed = storage.remote.ask(AddDeadLetter::default()).await.unwrap_err();
    assert!(matches!(malformed, Refused::Malformed(_)), "{malformed}");
    storage.stop().await.unwrap();
}
