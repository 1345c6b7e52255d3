//! The units of `deploy/systemd` on two hosts with a real systemd: roles that are killed, that hang, whose host is
//! restarted and that are upgraded one by one, with deposits and transfers under way. Nothing is lost and nothing happens
//! twice.
//!
//! Upgraded to this build from the program in `ALYS_PREVIOUS_BIN_DIR`; without it from a copy of this build.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alloy_primitives::{Bytes, TxKind, U256};
use alloy_signer_local::PrivateKeySigner;
use alys_proto::Sats;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::wait;
use alys_tests::ethereum::{Ethereum, random_key};
use alys_tests::lab;
use alys_tests::lab::site::{Site, UNITS, instance};
use bitcoin::Amount;
use eyre::{WrapErr as _, ensure};

const CONFIRMATIONS: u32 = 2;
const DEPOSIT: Sats = Sats(10_000_000);
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
    let mut traffic = Traffic::begin(&bitcoind, &site).await.wrap_err_with(|| site.report())?;
    told("first deposit minted");

    killed(&site, "alys-chain").await?;
    told("chain killed and back");
    traffic.go_on(&bitcoind, &site).await?;
    hung(&site, "alys-bridge").await?;
    told("bridge stopped, ended by its watchdog and back");
    traffic.go_on(&bitcoind, &site).await?;
    rebooted(&site).await?;
    told("host a rebooted and back with its data");
    traffic.go_on(&bitcoind, &site).await?;
    for (_, unit) in UNITS {
        upgraded(&site, unit).await.wrap_err_with(|| site.report())?;
        traffic.go_on(&bitcoind, &site).await?;
    }
    told("every unit upgraded");
    // The last deposit's block is not old enough yet.
    bitcoind.mine(CONFIRMATIONS.into()).await?;
    traffic.check(&site).await.wrap_err_with(|| site.report())?;
    told("every deposit minted once, every transfer arrived once");
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
        .wrap_err_with(|| site.report())
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
    let height = site.height().await?;
    let [host, _] = &site.hosts;
    let before = incarnation(site, "alys-storage").await?;
    host.reboot()?;
    for unit in ["alys-storage", "alys-engine", "alys-chain"] {
        back(site, unit, &before).await?;
    }
    site.wait_ready(PATIENCE).await?;
    let now = site.height().await?;
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

/// Deposits of one size for one account each, and transfers from the first account to another.
struct Traffic {
    owner: PrivateKeySigner,
    friend: PrivateKeySigner,
    accounts: Vec<PrivateKeySigner>,
    transfers: u64,
}

impl Traffic {
    async fn begin(bitcoind: &Bitcoind, site: &Site) -> eyre::Result<Self> {
        let mut traffic = Self { owner: random_key(), friend: random_key(), accounts: Vec::new(), transfers: 0 };
        let owner = traffic.owner.clone();
        traffic.deposit(bitcoind, site, owner.clone()).await?;
        bitcoind.mine(CONFIRMATIONS.into()).await?;
        wait("the first deposit", PATIENCE, async || {
            Ok((site.ethereum.balance(owner.address()).await? > U256::ZERO).then_some(()))
        })
        .await?;
        Ok(traffic)
    }

    /// One more deposit, which is under way while the next thing happens, and one more transfer, which is through.
    async fn go_on(&mut self, bitcoind: &Bitcoind, site: &Site) -> eyre::Result<()> {
        self.deposit(bitcoind, site, random_key()).await?;
        bitcoind.mine(1).await?;
        let (owner, to) = (&self.owner, TxKind::Call(self.friend.address()));
        let sent = wait("a transfer to be taken", PATIENCE, async || {
            Ok(Some(site.ethereum.send(owner, to, U256::from(1), Bytes::new(), 21_000).await?))
        });
        let hash = sent.await.wrap_err_with(|| site.report())?;
        let receipt = site.ethereum.receipt(hash, PATIENCE).await.wrap_err_with(|| site.report())?;
        ensure!(receipt.status.to::<u64>() == 1, "a transfer failed");
        self.transfers += 1;
        Ok(())
    }

    async fn deposit(&mut self, bitcoind: &Bitcoind, site: &Site, to: PrivateKeySigner) -> eyre::Result<()> {
        let federation = wait("the federation's address", PATIENCE, async || Ok(Some(site.federation().await?))).await?;
        let address = federation.address.parse::<bitcoin::Address<_>>()?.assume_checked();
        bitcoind.deposit(&address, Amount::from_sat(DEPOSIT.0), to.address().as_slice()).await?;
        self.accounts.push(to);
        Ok(())
    }

    async fn check(&self, site: &Site) -> eyre::Result<()> {
        let whole = U256::from(DEPOSIT.to_wei().0);
        let ethereum = &site.ethereum;
        for account in self.accounts.iter().skip(1) {
            let balance = arrived(ethereum, account, U256::ZERO).await?;
            ensure!(balance == whole, "{balance} wei were minted for {DEPOSIT} BTC");
        }
        let received = ethereum.balance(self.friend.address()).await?;
        // One whose answer was lost is counted by its nonce only.
        let sent: U256 = ethereum.call("eth_getTransactionCount", serde_json::json!([self.owner.address(), "latest"])).await?;
        ensure!(received == sent && sent >= U256::from(self.transfers), "{received} transfers arrived, {sent} were sent");
        let minted = site.pegs().await?.peg_ins;
        ensure!(minted.len() == self.accounts.len(), "{} deposits are known, {} were made", minted.len(), self.accounts.len());
        ensure!(minted.iter().all(|peg_in| peg_in.state == "minted"), "a deposit is not minted");
        Ok(())
    }
}

/// Waits until an account holds more than that.
async fn arrived(ethereum: &Ethereum, account: &PrivateKeySigner, more_than: U256) -> eyre::Result<U256> {
    wait("coins to arrive", PATIENCE, async || {
        let balance = ethereum.balance(account.address()).await?;
        Ok((balance > more_than).then_some(balance))
    })
    .await
}
