//! Pruning: bounded, never of what is needed, and said to whoever asks for what is gone.

use alys_proto::storage::{GetBlocks, GetLedger, WorkSettled, ledger_fact};
use alys_proto::{Refused, storage};
use tempfile::TempDir;

use super::kit::{self, CHAIN, Rig, block, config, hash};
use super::real;
use crate::config::{Config, Prune};
use crate::core::commit::ChainId;
use crate::core::form::Hash;
use crate::core::limits::{MAX_PRUNED_PER_COMMIT, MIN_KEEP};
use crate::io::{ReadRefusal, check};

fn keeping(folder: &TempDir, keep: u64) -> Config {
    Config { prune: Prune { keep: Some(keep) }, ..config(folder) }
}

fn floor(rig: &Rig) -> u64 {
    rig.store.condition().unwrap().pruned_below
}

#[test]
fn old_blocks_go_with_new_ones_and_what_is_left_is_whole() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::of(&keeping(&folder, 10), ChainId::of(&real::spec())).unwrap();
    for request in real::chain(25) {
        rig.commit(request).unwrap();
    }
    assert_eq!(floor(&rig), 16);
    let served = rig.store.blocks(GetBlocks { from_height: 16, limit: 100 }).unwrap().unwrap().blocks;
    assert_eq!(served.len(), 10);
    for asked in [0, 1, 15] {
        let refused = rig.store.blocks(GetBlocks { from_height: asked, limit: 1 }).unwrap();
        assert_eq!(refused, Err(ReadRefusal::Pruned { asked: asked.max(1), floor: 16 }));
    }
    let first: [u8; 32] = real::chain(1)[0].block.as_ref().unwrap().hash.as_slice().try_into().unwrap();
    assert_eq!(rig.store.block_by_hash(Hash(first)).unwrap(), Err(ReadRefusal::Pruned { asked: 1, floor: 16 }));
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 25, "chain and bridge start from facts");
    let again = rig.commit(real::chain(1).pop().unwrap()).unwrap();
    assert_eq!(again.height, 25, "a pruned block is known as committed");
    rig.close();
    let report = check(&folder.path().join("storage/alys.redb"), &real::spec(), |_, _| {}).unwrap();
    assert!(report.is_whole() && report.pruned_below == 16 && report.blocks == 25, "{report:?}");
}

#[test]
fn a_fork_below_the_floor_is_still_a_conflict() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&keeping(&folder, 5));
    for height in 1..=20 {
        rig.commit(block(height, 0xaa)).unwrap();
    }
    let refused = rig.commit(block(3, 0xbb)).unwrap_err().to_string();
    assert!(refused.contains("CONFLICT"), "{refused}");
}

#[test]
fn a_commit_prunes_a_few_blocks_only() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    for height in 1..=60 {
        rig.commit(block(height, 0xaa)).unwrap();
    }
    assert_eq!(floor(&rig), 0, "off by default");
    rig.close();
    let rig = Rig::open(&keeping(&folder, 10));
    let mut expected = 1;
    for height in 61..=65 {
        rig.commit(block(height, 0xaa)).unwrap();
        expected = (expected + MAX_PRUNED_PER_COMMIT).min(height - 9);
        assert_eq!(floor(&rig), expected, "after block {height}");
    }
    assert_eq!(expected, 56, "and has caught up");
}

#[test]
fn many_bytes_are_pruned_by_several_commits() {
    let folder = TempDir::new().unwrap();
    let large = |height| {
        let mut request = block(height, 0xaa);
        request.block.as_mut().unwrap().block = vec![7; 3 << 20];
        request
    };
    let rig = Rig::open(&config(&folder));
    for height in 1..=8 {
        rig.commit(large(height)).unwrap();
    }
    rig.close();
    let rig = Rig::open(&keeping(&folder, 2));
    let mut floors = Vec::new();
    for height in 9..=13 {
        rig.commit(block(height, 0xaa)).unwrap();
        floors.push(floor(&rig));
    }
    assert_eq!(floors, [3, 5, 7, 9, 12], "two of 3 MiB at a time; the small ones behind them at once");
}

#[test]
fn what_work_has_not_settled_stays() {
    let folder = TempDir::new().unwrap();
    let mined = ChainId { has_work: true, ..CHAIN };
    let rig = Rig::of(&keeping(&folder, 5), mined).unwrap();
    let settling = |height: u64, end_height| {
        let mut request = block(height, 0xaa);
        let settled = WorkSettled { end_height, end_hash: hash(end_height, 0xaa), ..WorkSettled::default() };
        let fact = storage::LedgerFact { height, fact: Some(ledger_fact::Fact::WorkSettled(settled)) };
        request.ledger.as_mut().unwrap().facts.push(fact);
        request
    };
    for height in 1..=20 {
        rig.commit(block(height, 0xaa)).unwrap();
    }
    assert_eq!(floor(&rig), 0, "chain needs the unsettled ones at its next start");
    rig.commit(settling(21, 9)).unwrap();
    assert_eq!(floor(&rig), 10);
    rig.close();
    let rig = Rig::of(&keeping(&folder, 5), mined).unwrap();
    rig.commit(settling(22, 21)).unwrap();
    assert_eq!(floor(&rig), 18, "five are kept in any case");
}

#[test]
fn a_pruned_backup_is_restored_only_beside_its_engine() {
    use crate::core::backup::Misfit;
    use crate::io::{How, Meter, RestoreFault, restore};
    let folder = TempDir::new().unwrap();
    let rig = Rig::of(&keeping(&folder, 5), ChainId::of(&real::spec())).unwrap();
    for request in real::chain(9) {
        rig.commit(request).unwrap();
    }
    let backup = folder.path().join("backup");
    let manifest = rig.store.backup(&backup, &Meter::default()).unwrap();
    assert_eq!(manifest.pruned_below, 5);
    let to = TempDir::new().unwrap();
    let refused = restore(&backup, &config(&to), &real::spec(), How::default(), |_, _| {}).unwrap_err();
    assert!(matches!(refused, RestoreFault::Misfit(Misfit::Pruned(5))), "{refused}");
    restore(&backup, &config(&to), &real::spec(), How { keep_engine: true, ..How::default() }, |_, _| {}).unwrap();
}

#[tokio::test]
async fn who_asks_the_role_for_pruned_blocks_is_told_from_where_it_serves() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::of(&keeping(&folder, 2), ChainId::of(&super::actor::spec())).unwrap();
    for height in 1..=6 {
        let request = if height == 1 { super::actor::first() } else { kit::block(height, 0xaa) };
        rig = tokio::task::spawn_blocking(move || {
            rig.commit(request).unwrap();
            rig
        })
        .await
        .unwrap();
    }
    rig.close();
    let actor = crate::StorageActor::new(keeping(&folder, MIN_KEEP), &super::actor::spec()).unwrap();
    let storage = alys_cluster::testing::start(actor);
    let refused = storage.remote.ask(GetBlocks { from_height: 1, limit: 1 }).await.unwrap_err();
    assert!(matches!(&refused, Refused::Failed(text) if text.contains("serves blocks from 5 on")), "{refused}");
    storage.stop().await.unwrap();
}

#[test]
fn keeping_too_little_is_a_configuration_error() {
    let folder = TempDir::new().unwrap();
    for (keep, fits) in [(MIN_KEEP - 1, false), (MIN_KEEP, true)] {
        let made = crate::StorageActor::new(keeping(&folder, keep), &super::actor::spec());
        assert_eq!(made.is_ok(), fits, "{keep}");
    }
}
