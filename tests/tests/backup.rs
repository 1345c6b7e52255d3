//! Backups of nodes that work, checks that name damage, and restores: a chain goes on from its backup, and a validator that was
//! restored never votes twice.
#![allow(missing_docs)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, temporary_folder, wait};
use alys_tests::node::Shown;
use alys_tests::validators::Validators;
use eyre::{OptionExt as _, ensure};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const IN_USE: i32 = 75;
const DAMAGED: i32 = 78;

/// Standard output and exit code of a command of `alys`.
fn ran(alys: &Alys, arguments: &[&str]) -> eyre::Result<(String, Option<i32>, String)> {
    let output = alys.command(arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), output.status.code(), text(&output.stderr)))
}

fn json(text: &str) -> eyre::Result<Value> {
    Ok(serde_json::from_str(text)?)
}

fn height_in(manifest: &Value) -> eyre::Result<u64> {
    manifest.pointer("/manifest/head_height").and_then(Value::as_u64).ok_or_eyre("no head in the manifest")
}

async fn blocks(alys: &Alys, height: u64) -> eyre::Result<()> {
    wait("blocks", PATIENCE, async || {
        ensure!(alys.is_running(), "{}", alys.log_tail());
        Ok(alys.ethereum().height().await.is_ok_and(|now| now >= height).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_backed_up_while_it_works_and_goes_on_from_its_backup() -> eyre::Result<()> {
    let folder = temporary_folder()?;
    let home = folder.path().join("node");
    let set = vec!["bridge.bitcoind.url=http://127.0.0.1:1".to_owned()];
    let options = || Options { data_dir: Some(home.clone()), set: set.clone(), ..Options::default() };
    let mut alys = Alys::start_alone(options())?;
    blocks(&alys, 3).await?;

    let backup = folder.path().join("backup").display().to_string();
    let made = json(&alys.succeed(&["storage", "backup", &backup, "-o", "json"])?)?;
    let backed_up = height_in(&made)?;
    ensure!(backed_up >= 3, "{made}");
    let (_, code, said) = ran(&alys, &["storage", "check"])?;
    ensure!(code == Some(IN_USE) && said.contains("has the database open"), "{code:?}: {said}");
    let looked = json(&alys.succeed(&["storage", "check", &backup, "-o", "json"])?)?;
    ensure!(looked.pointer("/report/head_height").and_then(Value::as_u64) == Some(backed_up), "{looked}");
    blocks(&alys, backed_up + 3).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());

    let (whole, code, said) = ran(&alys, &["storage", "check"])?;
    ensure!(code == Some(0) && whole.contains("whole"), "{code:?}: {whole}{said}");
    let file = home.join("storage/alys.redb");
    flip(&file)?;
    let (found, code, said) = ran(&alys, &["storage", "check", "-o", "json"])?;
    let found = json(&found)?;
    ensure!(code == Some(DAMAGED) && found.pointer("/whole") == Some(&Value::Bool(false)), "{code:?}: {found} {said}");

    let (_, code, said) = ran(&alys, &["storage", "restore", &backup])?;
    ensure!(code == Some(DAMAGED) && said.contains("--force"), "{code:?}: {said}");
    let restored = json(&alys.succeed(&["storage", "restore", &backup, "--force", "--vote-at-once", "-o", "json"])?)?;
    for kept in ["/kept", "/engine_kept"] {
        let kept = restored.pointer(kept).and_then(Value::as_str).ok_or_eyre("what was there is not kept")?;
        ensure!(Path::new(kept).exists(), "{restored}");
    }
    let mut alys = Alys::start_alone(options())?;
    blocks(&alys, backed_up + 3).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    let closed = folder.path().join("closed").display().to_string();
    ensure!(
        height_in(&json(&alys.succeed(&["storage", "backup", &closed, "-o", "json"])?)?)? >= backed_up + 3,
        "of a closed one"
    );
    alys.ensure_no_panic()
}

/// A byte of a page in the middle, and all of its kind: no page is whole.
fn flip(file: &Path) -> eyre::Result<()> {
    let length = std::fs::metadata(file)?.len();
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    for position in (4_096..length).step_by(1_000) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, position)?;
        file.write_all_at(&[byte[0] ^ 0xff], position)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_validator_catches_up_and_never_votes_twice() -> eyre::Result<()> {
    const ALL: [usize; 4] = [0, 1, 2, 3];
    let bitcoind = Bitcoind::start().await?;
    let mut net = Validators::start(&bitcoind, 4, 2, &[])?;
    net.wait_height(&ALL, 5, PATIENCE).await?;
    let restored = &mut net.nodes[3];
    let backup = restored.home().join("backup").display().to_string();
    let made = json(&restored.succeed(&["storage", "backup", &backup, "-o", "json"])?)?;
    let backed_up = height_in(&made)?;
    restored.wait_row(Role::Chain, "blocks behind the backup", |row| Ok(row.head >= Some(backed_up + 3))).await?;
    restored.kill_all()?;
    restored.succeed(&["storage", "restore", &backup, "--force"])?;
    restored.resume().await?;
    // What it proposed before comes back with the others' blocks, so that it proposes says nothing yet.
    let speaks = |row: &Shown| Ok(row.status.get("producing").is_some_and(|producing| producing == "true"));
    restored.wait_row(Role::Chain, "the restored validator to speak again", speaks).await?;
    // It is needed, so blocks show that it votes.
    net.nodes[0].kill_all()?;
    let before = net.highest().await;
    net.wait_height(&[1, 2, 3], before + 4, PATIENCE).await?;
    net.ensure_same_block(&[1, 2, 3], before).await?;
    for node in &net.nodes[1..] {
        ensure!(node.row(Role::Chain)?.count("equivocations")? == 0, "somebody voted twice:\n{}", net.show());
        node.ensure_no_panic()?;
    }
    Ok(())
}
