//! The database: what was stored is found, what was damaged or belongs elsewhere is noticed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use alloy_primitives::B256;
use alys_peg::PayoutRecorded;
use alys_proto::bridge::InputSignature;
use alys_proto::governance::Signatures;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::store::{Store, StoreError, signed_payout};
use crate::core::replay::{Head, Replay};
use crate::core::support::World;

fn genesis(world: &World) -> Head {
    *Replay::new(world.spec.clone()).unwrap().head()
}

/// A database that has followed the world's chain.
fn followed(world: &World, folder: &Path) -> Replay {
    let (mut store, found) = Store::open(folder, genesis(world)).unwrap();
    assert!(found.head.is_none() && found.facts.is_empty() && found.signed.is_empty());
    let mut replay = Replay::new(world.spec.clone()).unwrap();
    for block in &world.blocks {
        let facts = replay.apply(block).unwrap();
        store.advance(*replay.head(), &[(block.height, facts)]).unwrap();
    }
    replay
}

fn reopened(world: &World, folder: &Path) -> Result<(Store, super::store::Found), StoreError> {
    Store::open(folder, genesis(world))
}

#[test]
fn progress_and_signatures_survive() {
    let mut world = World::new();
    let request = world.ready_to_sign();
    let folder = tempfile::tempdir().unwrap();
    let replay = followed(&world, folder.path());
    let recorded = PayoutRecorded::try_from(request.payout.as_ref().unwrap()).unwrap();
    let signature = InputSignature { input: 0, public_key: vec![1; 32], signature: vec![2; 64] };
    let signatures = Signatures { payout_txid: vec![3; 32], signatures: vec![signature] };
    reopened(&world, folder.path()).unwrap().0.record_signed(&recorded, &signatures).unwrap();

    let (store, found) = reopened(&world, folder.path()).unwrap();
    let mut restored = Replay::new(world.spec.clone()).unwrap();
    restored.restore(found.head.unwrap(), &found.facts).unwrap();
    assert_eq!((restored.ledger(), restored.head()), (replay.ledger(), replay.head()));
    assert!(found.signed.contains(&recorded.txid()));
    assert!(found.signed.check(&signed_payout(&recorded)).is_ok());
    assert_eq!(store.signatures(&recorded.txid()).unwrap(), Some(signatures));
}

#[test]
fn another_chain_and_a_second_process_are_refused() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    followed(&world, folder.path());
    let (mut store, _) = reopened(&world, folder.path()).unwrap();
    store.advance(genesis(&world), &[]).unwrap();
    assert!(matches!(reopened(&world, folder.path()), Err(StoreError::InUse { .. })), "in use");
    drop(store);
    let elsewhere = Head { hash: B256::repeat_byte(9), ..genesis(&world) };
    assert!(matches!(Store::open(folder.path(), elsewhere), Err(StoreError::Foreign { what: "another chain", .. })));
}

#[test]
fn facts_that_were_edited_are_noticed() {
    const FACTS: TableDefinition<u64, &[u8]> = TableDefinition::new("facts");
    let mut world = World::new();
    world.ready_to_sign();
    let edits: [fn(&mut Vec<u8>) -> bool; 2] = [
        |_| false,
        |bytes| {
            bytes.truncate(bytes.len() - 1);
            true
        },
    ];
    for edit in edits {
        let folder = tempfile::tempdir().unwrap();
        followed(&world, folder.path());
        let database = Database::create(folder.path().join("governance.redb")).unwrap();
        let mut bytes = database.begin_read().unwrap().open_table(FACTS).unwrap().get(1).unwrap().unwrap().value().to_vec();
        let write = database.begin_write().unwrap();
        {
            let mut table = write.open_table(FACTS).unwrap();
            assert!(table.first().unwrap().is_some());
            if edit(&mut bytes) {
                table.insert(1, bytes.as_slice()).unwrap();
            } else {
                table.remove(1).unwrap();
            }
        }
        write.commit().unwrap();
        drop(database);
        assert!(matches!(reopened(&world, folder.path()), Err(StoreError::Damaged { .. })));
    }
}
