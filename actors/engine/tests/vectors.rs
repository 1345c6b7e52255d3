//! The public Ethereum test vectors, run through the engine's own rules, state and tries.
//!
//! Read from `$ALYS_VECTORS`, by default `../shared/vectors` beside the checkout. Without that folder the tests say that
//! they were skipped. `ALYS_VECTORS_SLOW=1` runs what takes longer than the rest together as well.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_consensus::{Block, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alys_engine::core::forks::{ForkSchedule, Rules};
use alys_engine::core::genesis::{GenesisAccount, block_zero};
use alys_engine::core::memory::MemoryState;
use alys_engine::core::state::StateSource;
use alys_engine::core::{trie, verify};
use serde_json::{Map, Value};

#[path = "common/archive.rs"]
mod archive;
use archive::unpack;

const RULES: Rules = Rules { chain_id: 1, forks: ForkSchedule { prague: None, osaka: None }, gas_limit: None, blobs: true };

/// Known to differ, by name of the test, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[("RevertInCreateInInit", EIP_7610), ("create2collisionStorage", EIP_7610)];

/// The EVM asks only for nonce and code before it creates a contract. Accounts with storage and neither of them exist in
/// these tests and from before EIP-161 on mainnet; a chain that starts with Cancun can have none.
const EIP_7610: &str = "EIP-7610: creation at an address that has storage";

/// Takes half a minute for one test.
const SLOW: &[&str] = &["loopMul"];

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            json_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {value}"))
}

fn bytes(hex: &str) -> Bytes {
    hex.parse().unwrap()
}

fn accounts(value: &Value) -> BTreeMap<Address, GenesisAccount> {
    let account = |value: &Value| GenesisAccount {
        nonce: text(value, "nonce").parse::<U256>().unwrap().to(),
        balance: text(value, "balance").parse().unwrap(),
        code: bytes(text(value, "code")),
        storage: value["storage"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.parse().unwrap(), v.as_str().unwrap().parse().unwrap()))
            .collect(),
    };
    value.as_object().unwrap().iter().map(|(address, value)| (address.parse().unwrap(), account(value))).collect()
}

/// Every block that must import does, every other one is refused, and the state at the end is the one stated.
fn run(test: &Value) -> Result<usize, String> {
    let genesis =
        Block::<TxEnvelope>::decode(&mut bytes(text(test, "genesisRLP")).as_ref()).map_err(|error| error.to_string())?;
    let zero = block_zero(genesis.header.clone(), &accounts(&test["pre"])).unwrap();
    if zero.header().state_root != genesis.header.state_root {
        return Err("the state root of genesis differs".into());
    }
    let mut state = MemoryState::default();
    state.apply(&zero);
    let mut known = BTreeMap::from([(zero.hash, (genesis.header, Arc::new(state)))]);
    let blocks = test["blocks"].as_array().unwrap();
    for (index, vector) in blocks.iter().enumerate() {
        let imported = import(&bytes(text(vector, "rlp")), &mut known);
        match (imported, vector.get("expectException")) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(reason)) => return Err(format!("block {index} was accepted, expected {reason}")),
            (Err(reason), None) => return Err(format!("block {index} was refused: {reason}")),
        }
    }
    let last: B256 = text(test, "lastblockhash").parse().unwrap();
    let (_, state) = known.get(&last).ok_or("the last block is not known")?;
    if !test["postState"].is_object() {
        return Ok(blocks.len());
    }
    let expected = accounts(&test["postState"]);
    if expected.len() != state.accounts().len() {
        return Err(format!("{} accounts, expected {}", state.accounts().len(), expected.len()));
    }
    for (address, account) in expected {
        let found = state.account(address).unwrap().ok_or_else(|| format!("{address} is missing"))?;
        let slots = account.storage.into_iter().filter(|(_, value)| !value.is_zero()).collect();
        let same = (found.nonce, found.balance, found.code_hash) == (account.nonce, account.balance, keccak256(&account.code));
        if !same || state.storage_slots(address).unwrap() != slots {
            return Err(format!("{address} differs"));
        }
    }
    Ok(blocks.len())
}

type Known = BTreeMap<B256, (alloy_consensus::Header, Arc<MemoryState>)>;

fn import(rlp: &Bytes, known: &mut Known) -> Result<(), String> {
    let mut rest = rlp.as_ref();
    let block = Block::<TxEnvelope>::decode(&mut rest).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("bytes left over".into());
    }
    let (hash, parent_hash) = (block.header.hash_slow(), block.header.parent_hash);
    let (parent, state) = known.get(&parent_hash).ok_or("its parent is not known")?;
    let executed =
        verify::verify(state.as_ref(), &RULES, (parent, parent_hash), hash, block).map_err(|error| error.to_string())?;
    let mut after = MemoryState::clone(state);
    after.apply(&executed);
    known.insert(hash, (executed.header().clone(), Arc::new(after)));
    Ok(())
}

#[test]
fn cancun_blockchain_tests() {
    let Some(folder) = unpack("ethereum-blockchain-tests.tar.gz") else { return };
    let mut files = Vec::new();
    json_files(folder.path(), &mut files);
    let slow = std::env::var_os("ALYS_VECTORS_SLOW").is_some();
    files.retain(|file| slow || !SLOW.iter().any(|name| file.to_string_lossy().contains(name)));
    files.sort();
    let halves = [files.iter().step_by(2).collect::<Vec<_>>(), files.iter().skip(1).step_by(2).collect()];
    let (passed, blocks, failed) = std::thread::scope(|scope| {
        let workers = halves.map(|files| scope.spawn(move || run_files(&files)));
        workers.into_iter().map(|worker| worker.join().unwrap()).fold((0, 0, Vec::new()), |mut all, part| {
            all.2.extend(part.2);
            (all.0 + part.0, all.1 + part.1, all.2)
        })
    });
    println!("{passed} tests of {} files passed, {blocks} blocks", files.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 0);
}

fn run_files(files: &[&PathBuf]) -> (usize, usize, Vec<String>) {
    let (mut passed, mut blocks, mut failed) = (0, 0, Vec::new());
    for file in files {
        let started = std::time::Instant::now();
        for (name, test) in read(file) {
            if test["network"] != "Cancun" || EXCEPTIONS.iter().any(|(exception, _)| name.contains(exception)) {
                continue;
            }
            match run(&test) {
                Ok(count) => (passed, blocks) = (passed + 1, blocks + count),
                Err(reason) => failed.push(format!("{name}: {reason}")),
            }
        }
        if started.elapsed().as_secs() >= 2 {
            println!("{} took {:?}", file.file_name().unwrap().to_string_lossy(), started.elapsed());
        }
    }
    (passed, blocks, failed)
}

#[test]
fn secure_trie_tests() {
    let Some(folder) = unpack("ethereum-trie-tests.tar.gz") else { return };
    let value = |text: &str| if text.starts_with("0x") { bytes(text).to_vec() } else { text.as_bytes().to_vec() };
    let mut run = 0;
    for file in ["hex_encoded_securetrie_test.json", "trieanyorder_secureTrie.json", "trietest_secureTrie.json"] {
        for (name, test) in read(&folder.path().join("TrieTests").join(file)) {
            let entries: Vec<(Value, Value)> = match &test["in"] {
                Value::Array(pairs) => pairs.iter().map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
                Value::Object(map) => map.iter().map(|(k, v)| (Value::String(k.clone()), v.clone())).collect(),
                other => panic!("{other}"),
            };
            // One update for each entry, on the nodes that the one before left.
            let mut nodes = BTreeMap::<Vec<u8>, Vec<u8>>::new();
            let mut root = B256::ZERO;
            for (key, entry) in entries {
                let change = (keccak256(value(key.as_str().unwrap())), entry.as_str().map(value));
                let update = trie::update(|path| Ok(nodes.get(path).cloned()), [change]).unwrap();
                root = update.root;
                for (path, node) in update.nodes {
                    match node {
                        Some(node) => nodes.insert(path, node),
                        None => nodes.remove(&path),
                    };
                }
            }
            assert_eq!(root, text(&test, "root").parse::<B256>().unwrap(), "{name}");
            run += 1;
        }
    }
    println!("{run} trie tests passed");
}
