//! Blocks: what may become the head, and that head, block and ledger are one.

use std::sync::atomic::Ordering;

use alys_proto::Message as _;
use alys_proto::storage::{GetBlocks, GetLedger, Head};
use tempfile::TempDir;

use super::kit::{Rig, block, chain, config, hash};
use crate::core::form::Hash;

#[test]
fn a_chain_is_committed_and_read_back() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    assert_eq!(rig.store.head().unwrap(), Head::default(), "height 0 and an empty hash before block 1");
    for request in chain(5) {
        let height = request.block.as_ref().unwrap().height;
        assert_eq!(rig.commit(request).unwrap(), Head { height, hash: hash(height, 0xaa) });
    }
    let blocks = rig.store.blocks(GetBlocks { from_height: 2, limit: 3 }).unwrap().unwrap().blocks;
    let expected: Vec<_> = chain(5)[1..4].iter().map(|request| request.block.clone().unwrap()).collect();
    assert_eq!(blocks, expected);
    assert_eq!(rig.store.blocks(GetBlocks { from_height: 0, limit: 100 }).unwrap().unwrap().blocks.len(), 5);
    assert!(rig.store.blocks(GetBlocks { from_height: 6, limit: 1 }).unwrap().unwrap().blocks.is_empty());
    let wanted = Hash(hash(4, 0xaa).try_into().unwrap());
    assert_eq!(rig.store.block_by_hash(wanted).unwrap().unwrap().blocks[0].height, 4);
    assert!(rig.store.block_by_hash(Hash([1; 32])).unwrap().unwrap().blocks.is_empty());
    let ledger = rig.store.ledger(GetLedger::default()).unwrap().unwrap();
    assert_eq!((ledger.height, ledger.facts.len()), (5, 10));
    let facts: Vec<_> = chain(5).into_iter().flat_map(|request| request.ledger.unwrap().facts).collect();
    assert_eq!(ledger.facts, facts, "in the order of the chain");
}

#[test]
fn what_does_not_follow_the_head_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    for request in chain(2) {
        rig.commit(request).unwrap();
    }
    let mut other_parent = block(3, 0xaa);
    other_parent.parent_hash = vec![1; 32];
    let mut zero = block(1, 0xaa);
    zero.block.as_mut().unwrap().height = 0;
    zero.block.as_mut().unwrap().burns.clear();
    zero.ledger = None;
    let table = [
        (block(4, 0xaa), "does not follow"),
        (other_parent, "the parent of block 3"),
        (block(2, 0xbb), "CONFLICT"),
        (zero, "genesis"),
    ];
    for (request, says) in table {
        let refused = rig.commit(request).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(rig.store.head().unwrap().height, 2);
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 4);
    assert_eq!(rig.progress.conflicts.load(Ordering::Relaxed), 1);
    rig.commit(block(3, 0xaa)).unwrap();
}

#[test]
fn the_first_block_must_build_on_genesis() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let mut request = block(1, 0xaa);
    request.parent_hash = vec![0; 32];
    assert!(rig.commit(request).unwrap_err().to_string().contains("the parent of block 1"));
}

#[test]
fn the_same_block_again_is_done_with_the_present_head() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    for request in chain(3) {
        rig.commit(request).unwrap();
    }
    assert_eq!(rig.commit(block(2, 0xaa)).unwrap().height, 3);
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 6, "facts are not doubled");
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let folder = TempDir::new().unwrap();
    let live = Rig::open(&config(&folder));
    for request in chain(3) {
        live.commit(request).unwrap();
    }
    live.append_wal(4, &[b"vote"]).unwrap();
    live.put("bridge", "cursor", b"17").unwrap();
    // The file as it is while the process still has it open is what a kill -9 at this instant leaves.
    let crashed = TempDir::new().unwrap();
    std::fs::create_dir(crashed.path().join("storage")).unwrap();
    std::fs::copy(folder.path().join("storage/alys.redb"), crashed.path().join("storage/alys.redb")).unwrap();
    let rig = Rig::open(&config(&crashed));
    assert_eq!(rig.store.head().unwrap(), Head { height: 3, hash: hash(3, 0xaa) });
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 6);
    let wal = rig.store.wal(alys_proto::storage::GetWal { height: 4, ..Default::default() }).unwrap().unwrap();
    assert_eq!(wal.entries, [b"vote".to_vec()]);
    rig.commit(block(4, 0xaa)).unwrap();
}

#[test]
fn a_transaction_that_is_not_committed_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    rig.commit(block(1, 0xaa)).unwrap();
    rig.close();
    {
        let db = redb::Database::open(folder.path().join("storage/alys.redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &[u8; 32], u64> = redb::TableDefinition::new("heights");
        transaction.open_table(table).unwrap().insert(&[5; 32], 2).unwrap();
        drop(transaction);
    }
    let rig = Rig::open(&config(&folder));
    assert!(rig.store.block_by_hash(Hash([5; 32])).unwrap().unwrap().blocks.is_empty());
    assert_eq!(rig.store.head().unwrap().height, 1);
}

#[test]
fn large_answers_come_in_pages_that_fit_together() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let big = |height: u64| {
        let mut request = block(height, 0xaa);
        request.block.as_mut().unwrap().block = vec![1; 3 << 20];
        request
    };
    for height in 1..=4 {
        rig.commit(big(height)).unwrap();
    }
    let first = rig.store.blocks(GetBlocks { from_height: 1, limit: 4 }).unwrap().unwrap().blocks;
    assert_eq!(first.len(), 2, "two of 3 MiB are below 8 MiB, three are not");
    let mut pages = Vec::new();
    let mut request = GetLedger { paged: true, from_height: 0 };
    loop {
        let page = rig.store.ledger(request).unwrap().unwrap();
        pages.extend(page.facts);
        if page.next_height == 0 {
            break;
        }
        request.from_height = page.next_height;
    }
    assert_eq!(pages.len(), 8);
}

/// A changed encoding makes old databases unreadable: then a new schema and a migration are due.
#[test]
fn encodings_are_pinned() {
    let facts = block(1, 0xaa).ledger.unwrap().facts;
    let encoded: Vec<_> = facts.iter().map(|fact| hex::encode(fact.encode_to_vec())).collect();
    let txid = format!("0000000000000001{}", "aa".repeat(24));
    let minted = format!("0801123e0a240a20{txid}100110011a14{}", "09".repeat(20));
    let burned = format!("08011a440801100322 14{}2a06626372743171 3220{}", "07".repeat(20), "01".repeat(32)).replace(' ', "");
    assert_eq!(encoded, [minted, burned]);
}
