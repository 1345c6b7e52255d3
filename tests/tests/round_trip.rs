//! One round trip through everything real, as `make demo` does it.
#![allow(missing_docs)]

use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options};
use alys_tests::demo::Demonstration;

#[tokio::test(flavor = "multi_thread")]
async fn coins_go_in_move_and_come_back_exactly() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let options = Options::default();
    let confirmations = options.confirmations;
    let mut alys = Alys::up(&bitcoind, options).await?;
    Demonstration::new(&bitcoind, &alys, confirmations, |_step| {}).run().await?;
    assert_eq!(alys.stop()?, Some(0), "a drained cluster ends with 0");
    Ok(())
}
