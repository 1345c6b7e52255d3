//! Each kind of damage is found and named; what is whole is called whole.

use alys_proto::Message as _;
use alys_proto::storage::{LedgerFact, Minted, ledger_fact};
use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};
use tempfile::TempDir;

use super::kit::config;
use super::real::{prepared, spec};
use crate::core::check::{Part, Report};
use crate::io::{Fault, check};

type BlockRow = (&'static [u8; 32], &'static [u8; 32], &'static [u8]);
const BLOCKS: TableDefinition<'_, u64, BlockRow> = TableDefinition::new("blocks");
const HEIGHTS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("heights");
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("certificates");
const FACTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("facts");
const WAL: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("wal");
const LEASES: TableDefinition<'_, i32, &[u8]> = TableDefinition::new("leases");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

fn checked(folder: &TempDir) -> Report {
    check(&config(folder).data_dir.join("alys.redb"), &spec(), |_, _| {}).unwrap()
}

fn row(blocks: &redb::Table<'_, u64, BlockRow>, height: u64) -> ([u8; 32], [u8; 32], Vec<u8>) {
    let row = blocks.get(height).unwrap().unwrap();
    let (hash, parent, block) = row.value();
    (*hash, *parent, block.to_vec())
}

fn mint(value_sats: u64) -> Vec<u8> {
    let minted = Minted {
        value_sats,
        recipient: vec![9; 20],
        outpoint: Some(alys_proto::common::OutPoint { txid: vec![3; 32], vout: 0 }),
    };
    LedgerFact { height: 3, fact: Some(ledger_fact::Fact::Minted(minted)) }.encode_to_vec()
}

#[test]
fn a_whole_database_is_whole() {
    let report = checked(&prepared(6));
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.schema, report.head_height, report.blocks, report.facts), (2, 6, 6, 6));
    assert!(checked(&prepared(0)).is_whole(), "one without a block too");
}

type Break = (&'static str, Part, u64, fn(&WriteTransaction));

const BREAKS: [Break; 13] = [
    ("a block is gone", Part::Blocks, 3, |t| drop(t.open_table(BLOCKS).unwrap().remove(3).unwrap())),
    ("a block has another parent", Part::Blocks, 3, |t| {
        let mut blocks = t.open_table(BLOCKS).unwrap();
        let (hash, _, block) = row(&blocks, 3);
        blocks.insert(3, (&hash, &[1; 32], block.as_slice())).unwrap();
    }),
    ("a bit of a block is flipped", Part::Blocks, 3, |t| {
        let mut blocks = t.open_table(BLOCKS).unwrap();
        let (hash, parent, mut block) = row(&blocks, 3);
        let last = block.len() - 1;
        block[last] ^= 1;
        blocks.insert(3, (&hash, &parent, block.as_slice())).unwrap();
    }),
    ("a certificate is gone", Part::Certificates, 3, |t| drop(t.open_table(CERTIFICATES).unwrap().remove(3).unwrap())),
    ("a certificate is of another block", Part::Certificates, 3, |t| {
        let mut certificates = t.open_table(CERTIFICATES).unwrap();
        let other = certificates.get(4).unwrap().unwrap().value().to_vec();
        certificates.insert(3, other.as_slice()).unwrap();
    }),
    ("a hash is not in the index", Part::Index, 3, |t| {
        let (hash, ..) = row(&t.open_table(BLOCKS).unwrap(), 3);
        t.open_table(HEIGHTS).unwrap().remove(&hash).unwrap();
    }),
    ("the index leads astray", Part::Index, 0, |t| drop(t.open_table(HEIGHTS).unwrap().insert(&[5; 32], 3).unwrap())),
    ("a fact is gone", Part::Facts, 3, |t| drop(t.open_table(FACTS).unwrap().remove((3, 0)).unwrap())),
    ("a fact is another", Part::Facts, 3, |t| {
        drop(t.open_table(FACTS).unwrap().insert((3, 0), mint(49_999).as_slice()).unwrap())
    }),
    ("a deposit is minted twice", Part::Ledger, 3, |t| {
        drop(t.open_table(FACTS).unwrap().insert((3, 1), mint(50_000).as_slice()).unwrap());
    }),
    ("a fact is of no block", Part::Facts, 0, |t| drop(t.open_table(FACTS).unwrap().insert((9, 0), mint(1).as_slice()).unwrap())),
    ("a vote is of another height", Part::Wal, 5, |t| drop(t.open_table(WAL).unwrap().insert((5, 0), b"x".as_slice()).unwrap())),
    ("a lease does not decode", Part::Roles, 0, |t| drop(t.open_table(LEASES).unwrap().insert(3, b"\xff".as_slice()).unwrap())),
];

#[test]
fn each_damage_is_named_with_its_part_and_height() {
    for (what, part, height, damage) in BREAKS {
        let folder = prepared(6);
        let db = Database::open(config(&folder).data_dir.join("alys.redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        damage(&transaction);
        transaction.commit().unwrap();
        drop(db);
        let report = checked(&folder);
        let found = report.damages.iter().any(|damage| (damage.part, damage.height) == (part, height));
        assert!(found, "{what}: {:?}", report.damages);
    }
}

#[test]
fn a_settled_height_that_no_fact_states_is_found() {
    let folder = prepared(2);
    let db = Database::open(config(&folder).data_dir.join("alys.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("settled", 2u64.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    assert_eq!(checked(&folder).damages[0].part, Part::Meta);
}

#[test]
fn altered_bytes_are_damage_of_the_file() {
    let folder = prepared(6);
    let path = config(&folder).data_dir.join("alys.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.iter_mut().skip(4_096).step_by(37).for_each(|byte| *byte ^= 0xff);
    std::fs::write(&path, bytes).unwrap();
    let report = checked(&folder);
    assert_eq!(report.damages[0].part, Part::File, "{report:?}");
}

#[test]
fn a_thousand_damages_are_counted_and_a_hundred_named() {
    let mut report = Report::default();
    (0..1_000).for_each(|height| report.add(Part::Blocks, height, "gone"));
    assert_eq!((report.damages.len(), report.more), (100, 900));
}

#[test]
fn one_that_is_in_use_or_of_another_chain_is_not_judged() {
    let folder = prepared(1);
    let path = config(&folder).data_dir.join("alys.redb");
    let open = super::real::rig(&folder);
    assert!(matches!(check(&path, &spec(), |_, _| {}), Err(Fault::Locked)));
    open.close();
    let other = alys_blocks::ChainSpec { chain_id: 1, ..spec() };
    assert!(matches!(check(&path, &other, |_, _| {}), Err(Fault::OtherChain { .. })));
}
