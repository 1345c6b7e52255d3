//! The role in its shell: messages in, answers out.

use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, testing};
use alys_proto::Refused;
use alys_proto::storage::backup::State;
use alys_proto::storage::{
    AppendWal, CommitBlock, Document, GetBackup, GetBlockByHash, GetBlocks, GetCondition, GetDocuments, GetHead, GetLedger,
    GetWal, PutDocuments, StartBackup,
};
use tempfile::TempDir;

use super::kit::{block, config, hash};
use crate::StorageActor;

pub(super) use alys_blocks::testing::spec;

pub(super) fn first() -> CommitBlock {
    CommitBlock { parent_hash: spec().genesis_hash().to_vec(), ..block(1, 0xaa) }
}

#[tokio::test]
async fn every_message_is_answered_and_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let storage = testing::start(StorageActor::new(config(&folder), &spec()).unwrap());
    let remote = storage.remote.clone();
    assert_eq!(remote.ask(GetHead {}).await.unwrap().height, 0);
    assert_eq!(remote.ask(first()).await.unwrap().height, 1);
    let document = Document { owner: "bridge".into(), key: "cursor".into(), value: vec![1] };
    remote.ask(PutDocuments { documents: vec![document] }).await.unwrap();
    remote.ask(AppendWal { height: 2, entries: vec![vec![9]] }).await.unwrap();
    drop(storage.stop().await.unwrap());

    let storage = testing::start(StorageActor::new(config(&folder), &spec()).unwrap());
    let remote = storage.remote.clone();
    assert_eq!(remote.ask(GetHead {}).await.unwrap().height, 1);
    assert_eq!(remote.ask(GetBlocks { from_height: 1, limit: 9 }).await.unwrap().blocks.len(), 1);
    assert_eq!(remote.ask(GetBlockByHash { hash: hash(1, 0xaa) }).await.unwrap().blocks.len(), 1);
    assert_eq!(remote.ask(GetLedger::default()).await.unwrap().facts.len(), 2);
    assert_eq!(remote.ask(GetWal { height: 2, ..GetWal::default() }).await.unwrap().entries, [vec![9]]);
    let documents = remote.ask(GetDocuments { owner: "bridge".into(), prefix: String::new() }).await.unwrap().documents;
    assert_eq!(documents.len(), 1);
    let malformed = remote.ask(GetBlockByHash { hash: vec![1] }).await.unwrap_err();
    assert!(matches!(malformed, Refused::Malformed(_)), "{malformed}");
    let refused = remote.ask(block(5, 0xaa)).await.unwrap_err();
    assert!(matches!(refused, Refused::Failed(_)), "{refused}");
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn a_backup_is_made_while_the_role_works_and_one_at_a_time() {
    let folder = TempDir::new().unwrap();
    let storage = testing::start(StorageActor::new(config(&folder), &spec()).unwrap());
    let remote = storage.remote.clone();
    assert_eq!(remote.ask(GetBackup {}).await.unwrap().state(), State::Unspecified);
    remote.ask(first()).await.unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let refused = remote.ask(StartBackup { folder: "relative".into() }).await.unwrap_err();
    assert!(matches!(refused, Refused::Failed(_)), "{refused}");
    remote.ask(StartBackup { folder: place("one") }).await.unwrap();
    remote.ask(AppendWal { height: 2, entries: vec![vec![9]] }).await.unwrap();
    let done = loop {
        let backup = remote.ask(GetBackup {}).await.unwrap();
        if backup.state() != State::Running {
            break backup;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((done.state(), done.folder), (State::Done, place("one")), "{}", done.failure);
    let manifest: crate::Manifest = serde_json::from_str(&done.manifest).unwrap();
    assert_eq!((manifest.head_height, done.rows), (1, done.total_rows));
    let condition = remote.ask(GetCondition {}).await.unwrap();
    assert_eq!((condition.schema, condition.votes_lost, condition.pruned_below), (2, false, 0));
    remote.ask(StartBackup { folder: place("two") }).await.unwrap();
    storage.stop().await.unwrap();
    assert!(!folder.path().join("two.unfinished").exists(), "a role that ends leaves no half one");
}

#[tokio::test]
async fn a_database_of_another_chain_ends_the_role_with_a_configuration_error() {
    let folder = TempDir::new().unwrap();
    let storage = testing::start(StorageActor::new(config(&folder), &spec()).unwrap());
    storage.remote.ask(GetHead {}).await.unwrap();
    storage.stop().await.unwrap();
    let other = ChainSpec { chain_id: 1, ..spec() };
    let storage = testing::start(StorageActor::new(config(&folder), &other).unwrap());
    let Err(error) = storage.stop().await else { panic!("it started on another chain's database") };
    assert!(matches!(error, ActorError::Configuration(_)), "{error}");
}

#[test]
fn no_readers_is_a_configuration_error() {
    let folder = TempDir::new().unwrap();
    let config = crate::Config { max_reads: 0, ..config(&folder) };
    assert!(matches!(StorageActor::new(config, &spec()), Err(ActorError::Configuration(_))));
}
