//! Disks that lie, belong to somebody else, or are full: a clear end with the documented code, nothing overwritten, nothing
//! lost, and a full disk that has room again is no reason for a person to come.
#![allow(missing_docs)]

use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::{TxKind, U256};
use alys_proto::Sats;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, temporary_folder, wait};
use alys_tests::disk::SmallDisk;
use alys_tests::{peg, processes};
use eyre::{WrapErr as _, ensure};

const PATIENCE: Duration = Duration::from_secs(60);
const TEMPORARY: i32 = 75;
const CONFIGURATION: i32 = 78;
const SAVED: Sats = Sats(50_000_000);

/// What happens to a file of 100 KiB and more.
type Damage = (&'static str, fn(&Path) -> eyre::Result<()>);

const DAMAGES: [Damage; 4] = [
    ("emptied", |file| Ok(OpenOptions::new().write(true).open(file)?.set_len(0)?)),
    ("cut off", |file| Ok(OpenOptions::new().write(true).open(file)?.set_len(50_000)?)),
    ("another header", |file| Ok(OpenOptions::new().write(true).open(file)?.write_all_at(&[0x5a; 512], 0)?)),
    ("flipped bytes", flip),
];

/// Every 37th byte behind the header: no page is whole.
fn flip(file: &Path) -> eyre::Result<()> {
    let mut bytes = std::fs::read(file)?;
    bytes.iter_mut().skip(4_096).step_by(37).for_each(|byte| *byte ^= 0xff);
    Ok(std::fs::write(file, bytes)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_database_ends_the_start_and_is_left_as_it_is() -> eyre::Result<()> {
    let folder = temporary_folder()?;
    a_chain_with_blocks(folder.path()).await?;
    let files = [
        ("storage", folder.path().join("storage/alys.redb"), "restore a backup"),
        ("engine", folder.path().join("engine/engine.redb"), "builds it again from the stored blocks"),
        ("governance-1", folder.path().join("governance/governance-1/governance.redb"), "keep it for inspection"),
    ];
    for (instance, file, advice) in &files {
        let whole = std::fs::read(file)?;
        for (damage, apply) in DAMAGES {
            let name = format!("{instance}: {damage}");
            if name == "engine: emptied" {
                // All that it held can be made again from the blocks.
                apply(file)?;
                a_chain_with_blocks(folder.path()).await.wrap_err(name)?;
                continue;
            }
            apply(file)?;
            let damaged = std::fs::metadata(file)?.len();
            refused(&name, folder.path(), &[instance, &file.display().to_string(), "damaged", advice]).wrap_err(name.clone())?;
            ensure!(std::fs::metadata(file)?.len() == damaged, "{name}: the evidence was changed");
        }
        std::fs::write(file, whole)?;
    }
    let spec_file = folder.path().join("chain.toml");
    let spec = std::fs::read_to_string(&spec_file)?;
    std::fs::write(&spec_file, spec.replace("chain_id = 212121", "chain_id = 212122"))?;
    refused("foreign", folder.path(), &["storage", "212121", "212122", "data_dir"])?;
    std::fs::write(&spec_file, spec)?;
    a_chain_with_blocks(folder.path()).await.wrap_err("restored, it goes on")
}

/// Runs until there are blocks, and stops.
async fn a_chain_with_blocks(data_dir: &Path) -> eyre::Result<()> {
    let mut alys = Alys::start_alone(on(data_dir))?;
    wait("blocks", PATIENCE, async || {
        ensure!(alys.is_running(), "{}", alys.log_tail());
        Ok(alys.ethereum().height().await.is_ok_and(|height| height >= 2).then_some(()))
    })
    .await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    Ok(())
}

fn on(data_dir: &Path) -> Options {
    let set = vec!["bridge.bitcoind.url=http://127.0.0.1:1".to_owned()];
    Options { data_dir: Some(data_dir.to_owned()), set, ..Options::default() }
}

fn refused(name: &str, data_dir: &Path, words: &[&str]) -> eyre::Result<()> {
    let mut alys = Alys::start_alone(on(data_dir))?;
    let ended = alys.wait_end(PATIENCE)?;
    let said = alys.said();
    ensure!(ended == Some(CONFIGURATION), "exit {ended:?}: {said}");
    ensure!(words.iter().all(|word| said.contains(word)), "not all of {words:?} are in: {said}");
    ensure!(processes::of(data_dir)?.is_empty(), "{name}: a process is left");
    alys.ensure_no_panic()
}

/// What the filler keeps of a small disk: the 32 MiB above it are less than storage wants.
const LEFT_BELOW: u64 = 96 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_the_chain_and_room_lets_it_go_on() -> eyre::Result<()> {
    let Some(disk) = SmallDisk::temporary(128)? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    // The wait of an open circuit, shortened: this is no test of patience.
    let set = vec!["supervision.restart.cool_down=1s".to_owned(), "supervision.restart.longest_delay=1s".to_owned()];
    let options = Options { data_dir: Some(disk.folder().join("node")), set, ..Options::default() };
    let mut alys = Alys::up(&bitcoind, options).await?;
    let saver = peg::funded(&bitcoind, &alys, SAVED).await?;
    let spender = peg::funded(&bitcoind, &alys, SAVED).await?;

    disk.fill()?;
    let highest = Cell::new(0);
    wait("a database to say that the disk is full", PATIENCE, async || {
        highest.set(alys.head().await.map_or(highest.get(), |head| head.height.max(highest.get())));
        // Until it has to grow, a database goes on in its own free pages.
        let _refused = alys.ethereum().send(&spender, TxKind::Create, U256::ZERO, vec![1; 100_000].into(), 4_000_000).await;
        Ok(alys.said().contains("ended (exit 75 (temporary))").then_some(()))
    })
    .await?;
    ensure!(alys.said().contains("space"), "the reason is not shown: {}", alys.log_tail());
    ensure!(alys.is_running(), "the supervisor gave up: {}", alys.log_tail());
    disk.make_room()?;
    alys.wait_ready(PATIENCE).await?;
    ensure!(alys.head().await?.height >= highest.get(), "an acknowledged block is lost");
    ensure!(alys.ethereum().balance(saver.address()).await? == peg::wei(SAVED), "a balance is lost");
    peg::funded(&bitcoind, &alys, SAVED).await.wrap_err("a deposit after the disk was full")?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits_for_room() -> eyre::Result<()> {
    let Some(disk) = SmallDisk::temporary(128)? else { return Ok(()) };
    let data_dir = disk.folder().join("node");
    let mut first = Alys::start_alone(on(&data_dir))?;
    // Before its roles run, SIGTERM may come earlier than somebody who listens for it.
    wait("the first run to answer", PATIENCE, async || Ok(first.ethereum().height().await.is_ok().then_some(()))).await?;
    ensure!(first.stop()? == Some(0), "{}", first.log_tail());
    disk.fill()?;
    // Its own output goes to a place with room.
    let refused = first.command(&["up"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    ensure!(refused.status.code() == Some(TEMPORARY) && said.contains("No space left") && said.contains("free space"), "{said}");

    // Room for locks and logs, but not for a database.
    OpenOptions::new().write(true).open(disk.filler())?.set_len(LEFT_BELOW)?;
    let mut options = on(&data_dir);
    options.set.extend(["supervision.restart.cool_down=1s".to_owned(), "supervision.restart.longest_delay=1s".to_owned()]);
    let mut alys = Alys::start_alone(options)?;
    wait("the reason", PATIENCE, async || Ok(alys.said().contains("no space is left on the disk").then_some(()))).await?;
    ensure!(alys.is_running(), "{}", alys.log_tail());
    disk.make_room()?;
    wait("blocks", PATIENCE, async || Ok(alys.ethereum().height().await.is_ok_and(|height| height >= 2).then_some(()))).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}
