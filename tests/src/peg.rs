//! Deposits and burns as tests make them.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use alys_proto::Sats;
use bitcoin::{Amount, Txid};
use eyre::ensure;

use crate::bitcoind::Bitcoind;
use crate::cluster::wait;
use crate::ethereum::{random_key, write_key};
use crate::sidechain::Sidechain;

/// Long on a loaded machine; a healthy one needs a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends coins to the federation for an account on the sidechain. Not yet in a Bitcoin block.
pub async fn deposit(bitcoind: &Bitcoind, alys: &impl Sidechain, to: Address, amount: Sats) -> eyre::Result<Txid> {
    let address = alys.federation_now().await?.address.parse::<bitcoin::Address<_>>()?.assume_checked();
    bitcoind.deposit(&address, Amount::from_sat(amount.0), to.as_slice()).await
}

/// Waits until the account has coins, which must be exactly these.
pub async fn minted(alys: &impl Sidechain, to: Address, amount: Sats) -> eyre::Result<()> {
    let balance = wait("the deposit to be minted", PATIENCE, async || {
        let balance = alys.wallet().balance(to).await?;
        Ok((balance > U256::ZERO).then_some(balance))
    })
    .await?;
    ensure!(balance == wei(amount), "minted {balance} wei for {amount} BTC");
    Ok(())
}

/// A fresh account with coins of a real deposit.
pub async fn funded(bitcoind: &Bitcoind, alys: &impl Sidechain, amount: Sats) -> eyre::Result<PrivateKeySigner> {
    let owner = random_key();
    deposit(bitcoind, alys, owner.address(), amount).await?;
    bitcoind.mine(alys.federation_now().await?.confirmations.into()).await?;
    minted(alys, owner.address(), amount).await?;
    Ok(owner)
}

/// Burns coins of an account as a person does, and is back when the burn is in a block.
pub async fn burn(alys: &impl Sidechain, owner: &PrivateKeySigner, amount: Sats, to: &bitcoin::Address) -> eyre::Result<()> {
    let key_file = alys.home().join("owner.key");
    write_key(owner, &key_file)?;
    let (amount, to, key_file) = (amount.to_string(), to.to_string(), key_file.display().to_string());
    let paid = ["--amount", &amount, "--to", &to];
    let by = ["--key-file", &key_file, "--no-follow", "--rpc", alys.wallet().url()];
    alys.command_output(&[["peg-out"].as_slice(), &paid, &by].concat()).map(drop)
}

/// The sidechain's unit.
pub fn wei(amount: Sats) -> U256 {
    U256::from(amount.to_wei().0)
}
