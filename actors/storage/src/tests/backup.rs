//! Backups and restores: whole or not at all, of this chain only, and never a reason to vote twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use alys_proto::storage::{GetBlocks, GetLedger, GetWal};
use tempfile::TempDir;

use super::kit::{Rig, config};
use super::real::{chain, prepared, rig, spec};
use crate::core::backup::{Manifest, Misfit};
use crate::io::{BackupFault, Fault, How, Meter, RestoreFault, Restored, check_backup, restore};

fn place(folder: &TempDir) -> PathBuf {
    folder.path().join("backup")
}

fn back_up(rig: &Rig, folder: &TempDir) -> Manifest {
    rig.store.backup(&place(folder), &Meter::default()).unwrap()
}

/// A database of six blocks and its backup beside it.
fn backed_up() -> (TempDir, Manifest) {
    let folder = prepared(6);
    let rig = rig(&folder);
    let manifest = back_up(&rig, &folder);
    rig.close();
    (folder, manifest)
}

fn restored(from: &TempDir, to: &TempDir, how: How) -> Result<Restored, RestoreFault> {
    restore(&place(from), &config(to), &spec(), how, |_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_holds_what_was_committed_when_it_began() {
    let folder = prepared(6);
    let rig = rig(&folder);
    let manifest = back_up(&rig, &folder);
    assert_eq!((manifest.head_height, manifest.schema, manifest.pruned_below), (6, 2, 0));
    assert_eq!(names(&place(&folder)), ["alys.redb", "manifest.json"]);
    for (file, mode) in [("", 0o700), ("alys.redb", 0o600)] {
        assert_eq!(fs::metadata(place(&folder).join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let before = fs::read(place(&folder).join("alys.redb")).unwrap();
    let report = check_backup(&place(&folder), &spec(), |_, _| {}).unwrap();
    assert_eq!(fs::read(place(&folder).join("alys.redb")).unwrap(), before, "to look is not to touch");
    assert!(report.is_whole() && report.head_height == 6, "{report:?}");
    rig.close();
}

/// The snapshot that a backup reads from is open while blocks are committed: the writer waits for nobody, and the snapshot
/// stays what it was.
#[test]
fn blocks_are_committed_while_a_snapshot_is_read() {
    use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
    type BlockRow = (&'static [u8; 32], &'static [u8; 32], &'static [u8]);
    let blocks: TableDefinition<'_, u64, BlockRow> = TableDefinition::new("blocks");
    let facts: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("facts");
    let folder = TempDir::new().unwrap();
    let rig = rig(&folder);
    let mut requests = chain(40).into_iter();
    for request in requests.by_ref().take(10) {
        rig.commit(request).unwrap();
    }
    let snapshot = rig.store.db().begin_read().unwrap();
    let (blocks, facts) = (snapshot.open_table(blocks).unwrap(), snapshot.open_table(facts).unwrap());
    let (mut rows, mut seen) = (blocks.iter().unwrap(), 0);
    for request in requests {
        // Answered only when it is on disk, while the iterator above is open.
        let height = rig.commit(request).unwrap().height;
        assert_eq!(rig.store.head().unwrap().height, height);
        assert_eq!(facts.last().unwrap().unwrap().0.value().0, 10, "one committed state, whatever is written meanwhile");
        seen += usize::from(rows.next().is_some());
    }
    assert_eq!((seen, rig.store.head().unwrap().height), (10, 40));
    let page = rig.store.blocks(GetBlocks { from_height: 1, limit: 100 }).unwrap().unwrap();
    assert_eq!(page.blocks.len(), 40);
    drop(rows);
    rig.close();
}

#[test]
fn nothing_that_is_there_is_replaced_by_a_backup() {
    let (folder, manifest) = backed_up();
    let rig = rig(&folder);
    let again = rig.store.backup(&place(&folder), &Meter::default());
    assert!(matches!(again, Err(BackupFault::Exists(_))), "{again:?}");
    assert!(matches!(rig.store.check_backup_place(&place(&folder)), Err(BackupFault::Exists(_))));
    assert!(matches!(rig.store.check_backup_place(Path::new("relative")), Err(BackupFault::NoFolder(_))));
    assert!(matches!(rig.store.check_backup_place(Path::new("/no/such/folder")), Err(BackupFault::NoFolder(_))));
    assert_eq!(names(folder.path()), ["backup", "storage"], "and no half one is left");
    let kept: Manifest = serde_json::from_slice(&fs::read(place(&folder).join("manifest.json")).unwrap()).unwrap();
    assert_eq!(kept, manifest);
    rig.close();
}

#[test]
fn a_cancelled_backup_leaves_nothing_and_a_crashed_one_does_not_disturb_the_next() {
    let folder = prepared(6);
    let rig = rig(&folder);
    let meter = Meter::default();
    meter.cancel();
    assert!(matches!(rig.store.backup(&place(&folder), &meter), Err(BackupFault::Cancelled)));
    assert_eq!(names(folder.path()), ["storage"]);
    let unfinished = folder.path().join("backup.unfinished");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("alys.redb"), b"half").unwrap();
    back_up(&rig, &folder);
    assert_eq!(names(folder.path()), ["backup", "storage"]);
    rig.close();
}

#[test]
fn a_restored_database_has_everything_but_the_votes_and_says_so() {
    let (from, _) = backed_up();
    let to = TempDir::new().unwrap();
    let done = restored(&from, &to, How::default()).unwrap();
    assert_eq!((done.manifest.head_height, done.kept), (6, None));
    let rig = rig(&to);
    let blocks = rig.store.blocks(GetBlocks { from_height: 1, limit: 100 }).unwrap().unwrap().blocks;
    assert_eq!(blocks, chain(6).into_iter().map(|request| request.block.unwrap()).collect::<Vec<_>>());
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len(), 6);
    assert_eq!(rig.store.wal(GetWal { height: 7, ..GetWal::default() }).unwrap().unwrap().entries, Vec::<Vec<u8>>::new());
    assert!(rig.store.condition().unwrap().votes_lost);
    // Blocks of others do not give the votes back, nor does a restart; the first vote of our own ends it.
    rig.commit(chain(7).pop().unwrap()).unwrap();
    rig.append_wal(8, &[]).unwrap();
    rig.close();
    let rig = super::real::rig(&to);
    assert!(rig.store.condition().unwrap().votes_lost);
    rig.append_wal(8, &[b"vote"]).unwrap();
    assert!(!rig.store.condition().unwrap().votes_lost);
    rig.close();
}

#[test]
fn who_knows_that_no_vote_was_given_since_may_say_so() {
    let (from, _) = backed_up();
    let to = TempDir::new().unwrap();
    restored(&from, &to, How { vote_at_once: true, ..How::default() }).unwrap();
    let rig = rig(&to);
    assert!(!rig.store.condition().unwrap().votes_lost);
    rig.close();
}

#[test]
fn a_database_that_is_there_is_put_aside_only_when_asked_to() {
    let (from, _) = backed_up();
    let to = prepared(3);
    let path = config(&to).data_dir.join("alys.redb");
    let before = fs::read(&path).unwrap();
    assert!(matches!(restored(&from, &to, How::default()), Err(RestoreFault::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), before);
    let force = How { force: true, ..How::default() };
    let open = rig(&to);
    assert!(matches!(restored(&from, &to, force), Err(RestoreFault::Disk(Fault::Locked))), "not under a running role");
    open.close();
    let before = fs::read(&path).unwrap();
    let done = restored(&from, &to, force).unwrap();
    assert_eq!(fs::read(done.kept.unwrap()).unwrap(), before, "beside it, as it was");
    let rig = rig(&to);
    assert_eq!(rig.store.head().unwrap().height, 6);
    rig.close();
}

#[test]
fn a_damaged_database_can_be_replaced() {
    let (from, _) = backed_up();
    let to = prepared(3);
    let path = config(&to).data_dir.join("alys.redb");
    fs::write(&path, b"not a database").unwrap();
    let done = restored(&from, &to, How { force: true, ..How::default() }).unwrap();
    assert_eq!(fs::read(done.kept.unwrap()).unwrap(), b"not a database");
}

#[test]
fn a_flipped_byte_anywhere_is_refused_and_nothing_is_changed() {
    let (from, manifest) = backed_up();
    let file = place(&from).join("alys.redb");
    let whole = fs::read(&file).unwrap();
    let to = prepared(3);
    let force = How { force: true, ..How::default() };
    let path = config(&to).data_dir.join("alys.redb");
    let before = fs::read(&path).unwrap();
    for position in [0, 100, 5_000, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let refused = restored(&from, &to, force).unwrap_err();
        assert!(matches!(refused, RestoreFault::Checksum(_)), "byte {position}: {refused}");
        let looked = check_backup(&place(&from), &spec(), |_, _| {});
        assert!(matches!(looked, Err(RestoreFault::Checksum(_))), "byte {position}: {looked:?}");
    }
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(restored(&from, &to, force), Err(RestoreFault::Checksum(_))), "cut off");
    // A checksum made to fit does not help: what is inside must fit together, and be what the manifest says.
    fs::write(&file, &whole).unwrap();
    let lying = Manifest { head_height: 5, ..manifest };
    fs::write(place(&from).join("manifest.json"), serde_json::to_vec(&lying).unwrap()).unwrap();
    assert!(matches!(restored(&from, &to, force), Err(RestoreFault::Damaged(_))));
    fs::remove_file(place(&from).join("manifest.json")).unwrap();
    assert!(matches!(restored(&from, &to, force), Err(RestoreFault::NoBackup(..))));
    assert_eq!(names(&config(&to).data_dir), ["alys.redb"], "nothing is left behind");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn damage_that_was_backed_up_is_found_before_it_is_put_in_place() {
    let folder = prepared(6);
    let certificates: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("certificates");
    let db = redb::Database::open(config(&folder).data_dir.join("alys.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(certificates).unwrap().remove(3).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let rig = rig(&folder);
    back_up(&rig, &folder);
    rig.close();
    let to = TempDir::new().unwrap();
    let refused = restored(&folder, &to, How::default()).unwrap_err().to_string();
    assert!(refused.contains("block 3") && refused.contains("certificate"), "{refused}");
    assert!(names(&config(&to).data_dir).is_empty());
}

#[test]
fn a_backup_of_another_chain_is_refused() {
    let (from, _) = backed_up();
    let to = TempDir::new().unwrap();
    let other = alys_blocks::ChainSpec { chain_id: 1, ..spec() };
    let refused = restore(&place(&from), &config(&to), &other, How::default(), |_, _| {}).unwrap_err();
    assert!(matches!(refused, RestoreFault::Misfit(Misfit::OtherChain { .. })), "{refused}");
    assert!(!config(&to).data_dir.exists());
}

#[test]
fn leases_of_before_are_worth_nothing_after_a_restore() {
    use alys_proto::Role;
    use alys_proto::storage::{Lease, Leases};
    let folder = prepared(2);
    let leases: redb::TableDefinition<'_, i32, &[u8]> = redb::TableDefinition::new("leases");
    let path = config(&folder).data_dir.join("alys.redb");
    let db = redb::Database::open(&path).unwrap();
    let transaction = db.begin_write().unwrap();
    let row = Lease {
        role: Role::Chain.into(),
        incarnation: vec![1; 8],
        epoch: 7,
        term_millis: 9_000,
        process: Some(Default::default()),
        ..Lease::default()
    };
    let bytes = alys_proto::Message::encode_to_vec(&row);
    transaction.open_table(leases).unwrap().insert(i32::from(Role::Chain), bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let open = rig(&folder);
    back_up(&open, &folder);
    open.close();
    let to = TempDir::new().unwrap();
    restored(&folder, &to, How::default()).unwrap();
    let open = rig(&to);
    let Leases { leases, .. } = open.store.leases.show();
    assert!(leases[0].released && leases[0].epoch > 1 << 32, "{leases:?}");
    open.close();
}

#[test]
fn a_closed_database_is_backed_up_too() {
    let folder = prepared(4);
    let manifest = crate::io::backup(&config(&folder), &spec(), &place(&folder), &Meter::default()).unwrap();
    assert_eq!(manifest.head_height, 4);
    restored(&folder, &TempDir::new().unwrap(), How::default()).unwrap();
}
