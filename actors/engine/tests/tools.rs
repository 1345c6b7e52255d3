//! Real wallets and tools against a real engine: viem and cast, unchanged.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{DevChain, rich};
use tokio::process::Command;

/// Whether Node is here; without it these tests say so and pass.
async fn node_is_missing() -> bool {
    let missing = Command::new("node").arg("--version").output().await.is_err();
    if missing {
        println!("skipped: node is not installed");
    }
    missing
}

async fn node(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("node").args(arguments).current_dir(folder).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(240), output).await.unwrap().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "node {arguments:?}\n{said}\n{complained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viem_and_cast_work_unchanged() {
    if node_is_missing().await {
        return;
    }
    let chain = DevChain::start().await;
    let clock = chain.tick(Duration::from_millis(250));
    let url = format!("http://{}", chain.address());
    let key = format!("0x{}", hex::encode(rich().to_bytes()));
    node(&["tests/tools/wallets.mjs", &url, &key]).await;
    clock.abort();
}

#[tokio::test]
async fn the_bridge_bytecode_comes_from_its_source() {
    if node_is_missing().await {
        return;
    }
    node(&["actors/engine/contracts/compile.mjs", "--check"]).await;
    node(&["tests/tools/compile.mjs", "--check"]).await;
}
