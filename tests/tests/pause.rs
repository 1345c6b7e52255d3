//! The federation pauses the peg and lets it go on: by members' own commands, recorded in blocks, over the death of the role
//! that counts their signatures.
#![allow(missing_docs)]

use std::time::Duration;

use alloy_primitives::U256;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use alys_tests::ethereum::random_key;
use alys_tests::peg;
use eyre::ensure;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const DEPOSIT: Sats = Sats(100_000_000);
const BURN: Sats = Sats(25_000_000);

async fn peg_is(alys: &Alys, said: &str) -> eyre::Result<()> {
    wait(&format!("the peg to be {said}"), PATIENCE, async || {
        let field = alys.status_field(Role::Chain, "peg").await?;
        Ok(field.is_some_and(|peg| peg.starts_with(said)).then_some(()))
    })
    .await
}

fn wish(alys: &Alys, what: &str, member: &str) -> eyre::Result<String> {
    alys.succeed(&["governance", "--member", member, what])
}

/// What the address has received, in blocks or not.
async fn received(bitcoind: &Bitcoind, address: &bitcoin::Address) -> eyre::Result<f64> {
    bitcoind.call("getreceivedbyaddress", &[json!(address), json!(0)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn peg_18_members_pause_the_peg_and_resume_it_and_nothing_is_lost() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = peg::funded(&bitcoind, &alys, DEPOSIT).await?;
    peg_is(&alys, "open").await?;

    let said = wish(&alys, "pause", "1")?;
    ensure!(said.contains("will sign `pause`") && said.contains("2 of 3"), "{said}");
    alys.wait_blocks(4).await?;
    peg_is(&alys, "open").await?;
    // What one member has signed is in no block: chain forgets it with its life, the member says it again.
    alys.kill(Role::Chain).await?;
    wish(&alys, "pause", "3")?;
    peg_is(&alys, "paused since block").await?;

    let (late, to) = (random_key(), bitcoind.new_address().await?);
    peg::deposit(&bitcoind, &alys, late.address(), DEPOSIT).await?;
    bitcoind.mine(alys.federation().await?.confirmations.into()).await?;
    peg::burn(&alys, &owner, BURN, &to).await?;
    alys.kill(Role::Chain).await?;
    // From what storage has.
    peg_is(&alys, "paused since block").await?;
    alys.wait_blocks(8).await?;
    peg_is(&alys, "paused since block").await?;
    ensure!(alys.ethereum().balance(late.address()).await? == U256::ZERO, "minted in a pause");
    ensure!(received(&bitcoind, &to).await? == 0.0, "paid in a pause");

    wish(&alys, "resume", "2")?;
    wish(&alys, "resume", "3")?;
    peg_is(&alys, "open").await?;
    peg::minted(&alys, late.address(), DEPOSIT).await?;
    let paid = wait("the burn to be paid", PATIENCE, async || {
        let paid = received(&bitcoind, &to).await?;
        Ok((paid > 0.0).then_some(paid))
    })
    .await?;
    ensure!((0.249..0.25).contains(&paid), "{paid} paid");
    alys.ensure_no_panic()?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.succeed(&["storage", "check"])?;
    Ok(())
}
