//! Deposits, transfers and burns that are under way while a test does harm, and the books at its end: each had its effect, and
//! had it once.

use std::time::Duration;

use alloy_primitives::{Bytes, TxKind, U256};
use alloy_signer_local::PrivateKeySigner;
use alys_proto::Sats;
use eyre::{WrapErr as _, ensure};
use serde_json::json;

use crate::bitcoind::Bitcoind;
use crate::cluster::wait;
use crate::ethereum::random_key;
use crate::peg::{self, wei};
use crate::sidechain::Sidechain;

const PATIENCE: Duration = Duration::from_secs(90);
const SAVINGS: Sats = Sats(1_000_000_000);
const DEPOSIT: Sats = Sats(10_000_000);
const BURN: Sats = Sats(3_000_000);
/// More than any payout pays to the miner on regtest.
const MOST_FEE: u64 = 10_000;

/// Deposits for one account each, and transfers and burns of one that has savings.
pub struct Traffic<'a, S> {
    bitcoind: &'a Bitcoind,
    node: &'a S,
    confirmations: u64,
    owner: PrivateKeySigner,
    friend: PrivateKeySigner,
    accounts: Vec<PrivateKeySigner>,
    targets: Vec<bitcoin::Address>,
    transfers: u64,
    savers: usize,
}

impl<'a, S: Sidechain> Traffic<'a, S> {
    /// Gives somebody savings.
    pub async fn begin(bitcoind: &'a Bitcoind, node: &'a S, confirmations: u32) -> eyre::Result<Self> {
        let owner = peg::funded(bitcoind, node, SAVINGS).await?;
        let (friend, confirmations) = (random_key(), confirmations.into());
        Ok(Self {
            bitcoind,
            node,
            confirmations,
            owner,
            friend,
            accounts: Vec::new(),
            targets: Vec::new(),
            transfers: 0,
            savers: 1,
        })
    }

    /// One more account with savings, to do with as the test likes.
    pub async fn another_saver(&mut self) -> eyre::Result<PrivateKeySigner> {
        self.savers += 1;
        peg::funded(self.bitcoind, self.node, SAVINGS).await
    }

    /// A deposit in its first Bitcoin block, not yet minted.
    pub async fn deposit(&mut self) -> eyre::Result<()> {
        let account = random_key();
        wait("a deposit to be made", PATIENCE, async || {
            Ok(Some(peg::deposit(self.bitcoind, self.node, account.address(), DEPOSIT).await?))
        })
        .await?;
        self.accounts.push(account);
        self.bitcoind.mine(1).await.map(drop)
    }

    /// A burn in a block of the sidechain, not yet paid.
    pub async fn burn(&mut self) -> eyre::Result<()> {
        let target = self.bitcoind.new_address().await?;
        peg::burn(self.node, &self.owner, BURN, &target).await.wrap_err_with(|| self.node.last_words())?;
        self.targets.push(target);
        Ok(())
    }

    /// A transfer that is through.
    pub async fn transfer(&mut self) -> eyre::Result<()> {
        let (wallet, to) = (self.node.wallet(), TxKind::Call(self.friend.address()));
        let sent = wait("a transfer to be taken", PATIENCE, async || {
            Ok(Some(wallet.send(&self.owner, to, U256::from(1), Bytes::new(), 21_000).await?))
        });
        let receipt = wallet.receipt(sent.await?, PATIENCE).await.wrap_err_with(|| self.node.last_words())?;
        ensure!(receipt.status.to::<u64>() == 1, "a transfer failed");
        self.transfers += 1;
        Ok(())
    }

    /// Everything under way comes to its end, and to one only.
    pub async fn check(&self) -> eyre::Result<()> {
        self.check_deposits().await.wrap_err("deposits")?;
        self.check_transfers().await.wrap_err("transfers")?;
        self.check_burns().await.wrap_err("burns")
    }

    async fn check_deposits(&self) -> eyre::Result<()> {
        self.bitcoind.mine(self.confirmations).await?;
        for account in &self.accounts {
            peg::minted(self.node, account.address(), DEPOSIT).await.wrap_err_with(|| self.node.last_words())?;
        }
        // Savings are deposits too.
        let made = self.accounts.len() + self.savers;
        // Engine shows a balance a moment before bridge hears of the block that minted it.
        wait("bridge to know every deposit as minted", PATIENCE, async || {
            let known = self.node.pegs_now().await?.peg_ins;
            ensure!(known.len() <= made, "{} are known, {made} were made", known.len());
            let minted = known.iter().filter(|peg_in| peg_in.state == "minted").count();
            Ok((minted == made).then_some(()))
        })
        .await?;
        for account in &self.accounts {
            let balance = self.node.wallet().balance(account.address()).await?;
            ensure!(balance == wei(DEPOSIT), "{balance} wei were minted for {DEPOSIT} BTC");
        }
        Ok(())
    }

    async fn check_transfers(&self) -> eyre::Result<()> {
        let wallet = self.node.wallet();
        let received = wallet.balance(self.friend.address()).await?;
        // One whose answer was lost is counted by its nonce only; so are burns.
        let sent: U256 = wallet.call("eth_getTransactionCount", json!([self.owner.address(), "latest"])).await?;
        let transfers = sent.saturating_sub(U256::from(self.targets.len()));
        ensure!(received == transfers, "{received} arrived, {transfers} were sent");
        ensure!(received >= U256::from(self.transfers), "{received} arrived, {} were acknowledged", self.transfers);
        Ok(())
    }

    async fn check_burns(&self) -> eyre::Result<()> {
        wait("every burn to be settled", PATIENCE, async || {
            self.bitcoind.mine(1).await?;
            let burns = self.node.pegs_now().await?.peg_outs;
            ensure!(burns.len() == self.targets.len(), "{} are known, {} were made", burns.len(), self.targets.len());
            Ok(burns.iter().all(|burn| burn.state == "settled").then_some(()))
        })
        .await
        .wrap_err_with(|| self.node.last_words())?;
        for target in &self.targets {
            let (times, sats) = self.received(target).await?;
            ensure!(times == 1, "{target} was paid {times} times");
            ensure!(sats <= BURN.0 && sats > BURN.0 - MOST_FEE, "{target} got {sats} satoshis for {BURN} BTC");
        }
        Ok(())
    }

    /// Payments to an address, and their sum.
    async fn received(&self, target: &bitcoin::Address) -> eyre::Result<(usize, u64)> {
        #[derive(serde::Deserialize)]
        struct Received {
            #[serde(with = "bitcoin::amount::serde::as_btc")]
            amount: bitcoin::Amount,
            txids: Vec<bitcoin::Txid>,
        }
        let arguments = [json!(0), json!(false), json!(false), json!(target.to_string())];
        let received: Vec<Received> = self.bitcoind.call("listreceivedbyaddress", &arguments).await?;
        Ok(received.first().map_or((0, 0), |entry| (entry.txids.len(), entry.amount.to_sat())))
    }
}
