//! Question and answer pairs of the public execution APIs, over the chain that comes with them.
//!
//! Read from `$ALYS_VECTORS`, by default `../shared/vectors` beside the checkout. Without that folder the test says that
//! it was skipped. The chain begins with proof of work, which no chain of ours does: the test brings its blocks into
//! the database itself, by the executor and the tries of the engine.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "common/archive.rs"]
mod archive;
mod common;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use alloy_consensus::transaction::{Recovered, SignerRecoverable as _};
use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_eips::eip7840::BlobParams;
use alloy_evm::EvmEnv;
use alloy_evm::eth::EthBlockExecutionCtx;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable as _;
use alys_engine::StateReader;
use alys_engine::core::block::ExecutedBlock;
use alys_engine::core::execute::run_in;
use alys_engine::core::forks::{ForkSchedule, Rules};
use alys_engine::core::genesis::{GenesisAccount, block_zero};
use alys_engine::core::trace::block_in;
use alys_engine::io::history::StateAt;
use alys_engine::io::store::{Options, Store};
use alys_engine::pool::{Limits, Pool, SharedPool};
use alys_engine::rpc::{self, Handle, Sent};
use archive::unpack;
use serde_json::{Value, json};

/// Pairs that are not answered as they say, with the reason. `docs/crates/engine.md` lists them for people.
const DIFFERENCES: &[(&str, &str)] = &[
    ("debug_getRawReceipts/get-block-n", BYZANTIUM),
    ("eth_getBlockReceipts/get-block-receipts-by-hash", BYZANTIUM),
    ("eth_getBlockReceipts/get-block-receipts-n", BYZANTIUM),
    ("eth_getTransactionReceipt/get-legacy-contract", BYZANTIUM),
    ("eth_getTransactionReceipt/get-legacy-input", BYZANTIUM),
    ("eth_getTransactionReceipt/get-legacy-receipt", BYZANTIUM),
    ("debug_getRawBlock/get-block-n", OMMERS),
    ("eth_getTransactionReceipt/get-blob-tx", BLOBS),
    ("eth_sendRawTransaction/send-blob-tx", BLOBS),
    ("testing_buildBlockV1/build-block-empty-transactions", NO_BUILDING),
    ("testing_buildBlockV1/build-block-invalid-transaction", NO_BUILDING),
    ("testing_buildBlockV1/build-block-with-transactions", NO_BUILDING),
    ("eth_config/get-config", NOT_YET),
    ("eth_capabilities/get-capabilities", NOT_YET),
];
const NO_BUILDING: &str = "blocks are built when consensus asks, by nobody else";
const BYZANTIUM: &str = "receipts had a state root before Byzantium";
const OMMERS: &str = "blocks have no ommers since the merge";
const BLOBS: &str = "blob transactions are refused on our chain";
const NOT_YET: &str = "not offered yet";

/// The chain's own schedule: from Frontier to today's rules within 54 blocks.
#[derive(Clone)]
struct Schedule(Value);

impl Schedule {
    fn number(&self, field: &str) -> Option<u64> {
        self.0["config"][field].as_u64()
    }

    fn blob_params(&self, time: u64) -> Option<BlobParams> {
        let forks = ["bpo2", "bpo1", "osaka", "prague", "cancun"];
        let active = forks.iter().find(|fork| self.number(&format!("{fork}Time")).is_some_and(|from| time >= from))?;
        let schedule = &self.0["config"]["blobSchedule"][active];
        let field = |name: &str| schedule[name].as_u64().unwrap();
        Some(BlobParams {
            target_blob_count: field("target"),
            max_blob_count: field("max"),
            update_fraction: field("baseFeeUpdateFraction").into(),
            ..if time >= self.number("osakaTime").unwrap() { BlobParams::osaka() } else { BlobParams::cancun() }
        })
    }
}

impl EthereumHardforks for Schedule {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        use EthereumHardfork as Fork;
        let block = |field: &str| self.number(field).map_or(ForkCondition::Never, ForkCondition::Block);
        let time = |field: &str| self.number(field).map_or(ForkCondition::Never, ForkCondition::Timestamp);
        match fork {
            Fork::Frontier => ForkCondition::Block(0),
            Fork::Homestead => block("homesteadBlock"),
            Fork::Tangerine => block("eip150Block"),
            Fork::SpuriousDragon => block("eip158Block"),
            Fork::Byzantium => block("byzantiumBlock"),
            Fork::Constantinople => block("constantinopleBlock"),
            Fork::Petersburg => block("petersburgBlock"),
            Fork::Istanbul => block("istanbulBlock"),
            Fork::MuirGlacier => block("muirGlacierBlock"),
            Fork::Berlin => block("berlinBlock"),
            Fork::London => block("londonBlock"),
            Fork::ArrowGlacier => block("arrowGlacierBlock"),
            Fork::GrayGlacier => block("grayGlacierBlock"),
            Fork::Paris => ForkCondition::TTD {
                activation_block_number: self.number("mergeNetsplitBlock").unwrap(),
                fork_block: self.number("mergeNetsplitBlock"),
                total_difficulty: U256::from(self.number("terminalTotalDifficulty").unwrap()),
            },
            Fork::Shanghai => time("shanghaiTime"),
            Fork::Cancun => time("cancunTime"),
            Fork::Prague => time("pragueTime"),
            Fork::Osaka => time("osakaTime"),
            Fork::Bpo1 => time("bpo1Time"),
            Fork::Bpo2 => time("bpo2Time"),
            _ => ForkCondition::Never,
        }
    }
}

impl EthExecutorSpec for Schedule {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(Address::ZERO)
    }
}

fn genesis(text: &Value) -> ExecutedBlock {
    let field = |name: &str| text[name].as_str().unwrap_or("0x0");
    let header = Header {
        gas_limit: field("gasLimit").parse::<U256>().unwrap().to(),
        difficulty: field("difficulty").parse().unwrap(),
        extra_data: field("extraData").parse().unwrap(),
        ..Header::default()
    };
    let account = |value: &Value| GenesisAccount {
        nonce: value["nonce"].as_str().map_or(0, |text| text.parse::<U256>().unwrap().to()),
        balance: value["balance"].as_str().unwrap().parse().unwrap(),
        code: value["code"].as_str().map(|text| text.parse().unwrap()).unwrap_or_default(),
        storage: value["storage"].as_object().into_iter().flatten().map(slot).collect(),
    };
    let slot_text = text["alloc"].as_object().unwrap();
    let accounts: BTreeMap<Address, GenesisAccount> =
        slot_text.iter().map(|(address, value)| (address.parse().unwrap(), account(value))).collect();
    block_zero(header, &accounts).unwrap()
}

fn slot((key, value): (&String, &Value)) -> (U256, U256) {
    (key.parse().unwrap(), value.as_str().unwrap().parse().unwrap())
}

/// Executes a block on the head, whose roots must come out as it says.
fn import(store: &Store, schedule: &Schedule, chain_id: u64, block: Block<TxEnvelope>) {
    let header = block.header.clone();
    let environment = EvmEnv::for_eth_block(&header, schedule, chain_id, schedule.blob_params(header.timestamp));
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref().map(|list| Cow::Borrowed(list.as_slice())),
        extra_data: header.extra_data.clone(),
        tx_count_hint: None,
        slot_number: None,
    };
    let senders: Vec<Address> = block.body.transactions.iter().map(|transaction| transaction.recover_signer().unwrap()).collect();
    let snapshot = store.snapshot();
    let outcome = run_in(&*snapshot, schedule.clone(), environment, context, |run_one| {
        for (transaction, sender) in block.body.transactions.iter().zip(&senders) {
            let ran = run_one(&Recovered::new_unchecked(transaction.clone(), *sender));
            ran.unwrap_or_else(|error| panic!("block {}: {error:?}", header.number));
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("block {}: {error}", header.number));
    assert_eq!(outcome.state_root, header.state_root, "state root of block {}", header.number);
    assert_eq!(outcome.gas_used, header.gas_used, "gas of block {}", header.number);
    let hash = header.hash_slow();
    let executed = ExecutedBlock {
        hash,
        block,
        senders,
        receipts: outcome.receipts,
        diff: outcome.diff,
        burns: Vec::new(),
        fees: outcome.fees,
    };
    store.commit(&executed).unwrap();
}

/// One question with the answer that it must have.
struct Pair {
    name: String,
    question: String,
    answer: Value,
    /// Only the shape of the answer is fixed.
    shape_only: bool,
}

impl Pair {
    /// The traces of blocks from before our rules, under the rules of their time. Else the server is asked.
    fn trace(&self, store: &Store, schedule: &Schedule, chain_id: u64) -> Option<Value> {
        let question: Value = serde_json::from_str(&self.question).unwrap();
        let named = &question["params"][0];
        let snapshot = store.snapshot();
        let place = match question["method"].as_str().unwrap() {
            "debug_traceBlockByNumber" => (U256::from_str_radix(named.as_str()?.strip_prefix("0x")?, 16).ok()?.to(), None),
            "debug_traceBlockByHash" => (snapshot.number(named.as_str()?.parse().ok()?).unwrap()?, None),
            "debug_traceTransaction" => {
                let (number, index) = snapshot.transaction(named.as_str()?.parse().ok()?).unwrap()?;
                (number, Some(usize::try_from(index).unwrap()))
            }
            _ => return None,
        };
        let (number, only): (u64, Option<usize>) = place;
        let state = StateAt::new(&snapshot, number.checked_sub(1)?);
        let block = snapshot.block(number).unwrap()?;
        let header = &block.header;
        let environment = EvmEnv::for_eth_block(header, schedule, chain_id, schedule.blob_params(header.timestamp));
        let options = question["params"].get(1).map(|options| serde_json::from_value(options.clone()).unwrap());
        let traces = block_in(&state, schedule, &environment, &block, only, &options.unwrap_or_default()).unwrap();
        Some(match only {
            Some(_) => json!(traces[0].1),
            None => traces.into_iter().map(|(hash, result)| json!({ "result": result, "txHash": hash })).collect(),
        })
    }
}

fn pairs(folder: &Path) -> Vec<Pair> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().path()).filter(|path| path.is_dir()))
        .flat_map(|method| std::fs::read_dir(method).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    files.sort();
    let pair = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let line = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark)).unwrap().trim().to_owned();
        let method = file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        Pair {
            name: format!("{method}/{}", file.file_stem().unwrap().to_string_lossy()),
            question: line(">>"),
            answer: serde_json::from_str(&line("<<")).unwrap(),
            shape_only: text.contains("// speconly"),
        }
    };
    files.into_iter().map(pair).collect()
}

/// What of two answers must agree: results whole, errors by their code.
fn agrees(pair: &Pair, answer: &Value) -> bool {
    match (pair.answer.get("result"), answer.get("result")) {
        (Some(expected), Some(found)) if pair.shape_only => shape(expected) == shape(found),
        (Some(expected), Some(found)) => expected == found,
        (None, None) => pair.answer["error"]["code"] == answer["error"]["code"],
        _ => false,
    }
}

/// The names at the top of an object; nothing for anything else.
fn shape(value: &Value) -> BTreeSet<&String> {
    value.as_object().into_iter().flat_map(|object| object.keys()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn execution_apis_pairs() {
    let Some(folder) = unpack("execution-apis-tests.tar.gz") else { return };
    let folder = folder.path().join("tests");
    let text: Value = serde_json::from_slice(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    let chain_id = text["config"]["chainId"].as_u64().unwrap();
    let schedule = Schedule(text.clone());
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), Options { cache_bytes: 16 << 20, quick_repair: false }, &genesis(&text)).unwrap();
    let chain: Bytes = std::fs::read(folder.join("chain.rlp")).unwrap().into();
    let mut rest = chain.as_ref();
    while !rest.is_empty() {
        import(&store, &schedule, chain_id, Block::decode(&mut rest).unwrap());
    }

    let forks = ForkSchedule { prague: schedule.number("pragueTime"), osaka: schedule.number("osakaTime") };
    let rules = Rules { chain_id, forks, gas_limit: None, blobs: true };
    let pool_rules = alys_engine::pool::Rules {
        chain_id,
        block_gas_limit: store.snapshot().head().header.gas_limit,
        fork: revm::primitives::hardfork::SpecId::OSAKA,
    };
    let handle = Handle {
        reader: StateReader::new(rules, &store),
        pool: SharedPool::new(Pool::new(pool_rules, Limits::default())),
        sent: Sent::channel().0,
    };
    let mut config = rpc::Config::default();
    config.listen.set_port(0);
    let server = rpc::serve(&config, handle).await.unwrap();

    let (mut passed, mut failed) = (0, Vec::new());
    for pair in pairs(&folder) {
        let answer = match pair.trace(&store, &schedule, chain_id) {
            Some(result) => json!({ "result": result }),
            None => common::post(server.address(), &pair.question).await,
        };
        let known = DIFFERENCES.iter().any(|(name, _)| pair.name == *name);
        match (agrees(&pair, &answer), known) {
            (true, false) => passed += 1,
            (true, true) => failed.push(format!("{} is answered as it says: take it off the list", pair.name)),
            (false, true) => {}
            (false, false) => {
                failed.push(format!("{}\n  >> {}\n  expected {}\n  answered {answer}", pair.name, pair.question, pair.answer))
            }
        }
    }
    println!("{passed} pairs passed");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert_ne!(B256::ZERO, store.snapshot().head().hash);
}
