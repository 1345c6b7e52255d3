//! The command line as a process: exit codes, streams, and what it says to people and programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use alys::prepare::{DevChain, dev};

fn alys(data_dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alys"));
    // Nothing of the caller's own node may leak in.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALYS_") {
            command.env_remove(name);
        }
    }
    command.args(args).env("ALYS_DATA_DIR", data_dir).output().unwrap()
}

fn node() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    dev(directory.path(), &DevChain::default()).unwrap();
    directory
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_failure_says_what_to_do_and_has_its_code() {
    let empty = tempfile::tempdir().unwrap();
    refused(&alys(empty.path(), &["status"]), 78, &["alys.toml", "alys up --dev"]);
    refused(&alys(empty.path(), &["role", "storage"]), 78, &["alys.toml"]);
    refused(&alys(empty.path(), &["role", "nobody"]), 64, &["storage"]);

    let node = node();
    refused(&alys(node.path(), &["status"]), 75, &["no role is running", "alys up"]);
    refused(&alys(node.path(), &["role", "storage", "--set", "storage.cach=1"]), 78, &["--set", "cach"]);
    refused(&alys(node.path(), &["governance", "--member", "4"]), 64, &["members 1 to 3"]);
    refused(
        &alys(
            node.path(),
            &["transfer", "--amount", "1", "--to", "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", "--rpc", "http://127.0.0.1:1"],
        ),
        75,
        &["127.0.0.1:1"],
    );

    std::fs::write(node.path().join("alys.toml"), "[storage]\nport = 1\n").unwrap();
    refused(&alys(node.path(), &["config", "check"]), 78, &["line 2", "port"]);
}

#[test]
fn config_check_finds_missing_and_open_keys() {
    let node = node();
    let fine = alys(node.path(), &["config", "check"]);
    assert!(fine.status.success(), "{}", text(&fine.stderr));
    std::fs::remove_file(node.path().join("keys/validator.key")).unwrap();
    refused(&alys(node.path(), &["config", "check"]), 78, &["chain.validator_key", "validator.key"]);
    std::fs::write(node.path().join("chain.toml"), "name = 1").unwrap();
    refused(&alys(node.path(), &["config", "check"]), 78, &["chain.toml"]);
}

#[test]
fn config_show_tells_values_and_origins() {
    let node = node();
    let shown = alys(node.path(), &["config", "show", "--origin", "--set", "storage.max_reads=3", "-o", "json"]);
    let settings: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let find = |key: &str| settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    assert_eq!(
        (find("storage.max_reads")["value"].as_i64(), find("storage.max_reads")["origin"].as_str()),
        (Some(3), Some("flag --set"))
    );
    assert!(find("bridge.bitcoind.url")["origin"].as_str().unwrap().starts_with("file "));
    assert_eq!(find("engine.cache_size")["origin"], "default");
}

#[test]
fn keys_show_public_halves_only() {
    let node = node();
    let shown = text(&alys(node.path(), &["keys", "show"]).stdout);
    for kind in ["validator", "governance", "evm", "network"] {
        assert!(shown.contains(kind), "{shown}");
    }
    for file in ["validator", "evm", "governance-1"] {
        let secret = std::fs::read_to_string(node.path().join(format!("keys/{file}.key"))).unwrap();
        assert!(!shown.contains(secret.trim()), "{file} shows");
    }
    let out = node.path().join("new.key");
    let generate = || alys(node.path(), &["keys", "generate", "evm", "--out", out.to_str().unwrap()]);
    assert!(generate().status.success());
    refused(&generate(), 64, &["never overwritten"]);
}

#[test]
fn the_deposit_address_needs_nothing_that_runs() {
    let node = node();
    let recipient = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    let output = alys(node.path(), &["peg-in", "address", "--recipient", recipient, "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["address"].as_str().unwrap().starts_with("bcrt1p"), "{answer}");
    assert_eq!(answer["op_return"], recipient.trim_start_matches("0x").to_lowercase());
}

#[test]
fn help_and_completions_go_to_standard_output() {
    let node = node();
    for args in [&["--help"][..], &["up", "--help"], &["completions", "bash"], &["version"]] {
        let output = alys(node.path(), args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
}
