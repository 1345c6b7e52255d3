//! Outboxes and marks on a real database, through the role's messages.

use alys_cluster::testing::{self, Started};
use alys_cluster::{Identity, Remote};
use alys_proto::storage::{ClearPosted, DeadLetter, GetHandled, GetPosted, Inbox, ListDeadLetters, MarkHandled, PostMessage};
use alys_proto::{Refused, Role};
use tempfile::TempDir;

use super::actor::spec;
use super::kit::config;
use crate::StorageActor;

fn start(folder: &TempDir) -> Started<StorageActor> {
    testing::start(StorageActor::new(config(folder), &spec()).unwrap())
}

fn of(storage: &Started<StorageActor>, role: Role) -> Remote<Inbox> {
    storage.remote_from(&Identity::new(role, role.name()), 0)
}

fn burn(height: u8) -> PostMessage {
    PostMessage {
        receiver: Role::Bridge.into(),
        method: "BurnEventDetected".into(),
        body: vec![height],
        ..PostMessage::default()
    }
}

async fn waiting(sender: &Remote<Inbox>) -> Vec<(u64, Vec<u8>)> {
    let messages = sender.ask(GetPosted {}).await.unwrap().messages;
    messages.into_iter().map(|message| (message.number, message.body)).collect()
}

#[tokio::test]
async fn what_is_posted_waits_over_a_restart_until_it_is_cleared() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let engine = of(&storage, Role::Engine);
    assert_eq!(engine.ask(burn(1)).await.unwrap().number, 1);
    assert_eq!(of(&storage, Role::Stream).ask(burn(1)).await.unwrap().number, 2, "an outbox of its own, numbers for all");
    assert_eq!(engine.ask(burn(2)).await.unwrap().number, 3);
    assert_eq!(engine.ask(burn(1)).await.unwrap().number, 1, "it waits already");
    storage.stop().await.unwrap();

    let storage = start(&folder);
    let engine = of(&storage, Role::Engine);
    assert_eq!(waiting(&engine).await, [(1, vec![1]), (3, vec![2])]);
    engine.ask(ClearPosted { number: 1, dead: None }).await.unwrap();
    engine.ask(ClearPosted { number: 1, dead: None }).await.unwrap();
    assert_eq!(waiting(&engine).await, [(3, vec![2])]);
    assert_eq!(engine.ask(burn(1)).await.unwrap().number, 4, "a number is never used twice");
    assert_eq!(waiting(&of(&storage, Role::Stream)).await, [(2, vec![1])]);
    let malformed = engine.ask(PostMessage::default()).await.unwrap_err();
    assert!(matches!(malformed, Refused::Malformed(_)), "{malformed}");
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn what_nobody_will_handle_becomes_a_dead_letter_in_one_step() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let engine = of(&storage, Role::Engine);
    engine.ask(burn(1)).await.unwrap();
    let dead =
        DeadLetter { service: "bridge".into(), method: "BurnEventDetected".into(), body: vec![1], ..DeadLetter::default() };
    for _ in 0..2 {
        engine.ask(ClearPosted { number: 1, dead: Some(dead.clone()) }).await.unwrap();
    }
    assert!(waiting(&engine).await.is_empty());
    assert_eq!(engine.ask(ListDeadLetters::default()).await.unwrap().letters.len(), 1, "cleared again is no second letter");
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn marks_survive_a_restart_and_never_go_back() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let bridge = of(&storage, Role::Bridge);
    for number in [5, 3] {
        bridge.ask(MarkHandled { sender: Role::Engine.into(), number }).await.unwrap();
    }
    storage.stop().await.unwrap();
    let storage = start(&folder);
    let marks = of(&storage, Role::Bridge).ask(GetHandled {}).await.unwrap().marks;
    assert_eq!(marks, [MarkHandled { sender: Role::Engine.into(), number: 5 }]);
    assert!(of(&storage, Role::Stream).ask(GetHandled {}).await.unwrap().marks.is_empty());
    storage.stop().await.unwrap();
}
