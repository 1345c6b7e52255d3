//! People's tools against the live cluster, unchanged: viem and `cast`, with an account that a real deposit has funded.
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Stdio};

use alys_proto::Sats;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options};
use alys_tests::ethereum::key_hex;
use alys_tests::peg;
use eyre::ensure;

#[tokio::test(flavor = "multi_thread")]
async fn viem_and_cast_work_unchanged() -> eyre::Result<()> {
    if let Some(missing) = ["node", "npm"].into_iter().find(|program| !is_installed(program)) {
        eprintln!("skipped: `{missing}` is not installed; with node and npm this test runs viem and cast");
        return Ok(());
    }
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = peg::funded(&bitcoind, &alys, Sats(50_000_000)).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/wallets.mjs");
    let output = Command::new("node")
        .arg(script)
        .args([alys.ethereum().url(), &format!("0x{}", key_hex(&owner))])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    ensure!(output.status.success() && said.contains("all of it works"), "{said}");
    ensure!(said.contains("ok  viem") && said.contains("ok  cast"), "{said}");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

fn is_installed(program: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
