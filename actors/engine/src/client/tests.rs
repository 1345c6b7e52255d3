#![allow(clippy::unwrap_used, clippy::panic)]
//! The role with a client that can be made to lie, to forget and to be another.

use std::sync::Arc;

use alloy_consensus::{Block, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alloy_sol_types::{SolCall as _, sol};
use alys_blocks::BRIDGE_CONTRACT;
use alys_cluster::ActorError;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::engine::execution_result::Status as Verdict;
use alys_proto::engine::{
    BlockTemplate, BuildBlockRequest, CommitExecution, ExecuteBlock, ExecutionHead, ExecutionResult, GetBalance, GetBurns,
    GetExecutionHead, MintTokensRequest,
};
use alys_proto::{Refused, bridge, network};
use jsonrpsee::core::client::ClientT as _;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee_http_client::HttpClientBuilder;
use serde_json::{Value, json};

use super::fake::Fake;
use crate::actor::Peers;
use crate::client::ClientActor;
use crate::config::Config;
use crate::engine::{Engine, Execution};
use crate::io::store::Options;
use crate::testing::{COIN, attributes, spec, transaction, transfer};

sol! {
    function requestPegOut(bytes bitcoinAddress) external payable;
}

struct Role {
    started: Started<ClientActor>,
    bridge: Probe<bridge::Inbox>,
    network: Probe<network::Inbox>,
}

impl Role {
    fn start(client: super::Config) -> Self {
        let ((to_bridge, bridge), (to_network, network)) = (probe(), probe());
        let mut config = Config { client, ..Config::default() };
        config.rpc.listen.set_port(0);
        let actor = ClientActor::new(config, Arc::new(spec()), Peers { bridge: to_bridge, network: to_network }).unwrap();
        Self { started: start(actor), bridge, network }
    }

    async fn head(&self) -> ExecutionHead {
        self.started.remote.ask(GetExecutionHead {}).await.unwrap()
    }

    async fn build(&self, seconds: u64, mints: Vec<MintTokensRequest>) -> Result<BlockTemplate, Refused> {
        let wanted = attributes(seconds);
        let request = BuildBlockRequest {
            parent_hash: self.head().await.block_hash,
            timestamp: wanted.timestamp,
            prev_randao: wanted.prev_randao.to_vec(),
            parent_beacon_block_root: wanted.parent_beacon_block_root.to_vec(),
            fee_recipient: wanted.fee_recipient.to_vec(),
            mints,
            time_budget_millis: 1_000,
        };
        self.started.remote.ask(request).await
    }

    async fn execute(&self, payload: &[u8]) -> Result<ExecutionResult, Refused> {
        let parent_beacon_block_root = attributes(0).parent_beacon_block_root.to_vec();
        self.started.remote.ask(ExecuteBlock { payload: payload.to_vec(), parent_beacon_block_root }).await
    }

    async fn commit(&self, block_hash: &[u8]) -> Result<ExecutionHead, Refused> {
        self.started.remote.ask(CommitExecution { block_hash: block_hash.to_vec() }).await
    }
}

fn burn(from: u8, nonce: u64) -> Bytes {
    let call = requestPegOutCall { bitcoinAddress: Bytes::from_static(b"bcrt1q") }.abi_encode();
    transaction(from, nonce, TxKind::Call(BRIDGE_CONTRACT), COIN, call.into()).inner().encoded_2718().into()
}

/// An embedded engine that makes and checks blocks beside the client.
struct Embedded {
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, quick_repair: false };
        Self { engine: Engine::open(folder.path(), options, &spec()).unwrap(), _folder: folder }
    }

    /// An empty block on its head.
    fn block(&mut self, seconds: u64) -> (B256, Vec<u8>) {
        let parent = self.engine.head().hash;
        let (block, _) = self.engine.build(parent, &attributes(seconds), |_| Vec::new(), || false).unwrap();
        (block.hash, alys_blocks::encode_payload(&ExecutionPayloadV3::from_block_unchecked(block.hash, &block.block)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_the_client_are_blocks_of_the_embedded_engine() {
    let fake = Fake::start().await;
    let mut role = Role::start(fake.config.clone());
    fake.pool(burn(1, 0)).await;
    fake.pool(transfer(2, 0, Address::repeat_byte(9), 5).inner().encoded_2718().into()).await;
    let mint = MintTokensRequest { index: 0, recipient: vec![8; 20], amount_gwei: 10, ..MintTokensRequest::default() };
    let template = role.build(2, vec![mint]).await.unwrap();
    assert_eq!((template.transactions, template.burns.len()), (2, 1));

    let mut embedded = Embedded::new();
    let executed = embedded.engine.execute(&template.payload, attributes(0).parent_beacon_block_root).unwrap();
    let Execution::Valid { hash, burns } = executed else { panic!("{executed:?}") };
    assert_eq!(hash.to_vec(), template.block_hash);
    assert_eq!(burns.iter().map(Into::into).collect::<Vec<alys_proto::common::Burn>>(), template.burns);
    assert!(U256::from_be_slice(&template.fees_wei) > U256::ZERO);

    let again = role.execute(&template.payload).await.unwrap();
    assert_eq!((again.status(), &again.burns), (Verdict::Valid, &template.burns));
    assert_eq!(role.head().await.number, 0, "executed is not committed");
    let head = role.commit(&template.block_hash).await.unwrap();
    assert_eq!((head.number, &head.block_hash), (1, &template.block_hash));
    let told = role.bridge.next().await;
    let bridge::Inbox::BurnEventDetected(told) = told else { panic!("another message") };
    assert_eq!(told.burns, template.burns);
    assert_eq!(role.commit(&template.block_hash).await.unwrap(), head, "again changes nothing");
    assert_eq!(role.started.remote.ask(GetBurns { from_height: 0, to_height: 9 }).await.unwrap().burns, template.burns);
    let minted = role.started.remote.ask(GetBalance { address: vec![8; 20] }).await.unwrap();
    assert_eq!(U256::from_be_slice(&minted.wei), U256::from(10_000_000_000u64));
    let early = role.build(2, Vec::new()).await.unwrap_err();
    assert!(early.to_string().contains("is not after"), "{early}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_of_the_client_is_understood() {
    let fake = Fake::start().await;
    let role = Role::start(fake.config.clone());
    let (hash, payload) = Embedded::new().block(2);
    let status = |status: &str, reason: Value| json!({ "status": status, "latestValidHash": null, "validationError": reason });
    for (answer, expected, reason) in [
        (status("SYNCING", Value::Null), Verdict::Syncing, "not known"),
        (status("ACCEPTED", Value::Null), Verdict::Syncing, "not known"),
        (status("INVALID", json!("a bad day")), Verdict::Invalid, "a bad day"),
        (status("INVALID", Value::Null), Verdict::Invalid, "no reason"),
        (status("INVALID_BLOCK_HASH", Value::Null), Verdict::Invalid, "no reason"),
    ] {
        fake.say("engine_newPayloadV3", answer);
        let result = role.execute(&payload).await.unwrap();
        assert_eq!(result.status(), expected);
        assert!(result.reason.contains(reason), "{}", result.reason);
    }
    let error = |_| Err(ErrorObjectOwned::owned(-32_603, "out of memory", None::<()>));
    fake.twist("engine_newPayloadV3", error);
    let refused = role.execute(&payload).await.unwrap_err();
    assert!(refused.is_passing() && refused.to_string().contains("out of memory"), "{refused}");
    for nonsense in [json!(null), json!("VALID"), json!({ "status": "PERHAPS" }), json!([])] {
        fake.say("engine_newPayloadV3", nonsense);
        let refused = role.execute(&payload).await.unwrap_err();
        assert!(refused.is_passing() && refused.to_string().contains("cannot be read"), "{refused}");
    }
    fake.be_honest();
    assert_eq!(role.execute(&payload).await.unwrap().status(), Verdict::Valid);
    for word in ["SYNCING", "INVALID"] {
        let says = json!({ "payloadStatus": status(word, Value::Null), "payloadId": null });
        fake.say("engine_forkchoiceUpdatedV3", says);
        let refused = role.commit(hash.as_slice()).await.unwrap_err();
        // It is forgotten with the client's head: chain executes it again.
        assert!(refused.to_string().contains("execution client says") || refused.to_string().contains("execute it first"));
        assert!(role.build(2, Vec::new()).await.is_err());
    }
    fake.be_honest();
    role.execute(&payload).await.unwrap();
    assert_eq!(role.commit(hash.as_slice()).await.unwrap().number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_our_rules_is_not_built_and_never_shown_to_the_client() {
    let fake = Fake::start().await;
    let role = Role::start(fake.config.clone());
    let root = attributes(0).parent_beacon_block_root;
    let change = move |payload: ExecutionPayloadV3, change: fn(&mut alloy_consensus::Header)| {
        let mut block: Block<TxEnvelope> = payload.try_into_block().unwrap();
        block.header.parent_beacon_block_root = Some(root);
        change(&mut block.header);
        ExecutionPayloadV3::from_block_unchecked(block.header.hash_slow(), &block)
    };
    type Change = fn(&mut alloy_consensus::Header);
    let rules: [(&str, Change); 5] = [
        ("gas limit", |header| header.gas_limit += 1),
        ("timestamp", |header| header.timestamp += 1),
        ("prev randao", |header| header.mix_hash = B256::ZERO),
        ("fee recipient", |header| header.beneficiary = Address::repeat_byte(1)),
        ("base fee", |header| header.base_fee_per_gas = Some(1)),
    ];
    for (rule, with) in rules {
        fake.twist("engine_getPayloadV3", move |mut answer| {
            let payload = serde_json::from_value(answer["executionPayload"].take()).unwrap();
            answer["executionPayload"] = json!(change(payload, with));
            Ok(answer)
        });
        let refused = role.build(2, Vec::new()).await.unwrap_err();
        assert!(refused.is_passing() && refused.to_string().contains(rule), "{rule}: {refused}");
    }
    fake.be_honest();
    let mint = MintTokensRequest { index: 0, recipient: vec![8; 20], amount_gwei: 10, ..MintTokensRequest::default() };
    let template = role.build(2, vec![mint]).await.unwrap();
    // The client must not be asked: whatever it would say, the rule is ours.
    fake.say("engine_newPayloadV3", json!({ "status": "VALID", "latestValidHash": null, "validationError": null }));
    let payload = alys_blocks::decode_payload(&template.payload).unwrap();
    let foreign = alys_blocks::encode_payload(&change(payload, |header| header.gas_limit += 1));
    let result = role.execute(&foreign).await.unwrap();
    assert_eq!(result.status(), Verdict::Invalid);
    assert!(result.reason.contains("gas limit"), "{}", result.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn burns_that_the_client_invents_or_hides_are_noticed() {
    let fake = Fake::start().await;
    let role = Role::start(fake.config.clone());
    fake.pool(burn(1, 0)).await;
    fake.twist("eth_getBlockReceipts", |mut receipts| {
        if let Some(data) = receipts.pointer_mut("/0/logs/0/address") {
            *data = json!(Address::repeat_byte(1));
        }
        Ok(receipts)
    });
    let refused = role.build(2, Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("other receipts"), "{refused}");

    let fake = Fake::start().await;
    let role = Role::start(fake.config.clone());
    fake.pool(burn(1, 0)).await;
    fake.say("eth_getBlockReceipts", Value::Null);
    let refused = role.build(2, Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("no receipts"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_its_blocks_gets_them_again() {
    let fake = Fake::start().await;
    let role = Role::start(fake.config.clone());
    let mut embedded = Embedded::new();
    let blocks: Vec<_> = (1..=3)
        .map(|number| {
            let (hash, payload) = embedded.block(2 * number);
            embedded.engine.commit(hash).unwrap();
            (hash, payload)
        })
        .collect();
    for (hash, payload) in &blocks {
        role.execute(payload).await.unwrap();
        role.commit(hash.as_slice()).await.unwrap();
    }
    fake.lose_everything().await;
    let (_, next) = embedded.block(8);
    assert_eq!(role.execute(&next).await.unwrap().status(), Verdict::Syncing, "chain asks for the head now");
    assert_eq!(role.head().await.number, 0);
    for (hash, payload) in &blocks {
        assert_eq!(role.execute(payload).await.unwrap().status(), Verdict::Valid);
        role.commit(hash.as_slice()).await.unwrap();
    }
    assert_eq!(role.execute(&next).await.unwrap().status(), Verdict::Valid);
    assert_eq!(role.head().await.block_hash, blocks[2].0.to_vec());
    let old = role.execute(&Embedded::new().block(3).1).await.unwrap();
    assert!(old.status() == Verdict::Invalid && old.reason.contains("committed already"), "{}", old.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_chain_ends_the_role() {
    for (method, answer, reason) in [
        ("eth_chainId", json!("0x1"), "chain id 1"),
        ("engine_exchangeCapabilities", json!(["engine_newPayloadV1"]), "engine_newPayloadV3"),
    ] {
        let fake = Fake::start().await;
        fake.say(method, answer);
        let ended = Role::start(fake.config.clone()).started.finished().await;
        assert!(matches!(&ended, Err(ActorError::Configuration(text)) if text.contains(reason)), "{:?}", ended.err());
    }
    let fake = Fake::start().await;
    fake.twist("eth_getBlockByNumber", |mut block| {
        let mut header: alloy_rpc_types_eth::Header = serde_json::from_value(block.clone()).unwrap();
        header.inner.extra_data = Bytes::from_static(b"another");
        block["extraData"] = json!(header.inner.extra_data);
        block["hash"] = json!(header.inner.hash_slow());
        Ok(block)
    });
    let ended = Role::start(fake.config.clone()).started.finished().await;
    assert!(matches!(&ended, Err(ActorError::Configuration(text)) if text.contains("alys engine genesis")), "{:?}", ended.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_the_role_lives_and_says_what_it_misses() {
    let fake = Fake::start().await;
    let config = super::Config { engine_url: "http://127.0.0.1:1".into(), ..fake.config.clone() };
    let role = Role::start(config);
    let refused = role.started.remote.ask(GetExecutionHead {}).await.unwrap_err();
    assert!(refused.is_passing() && refused.to_string().contains("http://127.0.0.1:1 does not answer"), "{refused}");
    for (jwt_file, help) in [(Some("/nowhere/jwt.hex".into()), "openssl rand"), (None, "set `engine.client.jwt_file`")] {
        let config = super::Config { jwt_file, ..fake.config.clone() };
        let ended = Role::start(config).started.finished().await;
        assert!(matches!(&ended, Err(ActorError::Configuration(text)) if text.contains(help)), "{:?}", ended.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_reach_the_client_and_what_they_send_is_gossiped() {
    let fake = Fake::start().await;
    let mut role = Role::start(fake.config.clone());
    let head = role.head().await;
    let address = role.started.status().into_iter().find(|(name, _)| *name == "json_rpc").unwrap().1;
    let wallet = HttpClientBuilder::new().build(format!("http://{address}")).unwrap();
    let block: Value = wallet.request("eth_getBlockByNumber", vec![json!("latest"), json!(false)]).await.unwrap();
    assert_eq!(block["hash"].as_str().unwrap().parse::<B256>().unwrap().to_vec(), head.block_hash);
    let transaction: Bytes = transfer(2, 0, Address::repeat_byte(9), 5).inner().encoded_2718().into();
    let _hash: B256 = wallet.request("eth_sendRawTransaction", vec![json!(transaction)]).await.unwrap();
    let told = role.network.next().await;
    let network::Inbox::PublishTransaction(told) = told else { panic!("another message") };
    assert_eq!(told.transaction, transaction.to_vec());
    let refused: Result<Value, _> = wallet.request("eth_sendRawTransaction", vec![json!("0x00")]).await;
    assert!(refused.is_err());
    assert!(role.network.try_next().is_none(), "what the client refused is no news");
}
