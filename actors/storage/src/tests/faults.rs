//! What an operator can do wrong and a disk can do to us: each has its own message, and nothing is half-written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use alys_cluster::ActorError;
use alys_proto::storage::{GetBlocks, GetLedger};
use tempfile::TempDir;

use super::kit::{CHAIN, Rig, block, config};
use crate::core::commit::ChainId;
use crate::core::form::Hash;
use crate::io::{Fault, Store};

fn text(fault: &Fault) -> String {
    fault.to_actor_error(Path::new("alys.redb")).to_string()
}

fn prepared() -> TempDir {
    let folder = TempDir::new().unwrap();
    let rig = Rig::open(&config(&folder));
    for height in 1..=20 {
        rig.commit(block(height, 0xaa)).unwrap();
    }
    rig.close();
    folder
}

#[test]
fn a_newer_schema_says_so() {
    let folder = prepared();
    {
        let db = redb::Database::open(folder.path().join("storage/alys.redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
        transaction.open_table(meta).unwrap().insert("schema", 7u64.to_le_bytes().as_slice()).unwrap();
        transaction.commit().unwrap();
    }
    let fault = Store::open(&config(&folder), CHAIN).unwrap_err();
    assert!(matches!(fault, Fault::NewerSchema { found: 7, known: 2 }), "{fault}");
    assert!(text(&fault).contains("Run the alys version that wrote it"), "{}", text(&fault));
}

#[test]
fn another_chain_is_refused() {
    let folder = prepared();
    for other in [ChainId { id: 1, ..CHAIN }, ChainId { genesis: Hash([1; 32]), ..CHAIN }] {
        let fault = Store::open(&config(&folder), other).unwrap_err();
        assert!(matches!(fault, Fault::OtherChain { .. }), "{fault}");
        assert!(matches!(fault.to_actor_error(Path::new("x")), ActorError::Configuration(_)));
    }
}

#[test]
fn two_processes_cannot_have_it_open() {
    let folder = prepared();
    let _holder = Rig::open(&config(&folder));
    let fault = Store::open(&config(&folder), CHAIN).unwrap_err();
    assert!(matches!(fault, Fault::Locked), "{fault}");
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_panic_or_a_new_chain() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("emptied", |path| fs::write(path, b"").unwrap()),
        ("foreign", |path| fs::write(path, vec![0x42; 100_000]).unwrap()),
        ("cut", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5_000).unwrap()),
        ("header", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[64..320].fill(0xff);
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let folder = prepared();
        damage(&folder.path().join("storage/alys.redb"));
        let fault = Store::open(&config(&folder), CHAIN).unwrap_err();
        assert!(matches!(fault, Fault::Damaged(_)), "{name}: {fault}");
        assert!(text(&fault).contains("restore a backup"), "{name}");
        let (running, starting) = (fault.to_actor_error(Path::new("x")), fault.at_start(Path::new("x")));
        assert!(matches!((running, starting), (ActorError::Broken(_), ActorError::Configuration(_))), "{name}");
    }
}

#[test]
fn altered_pages_are_found_when_asked_to_look() {
    let folder = prepared();
    let path = folder.path().join("storage/alys.redb");
    let mut bytes = fs::read(&path).unwrap();
    let needle = super::kit::hash(20, 0xaa);
    let positions: Vec<_> = bytes.windows(32).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect();
    assert!(!positions.is_empty());
    for at in positions {
        bytes[at + 20] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let checked = crate::Config { check_on_open: true, ..config(&folder) };
    assert!(matches!(Store::open(&checked, CHAIN).unwrap_err(), Fault::Damaged(_)));
}

#[test]
fn a_crash_while_it_was_made_is_made_again() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("storage")).unwrap();
    fs::write(folder.path().join("storage/alys.redb.new"), b"half").unwrap();
    let rig = Rig::open(&config(&folder));
    rig.commit(block(1, 0xaa)).unwrap();
    let mode = fs::metadata(folder.path().join("storage/alys.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let config = crate::Config { data_dir: folder.path().join("file/storage"), ..config(&folder) };
    assert!(Store::open(&config, CHAIN).is_err());
    let denied = Fault::from_io(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
    assert!(matches!(denied.to_actor_error(Path::new("x")), ActorError::Configuration(_)));
}

#[test]
fn too_little_space_refuses_to_start() {
    let folder = TempDir::new().unwrap();
    let config = crate::Config { min_free_space: u64::MAX, ..config(&folder) };
    let fault = Store::open(&config, CHAIN).unwrap_err();
    assert!(matches!(fault, Fault::NoSpace(None)));
    assert!(matches!(fault.to_actor_error(Path::new("x")), ActorError::Temporary(_)));
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

fn mount(path: &Path, size: &str) -> bool {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(path).output();
    status.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_is_said_and_nothing_acknowledged_is_lost() {
    let folder = TempDir::new().unwrap();
    if !mount(folder.path(), "size=6m") {
        eprintln!("SKIPPED: a tmpfs with a size needs root, so a full disk was not tried");
        return;
    }
    let _mounted = Mounted(folder.path());
    let rig = Rig::open(&config(&folder));
    let mut acknowledged = 0;
    let refused = loop {
        let mut request = block(acknowledged + 1, 0xaa);
        request.block.as_mut().unwrap().block = vec![7; 200_000];
        match rig.commit(request) {
            Ok(head) => acknowledged = head.height,
            Err(refused) => break refused,
        }
        assert!(acknowledged < 100, "6 MiB hold no 100 blocks of 200 kB");
    };
    assert!(refused.to_string().contains("no space is left"), "{refused}");
    // Later requests are refused as well; whichever way, none hangs.
    assert!(rig.put("bridge", "cursor", b"1").is_err());
    let fault = rig.faults.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    assert!(matches!(fault.to_actor_error(Path::new("x")), ActorError::Temporary(_)), "{fault}");
    drop(rig);
    // A tmpfs that is in use can be enlarged; the role is started again by its supervisor, which waits between attempts.
    let remounted = Command::new("mount").args(["-o", "remount,size=64m"]).arg(folder.path()).status().unwrap();
    assert!(remounted.success());
    let rig = Rig::open(&config(&folder));
    let head = rig.store.head().unwrap().height;
    assert!(acknowledged > 0 && head == acknowledged, "head {head}, acknowledged {acknowledged}");
    assert_eq!(rig.store.ledger(GetLedger::default()).unwrap().unwrap().facts.len() as u64, 2 * head);
    assert_eq!(rig.store.blocks(GetBlocks { from_height: head, limit: 5 }).unwrap().unwrap().blocks.len(), 1);
    rig.commit(block(head + 1, 0xaa)).unwrap();
    rig.close();
}
