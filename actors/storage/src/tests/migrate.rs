//! Databases of older schemas. What they look like is written down here, apart from the code that reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use alys_proto::Message as _;
use alys_proto::storage::{GetBlocks, GetLedger, GetWal, LedgerFact, WorkSettled, ledger_fact};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use tempfile::TempDir;

use super::kit::{CHAIN, Rig, block, chain, config};
use crate::io::migrate::{Step, climb};
use crate::io::{Fault, Store};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
type BlockRow = (&'static [u8; 32], &'static [u8; 32], &'static [u8]);

/// Schema 1, as the first builds made it: seven tables, no leases, no outbox, no dead letters.
fn write_schema_1(path: &Path, height: u64) {
    let blocks: TableDefinition<'_, u64, BlockRow> = TableDefinition::new("blocks");
    let heights: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("heights");
    let certificates: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("certificates");
    let burns: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("burns");
    let facts: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("facts");
    let wal: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("wal");
    let documents: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("documents");
    let db = Database::create(path).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("schema", 1u64.to_le_bytes().as_slice()).unwrap();
        meta.insert("chain_id", CHAIN.id.to_le_bytes().as_slice()).unwrap();
        meta.insert("genesis", CHAIN.genesis.0.as_slice()).unwrap();
        meta.insert("wal_height", (height + 1).to_le_bytes().as_slice()).unwrap();
        transaction.open_table(wal).unwrap().insert((height + 1, 0), b"vote".as_slice()).unwrap();
        transaction.open_table(documents).unwrap().insert(("bridge", "cursor"), b"7".as_slice()).unwrap();
        let mut blocks = transaction.open_table(blocks).unwrap();
        let mut heights = transaction.open_table(heights).unwrap();
        let mut certificates = transaction.open_table(certificates).unwrap();
        let mut burns = transaction.open_table(burns).unwrap();
        let mut facts = transaction.open_table(facts).unwrap();
        for request in chain(height) {
            let block = request.block.unwrap();
            let hash: [u8; 32] = block.hash.as_slice().try_into().unwrap();
            let parent: [u8; 32] = request.parent_hash.as_slice().try_into().unwrap();
            blocks.insert(block.height, (&hash, &parent, block.block.as_slice())).unwrap();
            heights.insert(&hash, block.height).unwrap();
            certificates.insert(block.height, block.certificate.as_slice()).unwrap();
            for burn in &block.burns {
                burns.insert((block.height, burn.log_index), burn.encode_to_vec().as_slice()).unwrap();
            }
            for (index, fact) in (0..).zip(request.ledger.unwrap().facts) {
                facts.insert((block.height, index), fact.encode_to_vec().as_slice()).unwrap();
            }
        }
        for (height, end_height) in [(3, 1), (5, 4)] {
            let settled = WorkSettled { end_height, ..WorkSettled::default() };
            let fact = LedgerFact { height, fact: Some(ledger_fact::Fact::WorkSettled(settled)) };
            facts.insert((height, 9), fact.encode_to_vec().as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(db);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn old() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    fs::create_dir(&config.data_dir).unwrap();
    let path = config.data_dir.join("alys.redb");
    write_schema_1(&path, 6);
    (folder, path)
}

fn number(path: &Path, key: &str) -> Option<u64> {
    let db = Database::open(path).unwrap();
    let meta = db.begin_read().unwrap().open_table(META).unwrap();
    let value = meta.get(key).unwrap();
    value.map(|value| u64::from_le_bytes(value.value().try_into().unwrap()))
}

#[test]
fn schema_1_is_led_up_and_nothing_of_it_is_lost() {
    let (folder, path) = old();
    let rig = Rig::open(&config(&folder));
    let blocks = rig.store.blocks(GetBlocks { from_height: 1, limit: 100 }).unwrap().unwrap().blocks;
    assert_eq!(blocks, chain(6).into_iter().map(|request| request.block.unwrap()).collect::<Vec<_>>());
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 2 * 6 + 2);
    assert_eq!(rig.store.wal(GetWal { height: 7, ..GetWal::default() }).unwrap().unwrap().entries, [b"vote".to_vec()]);
    rig.commit(block(7, 0xaa)).unwrap();
    rig.close();
    assert_eq!((number(&path, "schema"), number(&path, "settled")), (Some(2), Some(4)));
}

#[test]
fn the_copy_before_the_first_step_is_the_old_database() {
    let (folder, path) = old();
    Rig::open(&config(&folder)).close();
    let copy = path.with_file_name("alys.redb.schema-1");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((number(&copy, "schema"), number(&copy, "settled")), (Some(1), None));
    let before = fs::read(&copy).unwrap();
    Rig::open(&config(&folder)).close();
    assert_eq!(fs::read(&copy).unwrap(), before, "a migrated database is not migrated again");
    fs::rename(&copy, &path).unwrap();
    Rig::open(&config(&folder)).close();
    assert_eq!(number(&path, "schema"), Some(2), "the copy is a whole database");
}

#[test]
fn without_room_for_the_copy_nothing_is_changed() {
    let (folder, path) = old();
    let copied = crate::io::migrate::keep_a_copy(&path, 1, u64::MAX);
    assert!(matches!(copied, Err(Fault::NoSpace(_))));
    assert_eq!(number(&path, "schema"), Some(1));
    assert!(!path.with_file_name("alys.redb.schema-1").exists());
    drop(folder);
}

const NOTES: TableDefinition<'_, u64, u64> = TableDefinition::new("notes");

fn note(transaction: &WriteTransaction, step: u64) -> Result<(), Fault> {
    let mut notes = transaction.open_table(NOTES)?;
    let times = notes.get(step)?.map_or(0, |times| times.value());
    notes.insert(step, times + 1)?;
    Ok(())
}

fn notes(db: &Database) -> Vec<(u64, u64)> {
    let notes = db.begin_read().unwrap().open_table(NOTES).unwrap();
    notes.iter().unwrap().map(|row| row.unwrap()).map(|(step, times)| (step.value(), times.value())).collect()
}

#[test]
fn an_interrupted_migration_goes_on_where_it_was() {
    let (_folder, path) = old();
    let first = || Step { what: "first", run: |transaction| note(transaction, 1) };
    let second = || Step { what: "second", run: |transaction| note(transaction, 2) };
    let dies = Step {
        what: "dies half-way",
        run: |transaction| {
            note(transaction, 2)?;
            Err(Fault::Damaged("killed".into()))
        },
    };
    let db = Database::open(&path).unwrap();
    assert!(climb(&db, 1, &[first(), dies]).is_err());
    assert_eq!(notes(&db), [(1, 1)], "half a step is no step");
    drop(db);
    assert_eq!(number(&path, "schema"), Some(2));
    let db = Database::open(&path).unwrap();
    climb(&db, 2, &[first(), second()]).unwrap();
    assert_eq!(notes(&db), [(1, 1), (2, 1)], "each step once");
    drop(db);
    assert_eq!(number(&path, "schema"), Some(3));
}

#[test]
fn another_chains_old_database_is_refused_before_anything_is_changed() {
    let (folder, path) = old();
    let other = crate::core::commit::ChainId { id: 1, ..CHAIN };
    assert!(matches!(Store::open(&config(&folder), other), Err(Fault::OtherChain { .. })));
    assert_eq!(number(&path, "schema"), Some(1));
    assert!(!path.with_file_name("alys.redb.schema-1").exists());
}
