//! Four validators of real processes, of which one signs two things in one place: the others go on, keep the proof over their
//! own death, and it convinces an operator who has seen nothing of it.
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{binary, wait};
use alys_tests::node::Node;
use alys_tests::twin::Twin;
use alys_tests::validators::Validators;
use eyre::{OptionExt as _, ensure};
use malachite_ed25519::PrivateKey;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const HONEST: [usize; 3] = [0, 1, 2];
const LIAR: usize = 3;
/// Exit code of what proves nothing.
const CONFIGURATION: i32 = 78;

#[tokio::test(flavor = "multi_thread")]
async fn an_equivocation_leaves_proof_that_survives_a_crash_and_convinces_another_operator() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut net = Validators::start(&bitcoind, 4, 1, &[])?;
    net.wait_height(&[0, 1, 2, 3], 3, PATIENCE).await?;
    ensure!(evidence(&net.nodes[0])?.is_empty(), "an honest validator is accused");

    let liar = &mut net.nodes[LIAR];
    liar.kill_all()?;
    let spec = ChainSpec::from_toml(&std::fs::read_to_string(liar.home().join("chain.toml"))?)?;
    let accused = hex::encode(spec.validators[LIAR]);
    let twin = Twin::start(spec, key(&liar.home().join("keys/validator.key"))?, &addresses(&net)?)?;
    wait("the proof with each of the others", PATIENCE, async || {
        twin.vote_twice(net.highest().await + 2)?;
        for node in HONEST {
            let found = evidence(&net.nodes[node])?;
            ensure!(!found.is_empty(), "validator {node} has no proof yet");
        }
        Ok(Some(()))
    })
    .await?;
    twin.stop().await?;

    let found = evidence(&net.nodes[0])?;
    for proof in &found {
        ensure!(proof["validator"] == format!("0x{accused}"), "somebody else is accused: {proof}");
        ensure!(proof["flaw"].is_null() && proof["kind"] == "prevote" && proof["first"] != proof["second"], "{proof}");
    }
    ensure!(net.nodes[0].succeed(&["evidence"])?.contains(&accused), "the table does not name it");
    ensure!(net.nodes[0].row(Role::Chain)?.count("equivocations")? > 0, "it is not counted");

    let went_on = net.highest().await + 3;
    net.wait_height(&HONEST, went_on, PATIENCE).await?;
    net.ensure_same_block(&HONEST, went_on).await?;
    net.nodes[0].kill_all()?;
    net.nodes[0].resume().await?;
    let after = evidence(&net.nodes[0])?;
    ensure!(found.iter().all(|proof| after.contains(proof)), "lost by a crash: {found:#?} of {after:#?}");

    convinces_another_operator(net.nodes[LIAR].home(), &found)
}

/// In the folder of a node that does not run; and what is altered does not.
fn convinces_another_operator(folder: &Path, found: &[Value]) -> eyre::Result<()> {
    let honest = check(folder, found)?;
    ensure!(honest.status.success(), "{}", String::from_utf8_lossy(&honest.stderr));
    let mut forged = found.to_vec();
    let proof = forged.first_mut().ok_or_eyre("no proof")?;
    proof["second"] = proof["first"].clone();
    proof["second_block"] = proof["first_block"].clone();
    let refused = check(folder, &forged)?;
    ensure!(refused.status.code() == Some(CONFIGURATION), "a forgery ends with {}", refused.status);
    let said = String::from_utf8(refused.stdout)?;
    ensure!(said.contains("DOES NOT HOLD: both say the same"), "{said}");
    Ok(())
}

fn check(folder: &Path, proofs: &[Value]) -> eyre::Result<Output> {
    let file = folder.join("evidence.json");
    std::fs::write(&file, serde_json::to_vec(proofs)?)?;
    let [folder, file] = [("data-dir", folder), ("file", &file)].map(|(flag, path)| format!("--{flag}={}", path.display()));
    Ok(Command::new(binary("alys")?).args(["evidence", &folder, &file]).output()?)
}

fn evidence(node: &Node) -> eyre::Result<Vec<Value>> {
    Ok(serde_json::from_str(&node.succeed(&["evidence", "-o", "json"])?)?)
}

fn key(file: &Path) -> eyre::Result<PrivateKey> {
    let mut seed = [0; 32];
    hex::decode_to_slice(std::fs::read_to_string(file)?.trim(), &mut seed)?;
    Ok(PrivateKey::from(seed))
}

/// Where the honest ones listen, over TCP.
fn addresses(net: &Validators) -> eyre::Result<Vec<String>> {
    let mut found = Vec::new();
    for node in HONEST {
        let row = net.nodes[node].row(Role::Network)?;
        let all = row.status.get("addresses").ok_or_eyre("it does not listen")?;
        found.extend(all.split(' ').filter(|address| address.contains("/tcp/")).map(str::to_owned));
    }
    Ok(found)
}
