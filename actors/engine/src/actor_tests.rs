#![allow(clippy::unwrap_used, clippy::panic)]
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use alys_blocks::BRIDGE_CONTRACT;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::engine::execution_result::Status as Verdict;
use alys_proto::engine::{GetExecutionHead, MintTokensRequest};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{COIN, attributes, spec, transaction, transfer};

sol! {
    function requestPegOut(bytes bitcoinAddress) external payable;
}

struct Role {
    started: Started<EngineActor>,
    bridge: Probe<bridge::Inbox>,
    network: Probe<network::Inbox>,
}

fn config(folder: &TempDir) -> Config {
    let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    config.rpc.listen.set_port(0);
    config
}

fn role(folder: &TempDir) -> Role {
    let ((to_bridge, bridge), (to_network, network)) = (probe(), probe());
    let peers = Peers { bridge: to_bridge, network: to_network };
    let actor = EngineActor::new(config(folder), Arc::new(spec()), peers).unwrap();
    Role { started: start(actor), bridge, network }
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
    let mint = MintTokensRequest { index: 0, recipient: vec![0x77; 20], amount_gwei: 3, cause: vec![1; 36] };
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

/// `eth_sendRawTransaction` as a wallet calls it.
async fn send_raw(address: &str, transaction: &Recovered<TxEnvelope>) -> String {
    let raw = Bytes::from(transaction.inner().encoded_2718());
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["{raw}"]}}"#);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn network_is_told_of_what_wallets_send_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut role = role(&folder);
    role.head().await;
    let status = role.started.status();
    let (_, address) = status.iter().find(|(name, _)| *name == "json_rpc").unwrap();
    let (gossiped, sent, last) = (
        transfer(1, 0, Address::repeat_byte(9), 5),
        transfer(2, 0, Address::repeat_byte(9), 5),
        transfer(3, 0, Address::repeat_byte(9), 5),
    );
    assert_eq!(role.send(&gossiped).await.rejected, "");
    assert!(send_raw(address, &gossiped).await.contains("already known"));
    assert!(send_raw(address, &sent).await.contains("\"result\""));
    assert!(send_raw(address, &sent).await.contains("already known"));
    assert!(send_raw(address, &last).await.contains("\"result\""));
    for expected in [&sent, &last] {
        let network::Inbox::PublishTransaction(told) = role.network.next().await else { panic!("another message") };
        assert_eq!(told.transaction, expected.inner().encoded_2718());
    }
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
    let ((to_bridge, _bridge), (to_network, _network)) = (probe(), probe());
    let peers = Peers { bridge: to_bridge, network: to_network };
    let actor = EngineActor::new(config(&folder), Arc::new(other), peers).unwrap();
    let ended = start(actor).finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Configuration(text)) if text.contains("another chain")), "{ended:?}");

    std::fs::write(folder.path().join("engine.redb"), vec![7; 5_000]).unwrap();
    let ended = role(&folder).started.finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Configuration(text)) if text.contains("move it away")), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_the_role_with_what_to_do() {
    let (folder, port) = (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let mut config = config(&folder);
    config.rpc.listen = port.local_addr().unwrap();
    let ((to_bridge, _bridge), (to_network, _network)) = (probe(), probe());
    let peers = Peers { bridge: to_bridge, network: to_network };
    let ended = start(EngineActor::new(config, Arc::new(spec()), peers).unwrap()).finished().await.err();
    assert!(matches!(&ended, Some(ActorError::Configuration(text)) if text.contains("listen")), "{ended:?}");
}
