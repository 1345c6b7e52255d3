//! The demonstration: coins go from Bitcoin to the sidechain, move there, and come back; every balance is checked to the
//! satoshi and the wei. Also the end-to-end test of the whole.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use alys_proto::{Sats, bridge};
use eyre::{OptionExt as _, WrapErr as _, ensure};

use crate::bitcoind::Bitcoind;
use crate::cluster::wait;
use crate::ethereum::random_key;
use crate::peg::{self, wei};
use crate::sidechain::Sidechain;

const DEPOSIT: Sats = Sats(100_000_000);
const TRANSFER: Sats = Sats(25_000_000);
const BURN: Sats = Sats(40_000_000);
/// Long on a loaded machine; a healthy one needs a second or two for each step.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the table at the end.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// What came out.
    pub result: String,
    /// How long it took.
    pub took: Duration,
}

/// A moment between two steps, at which a test may do what it likes to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The deposit is deep enough in Bitcoin and not yet minted.
    Confirmed,
    /// Coins are on the sidechain and have moved there.
    Transferred,
    /// The burn is in a block and not yet paid.
    Burned,
}

/// Runs the steps and tells each as it is done.
pub struct Demonstration<'a, S> {
    bitcoind: &'a Bitcoind,
    alys: &'a S,
    confirmations: u32,
    tell: fn(&Step),
    steps: Vec<Step>,
}

impl<'a, S: Sidechain> Demonstration<'a, S> {
    /// A demonstration on a running cluster.
    pub const fn new(bitcoind: &'a Bitcoind, alys: &'a S, confirmations: u32, tell: fn(&Step)) -> Self {
        Self { bitcoind, alys, confirmations, tell, steps: Vec::new() }
    }

    /// The whole round trip. Returns the steps; an error names the first thing that was not exactly right.
    pub async fn run(self) -> eyre::Result<Vec<Step>> {
        self.run_with(async |_moment| Ok(())).await
    }

    /// The same, with something between the steps.
    pub async fn run_with(mut self, between: impl AsyncFn(Moment) -> eyre::Result<()>) -> eyre::Result<Vec<Step>> {
        let owner = random_key();
        let friend = random_key();
        let begun = Instant::now();
        self.deposit(&owner).await?;
        between(Moment::Confirmed).await?;
        self.minted(&owner).await?;
        let spent = self.transfer(&owner, friend.address()).await?;
        between(Moment::Transferred).await?;
        let target = self.burn(&owner, spent).await?;
        between(Moment::Burned).await?;
        let paid = self.paid(&target).await?;
        self.check_books(paid).await?;
        self.done("whole round trip", "every balance exact on both chains".into(), begun);
        Ok(self.steps)
    }

    fn done(&mut self, what: &str, result: String, begun: Instant) {
        let step = Step { what: what.into(), result, took: begun.elapsed() };
        (self.tell)(&step);
        self.steps.push(step);
    }

    async fn deposit(&mut self, owner: &PrivateKeySigner) -> eyre::Result<()> {
        let begun = Instant::now();
        let txid = peg::deposit(self.bitcoind, self.alys, owner.address(), DEPOSIT).await?;
        self.done("deposit on Bitcoin", format!("{DEPOSIT} BTC to the federation in {txid}"), begun);

        let begun = Instant::now();
        self.bitcoind.mine(u64::from(self.confirmations)).await?;
        self.done("confirmed", format!("{} Bitcoin blocks", self.confirmations), begun);
        Ok(())
    }

    async fn minted(&mut self, owner: &PrivateKeySigner) -> eyre::Result<()> {
        let begun = Instant::now();
        let minted = peg::minted(self.alys, owner.address(), DEPOSIT).await;
        minted.wrap_err_with(|| format!("log: {}", self.alys.last_words()))?;
        self.done("approved 2-of-3 and minted", format!("{} wei to {}", wei(DEPOSIT), owner.address()), begun);
        Ok(())
    }

    /// Returns what the owner spent, fee included.
    async fn transfer(&mut self, owner: &PrivateKeySigner, friend: Address) -> eyre::Result<U256> {
        let begun = Instant::now();
        let ethereum = self.alys.wallet();
        let receipt = ethereum.transfer(owner, friend, wei(TRANSFER)).await?;
        ensure!(ethereum.balance(friend).await? == wei(TRANSFER), "the transfer did not arrive whole");
        let spent = wei(TRANSFER) + ethereum.fee(&receipt).await?;
        let left = ethereum.balance(owner.address()).await?;
        ensure!(left == wei(DEPOSIT) - spent, "{left} wei are left, not {}", wei(DEPOSIT) - spent);
        self.done("EVM transfer", format!("{TRANSFER} BTC in block {}", receipt.block_number), begun);
        Ok(spent)
    }

    /// Burns; returns who is to be paid.
    async fn burn(&mut self, owner: &PrivateKeySigner, spent: U256) -> eyre::Result<bitcoin::Address> {
        let begun = Instant::now();
        let ethereum = self.alys.wallet();
        let target = self.bitcoind.new_address().await?;
        peg::burn(self.alys, owner, BURN, &target).await?;
        let peg_out = self.peg_out_where("the burn to be seen", |peg_out| !peg_out.state.is_empty()).await?;
        let left = ethereum.balance(owner.address()).await?;
        let cost = wei(DEPOSIT) - spent - wei(BURN) - left;
        ensure!(left + spent + wei(BURN) < wei(DEPOSIT), "the burn cost no fee");
        ensure!(peg_out.amount_sats == BURN.0, "the burn is of {} satoshis", peg_out.amount_sats);
        self.done("burned on the sidechain", format!("{BURN} BTC, gas {cost} wei"), begun);
        Ok(target)
    }

    /// Waits for the payment and returns it.
    async fn paid(&mut self, target: &bitcoin::Address) -> eyre::Result<Paid> {
        let begun = Instant::now();
        let peg_out = self.peg_out_where("the payout to be broadcast", |peg_out| peg_out.state == "broadcast").await?;
        let payout = bitcoin::Txid::from_raw_hash(bitcoin::hashes::Hash::from_slice(&peg_out.payout_txid)?);
        wait("the payout in the mempool", PATIENCE, async || Ok(self.bitcoind.in_mempool(&payout).await?.then_some(()))).await?;
        self.done("signed 2-of-3 and broadcast", payout.to_string(), begun);

        let begun = Instant::now();
        self.bitcoind.mine(u64::from(self.confirmations)).await?;
        self.peg_out_where("the payout to be settled", |peg_out| peg_out.state == "settled").await?;
        self.done("paid on Bitcoin and settled", format!("to {target}"), begun);
        Ok(Paid { payout, target: target.script_pubkey() })
    }

    async fn peg_out_where(&self, what: &str, holds: impl Fn(&bridge::PegOutState) -> bool) -> eyre::Result<bridge::PegOutState> {
        wait(what, PATIENCE, async || Ok(self.alys.pegs_now().await?.peg_outs.into_iter().find(&holds))).await
    }

    /// Coins on Bitcoin: what the burner got, what the federation still holds, what the miner took. To the satoshi.
    async fn check_books(&mut self, paid: Paid) -> eyre::Result<()> {
        let begun = Instant::now();
        let transaction = self.bitcoind.wallet_transaction(&paid.payout).await?;
        let federation =
            self.alys.federation_now().await?.address.parse::<bitcoin::Address<_>>()?.assume_checked().script_pubkey();
        let sum = |script: &bitcoin::ScriptBuf| -> u64 {
            transaction.output.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value.to_sat()).sum()
        };
        let (received, change) = (sum(&paid.target), sum(&federation));
        let fee = DEPOSIT.0.checked_sub(received + change).ok_or_eyre("the payout creates coins")?;
        ensure!(change == DEPOSIT.0 - BURN.0, "the federation holds {change} satoshis, not {}", DEPOSIT.0 - BURN.0);
        ensure!(received + fee == BURN.0, "the burner got {received} and the miner {fee} of {}", BURN.0);
        ensure!(fee > 0 && fee < 10_000, "a fee of {fee} satoshis");
        self.done("books", format!("{} BTC received, {} BTC held, fee {fee} satoshis", Sats(received), Sats(change)), begun);
        Ok(())
    }
}

struct Paid {
    payout: bitcoin::Txid,
    target: bitcoin::ScriptBuf,
}
