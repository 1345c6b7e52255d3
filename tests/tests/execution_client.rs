//! A cluster whose engine is an execution client of somebody else, over the Engine API.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use alys_proto::Role;
use alys_proto::cluster::{Health, Observation};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, binary, wait};
use alys_tests::demo::{Demonstration, Moment};
use alys_tests::execution_client::ExecutionClient;
use eyre::ensure;
use tokio::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);

/// What an operator does: `alys engine genesis --to FILE`.
async fn genesis_file(alys: &Alys) -> eyre::Result<PathBuf> {
    let spec = alys.data_dir().join("chain.toml");
    wait("the chain specification", PATIENCE, async || Ok(spec.exists().then_some(()))).await?;
    let file = alys.data_dir().join("genesis.json");
    let arguments = ["engine", "genesis", "--data-dir"];
    let status = Command::new(binary("alys")?).args(arguments).arg(alys.data_dir()).arg("--to").arg(&file).status()?;
    ensure!(status.success(), "alys engine genesis: {status}");
    Ok(file)
}

/// Waits until the engine role says that its client is there, or that it is not.
async fn answers(alys: &Alys, answers: bool) -> eyre::Result<Observation> {
    wait("the engine role to see its client come or go", PATIENCE, async || {
        let seen = alys.observation(Role::Engine).await?;
        Ok(seen.filter(|seen| (seen.health() == Health::Ready) == answers))
    })
    .await
}

/// The round trip of the demonstration. Before coins move the client is killed and comes back; after the burn it comes
/// back without any of its data, and gets its blocks from our storage.
#[tokio::test(flavor = "multi_thread")]
async fn the_round_trip_goes_through_a_client_that_dies_and_loses_its_data() -> eyre::Result<()> {
    let Some(mut client) = ExecutionClient::prepare()? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let options = Options { set: client.settings(), slot_millis: 2_000, ..Options::default() };
    let confirmations = options.confirmations;
    let mut alys = Alys::start(&bitcoind, options)?;
    let genesis = genesis_file(&alys).await?;
    alys.attach().await?;
    let without = answers(&alys, false).await?;
    assert!(without.health_reason.contains("the execution client"), "{}", without.health_reason);
    client.start(&genesis).await?;
    answers(&alys, true).await?;
    alys.wait_ready(PATIENCE).await?;

    let client = Mutex::new(client);
    let demonstration = Demonstration::new(&bitcoind, &alys, confirmations, |_step| {});
    let ran = demonstration
        .run_with(async |moment| {
            let mut client = client.lock().await;
            match moment {
                Moment::Confirmed => {
                    client.kill()?;
                    answers(&alys, false).await?;
                    client.start(&genesis).await
                }
                Moment::Transferred => Ok(()),
                Moment::Burned => {
                    client.kill()?;
                    client.wipe()?;
                    client.start(&genesis).await
                }
            }
        })
        .await;
    let mut client = client.into_inner();
    if ran.is_err() {
        eprintln!("log of the execution client:\n{}", client.log_tail());
    }
    ran?;
    assert_eq!(alys.stop()?, Some(0), "a drained cluster ends with 0");
    client.kill()
}
