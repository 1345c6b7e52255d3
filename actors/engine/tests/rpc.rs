//! JSON-RPC over its real port, with blocks made on demand.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod common;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, TxKind, U256, hex};
use alloy_rpc_types_eth::{Log, Transaction, TransactionReceipt};
use alloy_signer::SignerSync;
use alloy_sol_types::{SolCall, SolEvent, sol};
use common::{BRIDGE, CHAIN_ID, DevChain, rich};
use serde_json::{Value, json};

sol! {
    event RequestPegOut(address indexed sender, bytes bitcoinAddress, uint256 amount);
    function requestPegOut(bytes calldata bitcoinAddress) external payable;
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 3_000_000,
        to: TxKind::Call(alloy_primitives::Address::repeat_byte(0x77)),
        value: U256::from(5),
        ..TxEip1559::default()
    }
}

fn burn(nonce: u64) -> TxEip1559 {
    let input = requestPegOutCall { bitcoinAddress: Bytes::from_static(b"bcrt1qexample") }.abi_encode().into();
    let value = U256::from(10).pow(U256::from(15));
    TxEip1559 { to: TxKind::Call(BRIDGE), value, input, gas_limit: 100_000, ..transfer(nonce) }
}

fn signed(transaction: TxEip1559) -> Value {
    let signature = rich().sign_hash_sync(&transaction.signature_hash()).unwrap();
    json!([Bytes::from(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())])
}

async fn send(chain: &DevChain, transaction: TxEip1559) -> Value {
    chain.call("eth_sendRawTransaction", signed(transaction)).await.unwrap()
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_transfer_is_seen_everywhere() {
    let chain = DevChain::start().await;
    let hash = send(&chain, transfer(0)).await;
    let address = rich().address();
    assert_eq!(chain.call("txpool_status", json!([])).await.unwrap(), json!({ "pending": "0x1", "queued": "0x0" }));
    assert_eq!(chain.call("eth_getTransactionCount", json!([address, "pending"])).await.unwrap(), "0x1");
    assert_eq!(chain.call("eth_getTransactionCount", json!([address, "latest"])).await.unwrap(), "0x0");
    let waiting = chain.call("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!((&waiting["blockHash"], &waiting["from"]), (&Value::Null, &json!(address)));
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash])).await.unwrap(), Value::Null);

    chain.block();
    let block = chain.block_by("latest").await;
    assert_eq!((block.header.number, block.transactions.len()), (1, 1));
    let receipt: TransactionReceipt = parse(chain.call("eth_getTransactionReceipt", json!([hash])).await.unwrap());
    assert!(receipt.status());
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap());
    assert_eq!((receipt.gas_used, receipt.effective_gas_price), (21_000, base_fee + 3_000_000));
    let transaction: Transaction = parse(chain.call("eth_getTransactionByHash", json!([hash])).await.unwrap());
    assert_eq!((transaction.block_hash, transaction.transaction_index), (Some(block.header.hash), Some(0)));
    assert_eq!(transaction.effective_gas_price, Some(receipt.effective_gas_price));
    let balance = |at: Value| chain.call("eth_getBalance", json!(["0x7777777777777777777777777777777777777777", at]));
    assert_eq!(balance(json!("latest")).await.unwrap(), "0x5");
    assert_eq!(balance(json!("0x0")).await.unwrap(), "0x0");
    assert_eq!(balance(json!({ "blockHash": block.header.hash })).await.unwrap(), "0x5");
    assert_eq!(balance(json!("0x2")).await.unwrap_err()["message"], "header not found");
    let again = chain.call("eth_sendRawTransaction", signed(transfer(0))).await.unwrap_err();
    assert_eq!(again, json!({ "code": -32000, "message": "nonce too low: next nonce 1, tx nonce 0" }));
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_hash() {
    let chain = DevChain::start().await;
    for nonce in 0..3 {
        send(&chain, burn(nonce)).await;
        if nonce > 0 {
            chain.block();
        }
    }
    chain.block();
    let logs = async |filter: Value| chain.call("eth_getLogs", json!([filter])).await.map(parse::<Vec<Log>>);
    let all = logs(json!({ "fromBlock": "earliest", "address": BRIDGE })).await.unwrap();
    let places: Vec<_> =
        all.iter().map(|log| (log.block_number.unwrap(), log.transaction_index.unwrap(), log.log_index.unwrap())).collect();
    assert_eq!(places, [(1, 0, 0), (1, 1, 1), (2, 0, 0)]);
    let decoded = RequestPegOut::decode_log(&all[0].inner).unwrap();
    assert_eq!((decoded.sender, decoded.bitcoinAddress.as_ref()), (rich().address(), b"bcrt1qexample".as_slice()));
    let topic = RequestPegOut::SIGNATURE_HASH;
    assert_eq!(logs(json!({ "fromBlock": "0x1", "toBlock": "0x1", "topics": [topic] })).await.unwrap().len(), 2);
    assert_eq!(logs(json!({ "blockHash": all[2].block_hash, "topics": [[topic], null] })).await.unwrap().len(), 1);
    assert_eq!(logs(json!({ "fromBlock": "0x0", "topics": [null, topic] })).await.unwrap().len(), 0);
    assert_eq!(logs(json!({ "fromBlock": "0x64" })).await.unwrap().len(), 0);
    assert_eq!(logs(json!({ "fromBlock": "0x2", "toBlock": "0x1" })).await.unwrap_err()["code"], -32602);
    assert_eq!(logs(json!({ "blockHash": topic })).await.unwrap_err()["message"], "unknown block");
    let receipts: Vec<TransactionReceipt> = parse(chain.call("eth_getBlockReceipts", json!(["0x1"])).await.unwrap());
    assert_eq!(receipts[1].logs()[0].log_index, Some(1));
    assert_eq!(receipts[1].gas_used + receipts[0].gas_used, chain.block_by("0x1").await.header.gas_used);
}

#[tokio::test]
async fn filters_answer_what_is_new() {
    let chain = DevChain::start().await;
    let install = async |method: &str, params: Value| chain.call(method, params).await.unwrap();
    let blocks = install("eth_newBlockFilter", json!([])).await;
    let logs = install("eth_newFilter", json!([{ "address": BRIDGE }])).await;
    let waiting = install("eth_newPendingTransactionFilter", json!([])).await;
    assert!(blocks != logs && logs != waiting);
    let changes = async |id: &Value| chain.call("eth_getFilterChanges", json!([id])).await.unwrap();
    for nonce in 0..2 {
        let hash = send(&chain, burn(nonce)).await;
        assert_eq!(changes(&waiting).await, json!([hash]));
        assert_eq!((changes(&blocks).await, changes(&logs).await), (json!([]), json!([])));
        chain.block();
        assert_eq!(changes(&waiting).await, json!([]));
        assert_eq!(changes(&blocks).await, json!([chain.block_by("latest").await.header.hash]));
        let found: Vec<Log> = parse(changes(&logs).await);
        assert_eq!((found.len(), found[0].block_number), (1, Some(nonce + 1)));
    }
    assert_eq!(changes(&logs).await, json!([]));
    assert_eq!(chain.call("eth_uninstallFilter", json!([logs])).await.unwrap(), true);
    let gone = chain.call("eth_getFilterChanges", json!([logs])).await.unwrap_err();
    assert_eq!(gone, json!({ "code": -32000, "message": "filter not found" }));
    let past = install("eth_newFilter", json!([{ "address": BRIDGE, "fromBlock": "0x2" }])).await;
    let found: Vec<Log> = parse(chain.call("eth_getFilterLogs", json!([past])).await.unwrap());
    assert_eq!((found.len(), found[0].block_number), (1, Some(2)));
}

#[tokio::test]
async fn blocks_have_the_hash_size_and_roots_of_their_content() {
    let chain = DevChain::start().await;
    send(&chain, transfer(0)).await;
    chain.block();
    let block = chain.block_by("latest").await;
    assert_eq!(block.header.inner.hash_slow(), block.header.hash);
    let root = block.clone().map_transactions(Transaction::into_inner).calculate_transactions_root();
    assert_eq!(root, Some(block.header.transactions_root));
    assert_eq!(block.header.parent_hash, chain.block_by("earliest").await.header.hash);
    let hashes = chain.call("eth_getBlockByHash", json!([block.header.hash, false])).await.unwrap();
    assert_eq!(hashes["transactions"].as_array().unwrap().len(), 1);
    assert!(hashes["transactions"][0].is_string());
    for tag in ["safe", "finalized", "pending"] {
        assert_eq!(chain.block_by(tag).await.header.hash, block.header.hash);
    }
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["0x9", false])).await.unwrap(), Value::Null);
    assert_eq!(chain.call("eth_getBlockTransactionCountByNumber", json!(["0x1"])).await.unwrap(), "0x1");
}

#[tokio::test]
async fn calls_and_estimates() {
    let chain = DevChain::start().await;
    let from = rich().address();
    let burn = burn(0);
    let request = json!({ "from": from, "to": BRIDGE, "value": burn.value, "data": burn.input });
    assert_eq!(chain.call("eth_call", json!([request, "latest"])).await.unwrap(), "0x");
    let reverted =
        chain.call("eth_call", json!([{ "from": from, "to": BRIDGE, "data": burn.input }, "latest"])).await.unwrap_err();
    assert_eq!((&reverted["code"], &reverted["message"]), (&json!(3), &json!("execution reverted")));
    assert!(reverted["data"].as_str().unwrap().len() > 10);
    let estimate: U256 = parse(chain.call("eth_estimateGas", json!([request])).await.unwrap());
    send(&chain, TxEip1559 { gas_limit: estimate.to(), ..burn.clone() }).await;
    chain.block();
    let receipts: Vec<TransactionReceipt> = parse(chain.call("eth_getBlockReceipts", json!(["latest"])).await.unwrap());
    assert!(receipts[0].status(), "the estimate is enough");
    assert!(estimate.to::<u64>() <= receipts[0].gas_used * 102 / 100, "{estimate} for {}", receipts[0].gas_used);
    let plain = json!([{ "from": from, "to": "0x0000000000000000000000000000000000000aaa", "value": "0x1" }]);
    assert_eq!(chain.call("eth_estimateGas", plain).await.unwrap(), "0x5208");
    let poor =
        json!([{ "from": "0x0000000000000000000000000000000000000aaa", "to": from, "value": "0x1", "gasPrice": "0x77359400" }]);
    let refused = chain.call("eth_estimateGas", poor).await.unwrap_err();
    assert!(refused["message"].as_str().unwrap().starts_with("insufficient funds"), "{refused}");
    // PUSH 42, MSTORE, RETURN: code that exists only in the call.
    let code = "0x602a60005260206000f3";
    let pretended = json!([{ "to": from }, "latest", { from.to_string(): { "code": code } }]);
    assert_eq!(chain.call("eth_call", pretended).await.unwrap(), json!(format!("0x{:064x}", 42)));
}

#[tokio::test]
async fn fees_follow_the_blocks() {
    let chain = DevChain::start().await;
    assert_eq!(chain.call("eth_maxPriorityFeePerGas", json!([])).await.unwrap(), "0xf4240");
    for nonce in 0..2 {
        send(&chain, transfer(nonce)).await;
        chain.block();
    }
    let head = chain.block_by("latest").await;
    let history = chain.call("eth_feeHistory", json!(["0x2", "latest", [0, 50, 100]])).await.unwrap();
    assert_eq!(history["oldestBlock"], "0x1");
    assert_eq!(history["reward"], json!([["0x2dc6c0", "0x2dc6c0", "0x2dc6c0"], ["0x2dc6c0", "0x2dc6c0", "0x2dc6c0"]]));
    assert_eq!(history["gasUsedRatio"][0], 21_000.0 / 30_000_000.0);
    let base: Vec<U256> = parse(history["baseFeePerGas"].clone());
    assert_eq!((base.len(), base[1]), (3, U256::from(head.header.base_fee_per_gas.unwrap())));
    chain.block();
    assert_eq!(base[2], U256::from(chain.block_by("latest").await.header.base_fee_per_gas.unwrap()));
    let price: U256 = parse(chain.call("eth_gasPrice", json!([])).await.unwrap());
    assert!(price > U256::from(3_000_000));
    assert_eq!(chain.call("eth_feeHistory", json!([1, "latest", [50, 10]])).await.unwrap_err()["code"], -32602);
    let long = chain.call("eth_feeHistory", json!([4096, "latest", []])).await.unwrap();
    assert_eq!((&long["oldestBlock"], long["gasUsedRatio"].as_array().unwrap().len()), (&json!("0x0"), 4));
}

#[tokio::test]
async fn bad_requests_have_standard_codes() {
    let chain = DevChain::start().await;
    let table = [
        ("eth_nothing", json!([]), -32601),
        ("eth_getBalance", json!([]), -32602),
        ("eth_getBalance", json!(["0x12", "latest"]), -32602),
        ("eth_getBalance", json!([BRIDGE, "newest"]), -32602),
        ("eth_sendRawTransaction", json!(["0x02"]), -32000),
        ("eth_sendRawTransaction", json!([format!("0x{}", hex::encode(vec![2; 131_073]))]), -32000),
        ("eth_call", json!([{ "to": BRIDGE, "gasPrice": "0x1", "maxFeePerGas": "0x1" }]), -32602),
    ];
    for (method, params, code) in table {
        assert_eq!(chain.call(method, params.clone()).await.unwrap_err()["code"], code, "{method} {params:.80}");
    }
    let (_, answer) = chain.post("{", "").await;
    assert_eq!(parse::<Value>(serde_json::from_str(&answer).unwrap())["error"]["code"], -32700);
    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
    let (_, answer) = chain.post(&json!([one, one]).to_string(), "").await;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap().as_array().unwrap().len(), 2);
    let (_, answer) = chain.post(&json!(vec![&one; 1_001]).to_string(), "").await;
    assert!(answer.contains("error"), "{answer}");
    let (head, _) = chain.http_of_length("POST", "", (5 << 20) + 1, "content-type: application/json\r\n").await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
}

#[tokio::test]
async fn web_pages_need_an_allowed_origin() {
    let ask = "origin: https://wallet.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n";
    for (allowed, expected) in [
        (vec![], None),
        (vec!["*"], Some("*")),
        (vec!["https://wallet.example"], Some("https://wallet.example")),
        (vec!["https://other.example"], None),
    ] {
        let chain = DevChain::with(&allowed).await;
        let (head, _) = chain.http("OPTIONS", "", ask).await;
        let origin = head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
        assert_eq!(origin, expected, "{allowed:?}");
        chain.stop().await;
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let chain = DevChain::start().await;
    let config = alys_engine::rpc::Config { listen: chain.address(), ..Default::default() };
    let handle = chain.handle();
    let error = alys_engine::rpc::serve(&config, handle).await.unwrap_err().to_string();
    assert!(error.contains(&chain.address().to_string()) && error.contains("engine.rpc.listen"), "{error}");
    let address = chain.address();
    chain.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed after stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_calls_do_not_hold_up_quick_ones() {
    let chain = std::sync::Arc::new(DevChain::start().await);
    // JUMPDEST, PUSH 0, JUMP: burns all gas of the call.
    let from = rich().address();
    let endless = json!([{ "to": from }, "latest", { from.to_string(): { "code": "0x5b600056" } }]);
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let (chain, endless) = (chain.clone(), endless.clone());
            tokio::spawn(async move { chain.call("eth_call", endless).await })
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(chain.call("net_listening", json!([])).await.unwrap(), true);
    }
    for answer in slow {
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error["code"], -32000, "{error}");
    }
}
