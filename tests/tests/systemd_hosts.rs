//! The units of `deploy/systemd` on two hosts with a real systemd: roles that are killed, that hang, whose host is
//! restarted and that are upgraded one by one, with deposits, burns and transfers under way. Nothing is lost and nothing happens
//! twice.
//!
//! Upgraded to this build from the program in `ALYS_PREVIOUS_BIN_DIR`; without it from a copy of this build.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::wait;
use alys_tests::lab;
use alys_tests::lab::site::{Site, UNITS, instance};
use alys_tests::sidechain::Sidechain as _;
use alys_tests::traffic::Traffic;
use eyre::{WrapErr as _, ensure};

const CONFIRMATIONS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_live_through_kill_hang_reboot_and_upgrade_with_nothing_lost() -> eyre::Result<()> {
    let test = "two_hosts_live_through_kill_hang_reboot_and_upgrade_with_nothing_lost";
    let Some(lab) = lab::enter(test, &["a", "b"]).await? else { return Ok(()) };
    let begun = Instant::now();
    let told = |what: &str| println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let site = Site::boot(&lab, &bitcoind, CONFIRMATIONS).await?;
    told("two hosts booted");
    site.wait_ready(PATIENCE).await?;
    told("all roles ready");
    let mut traffic = Traffic::begin(&bitcoind, &site, CONFIRMATIONS).await.wrap_err_with(|| site.last_words())?;
    told("first deposit minted");

    killed(&site, "alys-chain").await?;
    told("chain killed and back");
    go_on(&mut traffic).await?;
    hung(&site, "alys-bridge").await?;
    told("bridge stopped, ended by its watchdog and back");
    go_on(&mut traffic).await?;
    rebooted(&site).await?;
    told("host a rebooted and back with its data");
    go_on(&mut traffic).await?;
    for (_, unit) in UNITS {
        upgraded(&site, unit).await.wrap_err_with(|| site.last_words())?;
        go_on(&mut traffic).await?;
    }
    told("every unit upgraded");
    traffic.check().await.wrap_err_with(|| site.last_words())?;
    told("every deposit minted once, every burn paid once, every transfer arrived once");
    operators_command(&site).await?;
    told("alysctl shows all roles");
    drained(&site)?;
    told("both hosts drained");
    Ok(())
}

async fn back(site: &Site, unit: &str, before: &[u8]) -> eyre::Result<()> {
    let name = instance(unit);
    wait(&format!("{unit} to be back"), PATIENCE, async || Ok(site.ready(&name).await.filter(|now| now != before).map(drop)))
        .await
        .wrap_err_with(|| site.last_words())
}

async fn incarnation(site: &Site, unit: &str) -> eyre::Result<Vec<u8>> {
    let name = instance(unit);
    wait(&format!("{unit} to be ready"), PATIENCE, async || Ok(site.ready(&name).await)).await
}

async fn killed(site: &Site, unit: &str) -> eyre::Result<()> {
    let before = incarnation(site, unit).await?;
    site.host_of(unit)?.succeed(&["systemctl", "kill", "-s", "KILL", unit])?;
    back(site, unit, &before).await?;
    ensure!(site.host_of(unit)?.property(unit, "NRestarts")? == "1", "systemd restarted it once");
    Ok(())
}

async fn hung(site: &Site, unit: &str) -> eyre::Result<()> {
    let before = incarnation(site, unit).await?;
    let host = site.host_of(unit)?;
    host.succeed(&["systemctl", "kill", "-s", "STOP", unit])?;
    back(site, unit, &before).await?;
    let said = host.succeed(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])?;
    ensure!(said.contains("Watchdog timeout"), "it was not the watchdog:\n{said}");
    Ok(())
}

async fn rebooted(site: &Site) -> eyre::Result<()> {
    let height = site.head_now().await?.height;
    let [host, _] = &site.hosts;
    let before = incarnation(site, "alys-storage").await?;
    host.reboot()?;
    for unit in ["alys-storage", "alys-engine", "alys-chain"] {
        back(site, unit, &before).await?;
    }
    site.wait_ready(PATIENCE).await?;
    let now = site.head_now().await?.height;
    ensure!(now >= height, "it is at block {now} and was at {height}");
    Ok(())
}

async fn upgraded(site: &Site, unit: &str) -> eyre::Result<()> {
    let before = incarnation(site, unit).await?;
    let host = site.host_of(unit)?;
    host.succeed(&["ln", "-sfn", "/opt/alys/alys-next", "/usr/local/bin/alys"])?;
    host.succeed(&["systemctl", "restart", unit])?;
    back(site, unit, &before).await?;
    let pid = host.property(unit, "MainPID")?;
    let program = host.succeed(&["readlink", &format!("/proc/{pid}/exe")])?;
    ensure!(program.trim() == "/opt/alys/alys-next", "{unit} runs {program}");
    ensure!(host.property(unit, "Result")? == "success", "{unit} did not end in order");
    Ok(())
}

/// A command as an operator gives it on a host.
async fn operators_command(site: &Site) -> eyre::Result<()> {
    let [host, _] = &site.hosts;
    // It asks once; links to the other host may come a moment later.
    wait("alysctl to show all roles", PATIENCE, async || {
        // Its exit code speaks of the supervisor too, which does not run here.
        let shown = host.output(&["/usr/local/bin/alysctl", "status", "-o", "json"])?.stdout;
        let status: Vec<serde_json::Value> = serde_json::from_slice(&shown)?;
        let is_ready = |unit: &str| status.iter().any(|seen| seen["instance"] == instance(unit) && seen["health"] == "ready");
        Ok(UNITS.iter().all(|(_, unit)| is_ready(unit)).then_some(()))
    })
    .await
}

fn drained(site: &Site) -> eyre::Result<()> {
    for host in site.hosts.iter().rev() {
        host.succeed(&["systemctl", "stop", "alys.target"])?;
    }
    for (_, unit) in UNITS {
        let code = site.host_of(unit)?.property(unit, "ExecMainStatus")?;
        ensure!(code == "0", "{unit} ended with {code}");
    }
    Ok(())
}

/// One more deposit and one more burn, which are under way while the next thing happens, and one more transfer, which is through.
async fn go_on(traffic: &mut Traffic<'_, Site>) -> eyre::Result<()> {
    traffic.deposit().await?;
    traffic.burn().await?;
    traffic.transfer().await
}
