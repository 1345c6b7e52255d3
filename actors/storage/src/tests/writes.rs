//! WAL, documents and group commit.

use std::sync::atomic::Ordering;

use alys_proto::storage::{GetDocuments, GetLedger, GetWal};
use tempfile::TempDir;

use super::kit::{Rig, block, chain, config};

fn wal(rig: &Rig, height: u64) -> Vec<Vec<u8>> {
    rig.store.wal(GetWal { height, ..GetWal::default() }).unwrap().unwrap().entries
}

fn documents(rig: &Rig, owner: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let request = GetDocuments { owner: owner.into(), prefix: prefix.into() };
    let documents = rig.store.documents(&request).unwrap().unwrap().documents;
    documents.into_iter().map(|document| (document.key, document.value)).collect()
}

#[test]
fn the_wal_keeps_the_newest_height_only() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    rig.append_wal(7, &[b"a", b"b"]).unwrap();
    rig.append_wal(7, &[b"c"]).unwrap();
    assert_eq!(wal(&rig, 7), [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    rig.append_wal(8, &[b"d"]).unwrap();
    assert!(wal(&rig, 7).is_empty());
    assert_eq!(wal(&rig, 8), [b"d".to_vec()]);
    let refused = rig.append_wal(7, &[b"late"]).unwrap_err().to_string();
    assert!(refused.contains("would be lost"), "{refused}");
    assert_eq!(wal(&rig, 8), [b"d".to_vec()]);
}

#[test]
fn an_empty_append_opens_a_height_and_the_older_one_stays_closed() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    rig.append_wal(7, &[b"a"]).unwrap();
    rig.append_wal(8, &[]).unwrap();
    rig.close();
    let rig = Rig::open(&config(&folder));
    assert!(wal(&rig, 7).is_empty());
    assert!(rig.append_wal(7, &[b"late"]).is_err(), "also after a restart");
}

#[test]
fn a_long_wal_comes_in_pages() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let entry = vec![1; 6 << 20];
    for _ in 0..3 {
        rig.append_wal(1, &[&entry]).unwrap();
    }
    assert!(rig.store.wal(GetWal { height: 1, ..GetWal::default() }).unwrap().is_err(), "18 MiB do not fit into one message");
    let mut request = GetWal { height: 1, paged: true, from_entry: 0 };
    let mut entries = 0;
    loop {
        let page = rig.store.wal(request).unwrap().unwrap();
        entries += page.entries.len();
        if page.next_entry == 0 {
            break;
        }
        request.from_entry = page.next_entry;
    }
    assert_eq!(entries, 3);
}

#[test]
fn documents_are_put_replaced_listed_and_deleted() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    for (owner, key) in [("bridge", "sig/2"), ("bridge", "sig/1"), ("bridge", "cursor"), ("stream", "sig/9"), ("bridg", "sig/3")]
    {
        rig.put(owner, key, key.as_bytes()).unwrap();
    }
    let signatures = [("sig/1".to_owned(), b"sig/1".to_vec()), ("sig/2".to_owned(), b"sig/2".to_vec())];
    assert_eq!(documents(&rig, "bridge", "sig/"), signatures);
    assert_eq!(documents(&rig, "bridge", "").len(), 3);
    rig.put("bridge", "sig/1", b"new").unwrap();
    rig.put("bridge", "sig/2", b"").unwrap();
    assert_eq!(documents(&rig, "bridge", "sig/"), [("sig/1".to_owned(), b"new".to_vec())]);
    assert!(rig.put("", "key", b"x").is_err());
}

#[test]
fn many_waiting_writes_share_transactions() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let answers: Vec<_> = (0..200).map(|index| rig.send_put("bridge", &format!("{index:03}"), b"x")).collect();
    for answer in answers {
        answer.wait().unwrap();
    }
    assert_eq!(documents(&rig, "bridge", "").len(), 200);
    let transactions = rig.progress.transactions.load(Ordering::Relaxed);
    assert!(transactions < 200, "{transactions} transactions for 200 requests");
    assert_eq!(rig.progress.writes.load(Ordering::Relaxed), 200);
}

#[test]
fn a_refused_request_does_not_disturb_its_batch() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let mut requests = chain(6);
    requests.insert(3, block(9, 0xaa));
    let answers: Vec<_> = requests.into_iter().map(|request| rig.send_commit(request)).collect();
    let outcomes: Vec<_> = answers.into_iter().map(|answer| answer.wait().is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, false, true, true, true]);
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().height, 6);
}

#[test]
fn blocks_of_a_batch_go_in_one_transaction() {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    let mut blocks = chain(64);
    let (first, rest) = (blocks[0].clone(), blocks.split_off(32));
    rig.commit(first).unwrap();
    let before = rig.progress.transactions.load(Ordering::Relaxed);
    assert_eq!(rig.commit_all(blocks.clone()).unwrap().height, 32, "the first of them was there");
    assert_eq!(rig.commit_all(blocks).unwrap().height, 32, "all of them were there");
    assert_eq!(rig.commit_all(rest).unwrap().height, 64);
    assert_eq!(rig.progress.transactions.load(Ordering::Relaxed) - before, 3);
    let ledger = rig.store.ledger(GetLedger::default()).unwrap().unwrap();
    assert_eq!((ledger.height, ledger.facts.len()), (64, 2 * 64));
    rig.close();
    assert_eq!(Rig::open(&config(&folder)).store.head().unwrap().height, 64, "on disk");
}

#[test]
fn a_batch_with_one_block_that_does_not_fit_leaves_none_of_them() {
    let mut other_parent = chain(3);
    other_parent[2].parent_hash = vec![9; 32];
    let mut malformed = chain(3);
    malformed[2].block.as_mut().unwrap().block.clear();
    let mut gap = chain(4);
    gap.remove(2);
    let mut conflict = chain(3);
    conflict[0] = block(1, 0xbb);
    let twice = vec![block(1, 0xaa), block(2, 0xaa), block(2, 0xbb)];
    let table = [
        ("another parent", other_parent),
        ("malformed", malformed),
        ("a gap", gap),
        ("another block", conflict),
        ("two of a height", twice),
        ("none", Vec::new()),
        ("too many", chain(65)),
    ];
    for (what, batch) in table {
        let folder = TempDir::new().unwrap();
        let rig = Rig::open(&config(&folder));
        if what == "another block" {
            rig.commit(block(1, 0xaa)).unwrap();
        }
        let before = rig.store.head().unwrap();
        // In a transaction with others, which is written all the same: while the first is on its way, the rest gather.
        let puts: Vec<_> = (0..20).map(|_| rig.send_put("bridge", "cursor", b"1")).collect();
        let refused = rig.send_commits(batch);
        let more: Vec<_> = (0..20).map(|_| rig.send_put("bridge", "cursor", b"2")).collect();
        assert!(refused.wait().is_err(), "{what}");
        assert!(puts.into_iter().chain(more).all(|put| put.wait().is_ok()), "{what}");
        assert_eq!(rig.store.head().unwrap(), before, "{what}");
    }
}
