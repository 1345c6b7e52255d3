//! The database under everything that happens to databases.

use std::time::Instant;

use super::*;

#[test]
fn other_chains_other_layouts_and_damage_are_told_apart() {
    let Chain { engine, folder } = Chain::new();
    let open = |spec: &ChainSpec| Engine::open(folder.path(), OPTIONS, spec).map(drop);
    assert!(matches!(open(&spec()), Err(OpenError::Store(StoreError::InUse(_)))));
    drop(engine);
    let mut other = spec();
    other.name = "another".into();
    assert!(matches!(open(&other), Err(OpenError::Store(StoreError::OtherChain { .. }))));
    open(&spec()).unwrap();
    let file = folder.path().join("engine.redb");
    std::fs::write(&file, b"not a database").unwrap();
    let error = open(&spec()).unwrap_err();
    assert!(matches!(&error, OpenError::Store(damaged @ StoreError::Damaged(..)) if damaged.is_configuration()), "{error}");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(open(&spec()), Err(OpenError::Store(StoreError::Disk(..) | StoreError::Damaged(..)))));
}

#[test]
fn the_file_as_a_crash_leaves_it_opens_at_the_last_commit() {
    for quick_repair in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain =
            Chain { engine: Engine::open(folder.path(), Options { quick_repair, ..OPTIONS }, &spec()).unwrap(), folder };
        for nonce in 0..3 {
            let block = chain.advance(vec![transfer(1, nonce, Address::repeat_byte(9), 1)]);
            // Executed, not committed: this may be lost.
            chain.build_on(block.hash, 100, vec![transfer(2, 0, Address::ZERO, 1)]);
            let crashed = tempfile::tempdir().unwrap();
            std::fs::copy(chain.folder.path().join("engine.redb"), crashed.path().join("engine.redb")).unwrap();
            let mut reopened = Chain { engine: Engine::open(crashed.path(), OPTIONS, &spec()).unwrap(), folder: crashed };
            assert_eq!(reopened.engine.head().hash, block.hash);
            reopened.advance(vec![transfer(1, nonce + 1, Address::ZERO, 1)]);
        }
    }
}

/// Needs a file system of a few MiB: `mount -t tmpfs -o size=4m none /mnt && ALYS_SMALL_DISK=/mnt cargo test -p alys-engine full_disk`.
#[test]
fn a_full_disk_stops_the_engine_and_nothing_is_half_written() {
    let Some(disk) = std::env::var_os("ALYS_SMALL_DISK") else {
        println!("skipped: ALYS_SMALL_DISK names no small file system");
        return;
    };
    let folder = tempfile::tempdir_in(disk).unwrap();
    let mut chain = Chain { engine: Engine::open(folder.path(), OPTIONS, &spec()).unwrap(), folder };
    let filler = transaction(1, 0, TxKind::Call(Address::ZERO), 0, vec![1; 60_000].into());
    let mut head = chain.engine.head();
    let error = loop {
        let nonce = chain.engine.reader().account(head.header.number, key(1).address()).unwrap().unwrap().nonce;
        let mut unsigned = filler.inner().as_eip1559().unwrap().tx().clone();
        (unsigned.nonce, unsigned.gas_limit) = (nonce, 2_000_000);
        let block = chain.build_on(head.hash, 2 * (head.header.number + 1), vec![sign(1, unsigned)]);
        match chain.engine.commit(block.hash) {
            Ok(committed) => head = committed.head,
            Err(EngineError::Store(error)) => break error,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(error.is_full(), "{error:?}");
    assert_eq!(chain.engine.head().hash, head.hash);
    let Chain { engine, folder } = chain;
    drop(engine);
    match Engine::open(folder.path(), OPTIONS, &spec()) {
        Err(OpenError::Store(error)) => assert!(error.is_full(), "{error:?}"),
        Err(error) => panic!("{error}"),
        Ok(engine) => assert_eq!(engine.head(), head),
    }
    let moved = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("engine.redb"), moved.path().join("engine.redb")).unwrap();
    let mut chain = Chain { engine: Engine::open(moved.path(), OPTIONS, &spec()).unwrap(), folder: moved };
    assert_eq!(chain.engine.head(), head, "with room again it goes on where it was");
    chain.advance(Vec::new());
}

/// Not a timed test: prints what `make bench` measures.
#[test]
fn empty_blocks_are_quick() {
    for quick_repair in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain =
            Chain { engine: Engine::open(folder.path(), Options { quick_repair, ..OPTIONS }, &spec()).unwrap(), folder };
        let start = Instant::now();
        for _ in 0..20 {
            chain.advance(Vec::new());
        }
        println!("20 empty blocks, built and on disk (quick repair {quick_repair}): {:?}", start.elapsed());
    }
}
