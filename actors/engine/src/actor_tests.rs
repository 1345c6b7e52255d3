#![allow(clippy::unwrap_used, clippy::panic)]
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use alys_blocks::BRIDGE_CONTRACT;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::engine::execution_result::Status as Verdict;
use alys_proto::engine::{GetExecutionHead, MintTokensRequest};
use tempfile::TempDir;

use super::*;
use crate::testing::{COIN, attributes, spec, transaction, transfer};

sol! {
    function requestPegOut(bytes bitcoinAddress) external payable;
}

struct Role {
    started: Started<EngineActor>,
    bridge: Probe<bridge::Inbox>,
}

fn config(folder: &TempDir) -> Config {
    let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    config.rpc.listen.set_port(0);
    config
}

fn role(folder: &TempDir) -> Role {
    let (remote, bridge) = probe();
    let actor = EngineActor::new(config(folder), Arc::new(spec()), Peers { bridge: remote }).unwrap();
    Role { started: start(actor), bridge }
}

impl Role {
    async fn head(&self) -> ExecutionHead {
        self.started.remote.ask(GetExecutionHead {}).await.unwrap()
    }

    async fn build(&self, seconds: u64, mints: Vec<MintTokensRequest>) -> BlockTemplate {
        let attributes = attributes(seconds);
        let request = BuildBlockRequest {
            parent_hash: self.head().await.block_hash,
            timestamp: attributes.timestamp,
            prev_randao: attributes.prev_randao.to_vec(),
            parent_beacon_block_root: attributes.parent_beacon_block_root.to_vec(),
            fee_recipient: attributes.fee_recipient.to_vec(),
            mints,
            time_budget_millis: 1_000,
        };
        self.started.remote.ask(request).await.unwrap()
    }

    async fn execute(&self, payload: Vec<u8>) -> ExecutionResult {
        let parent_beacon_block_root = attributes(0).parent_beacon_block_root.to_vec();
        self.started.remote.ask(ExecuteBlock { payload, parent_beacon_block_root }).await.unwrap()
    }

    async fn send(&self, transaction: &Recovered<TxEnvelope>) -> TransactionResult {
        self.started.remote.ask(ProcessTransaction { transaction: transaction.inner().encoded_2718() }).await.unwrap()
    }

    async fn balance(&self, address: Address) -> U256 {
        let balance = self.started.remote.ask(GetBalance { address: address.to_vec() }).await.unwrap();
        U256::from_be_slice(&balance.wei)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_goes_from_pool_to_disk_and_burns_reach_bridge() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut proposer, validator) = (role(&folders[0]), role(&folders[1]));
    let call = requestPegOutCall { bitcoinAddress: Bytes::from_static(b"bcrt1q") }.abi_encode();
    let burn = transaction(1, 0, TxKind::Call(BRIDGE_CONTRACT), COIN, call.into());
    assert_eq!(proposer.send(&burn).await.rejected, "");
    assert_eq!(proposer.send(&transfer(2, 0, Address::repeat_byte(9), 5)).await.rejected, "");
    assert!(proposer.send(&burn).await.rejected.contains("already known"));
    let mint = MintTokensRequest { index: 0, recipient: vec![0x77; 20], amount_gwei: 3 };
    let template = proposer.build(2, vec![mint]).await;
    assert_eq!((template.transactions, template.burns.len()), (2, 1));

    let verdict = validator.execute(template.payload.clone()).await;
    assert_eq!((verdict.status(), verdict.block_hash), (Verdict::Valid, template.block_hash.clone()));
    assert_eq!(verdict.burns, template.burns);
    for role in [&proposer, &validator] {
        let commit = CommitExecution { block_hash: template.block_hash.clone() };
        let head = role.started.remote.ask(commit).await.unwrap();
        assert_eq!((head.number, &head.block_hash), (1, &template.block_hash));
        assert_eq!(role.balance(Address::repeat_byte(0x77)).await, U256::from(3_000_000_000u64));
    }
    let bridge::Inbox::BurnEventDetected(told) = proposer.bridge.next().await else { panic!("another message") };
    assert_eq!(told.burns, template.burns);
    let asked = proposer.started.remote.ask(GetBurns { from_height: 0, to_height: 9 }).await.unwrap();
    assert_eq!(asked.burns, template.burns);
    assert_eq!(proposer.build(4, Vec::new()).await.transactions, 0, "the pool let go of what is committed");

    let head = proposer.head().await;
    proposer.started.stop().await.unwrap();
    assert_eq!(role(&folders[0]).head().await, head, "and it is there after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_refused_and_the_role_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let role = role(&folder);
    let remote = &role.started.remote;
    assert!(matches!(remote.ask(GetBalance { address: vec![1] }).await, Err(Refused::Malformed(_))));
    assert!(matches!(remote.ask(CommitExecution { block_hash: vec![1; 31] }).await, Err(Refused::Malformed(_))));
    assert!(matches!(remote.ask(CommitExecution { block_hash: vec![1; 32] }).await, Err(Refused::Failed(_))));
    assert!(matches!(remote.ask(BuildBlockRequest::default()).await, Err(Refused::Malformed(_))));
    assert_eq!(remote.ask(GetBurns { from_height: 9, to_height: 0 }).await.unwrap().burns, []);
    assert_eq!(role.execute(vec![1, 2, 3]).await.status(), Verdict::Invalid);
    assert!(remote.ask(ProcessTransaction { transaction: vec![0xff; 40] }).await.unwrap().rejected.contains("decode"));
    assert_eq!(role.head().await.number, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_ends_the_role_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    role(&folder).started.stop().await.unwrap();
    let mut other = spec();
    other.name = "another".into();
    let (remote, _bridge) = probe();
    let actor = EngineActor::new(config(&folder), Arc::new(other), Peers { bridge: remote }).unwrap();
    let ended = start(actor).finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Configuration(text)) if text.contains("another chain")), "{ended:?}");

    std::fs::write(folder.path().join("engine.redb"), vec![7; 5_000]).unwrap();
    let ended = role(&folder).started.finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Broken(text)) if text.contains("move it away")), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_the_role_with_what_to_do() {
    let (folder, port) = (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let mut config = config(&folder);
    config.rpc.listen = port.local_addr().unwrap();
    let (remote, _bridge) = probe();
    let ended = start(EngineActor::new(config, Arc::new(spec()), Peers { bridge: remote }).unwrap()).finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Configuration(text)) if text.contains("listen")), "{ended:?}");
}
