//! The actor with probes around it: the roles it needs are played by the test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod batches;

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alys_blocks::{Block, ChainSpec};
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::bridge::peg_operations_verdict::Verdict;
use alys_proto::engine::execution_result::Status as Executed;
use alys_proto::{Cause, Refused, bridge, chain, common, engine, network, storage, stream, sync};

use crate::core::TemplateRequest;
use crate::core::tests::fixtures::{EL_GENESIS, approvers, build, deposit_proof, el_hash, rules, spec, view};
use crate::io::clock;
use crate::{ChainActor, Config, Peers};

/// All roles around chain, played by the test.
struct World {
    chain: Started<ChainActor>,
    storage: Probe<storage::Inbox>,
    engine: Probe<engine::Inbox>,
    bridge: Probe<bridge::Inbox>,
    network: Probe<network::Inbox>,
    stream: Probe<stream::Inbox>,
    /// What storage holds.
    blocks: Vec<common::CommittedBlock>,
    facts: Vec<storage::LedgerFact>,
    wal: Vec<Vec<u8>>,
    /// Storage has no blocks below.
    pruned_below: u64,
    /// The engine's head.
    executed: (u64, B256),
    order: Vec<&'static str>,
    /// Refuse this many of storage's commits.
    storage_fails: u32,
    /// The engine forgets what it executed, once.
    engine_forgets: bool,
    spec: Arc<ChainSpec>,
    folder: tempfile::TempDir,
    _sync: Probe<sync::Inbox>,
    /// Keeps the probes reachable when chain has ended.
    _peers: Peers,
}

/// The seed's `start_in_test_context`: one chain actor, probes in place of everybody else. Slots of one second.
fn start_in_test_context() -> World {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("validator.key");
    std::fs::write(&path, "01".repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut spec = spec(1);
    spec.slot_millis = 1_000;
    spec.genesis_time = clock::now().0 / 1_000 - 10;
    start_around(Arc::new(spec), folder)
}

fn start_around(spec: Arc<ChainSpec>, folder: tempfile::TempDir) -> World {
    let (storage_remote, storage) = probe();
    let (engine_remote, engine) = probe();
    let (bridge_remote, bridge) = probe();
    let (network_remote, network) = probe();
    let (stream_remote, stream) = probe();
    let (sync_remote, sync) = probe();
    let peers = Peers {
        storage: storage_remote,
        engine: engine_remote,
        bridge: bridge_remote,
        network: network_remote,
        stream: stream_remote,
        sync: sync_remote,
    };
    let key = folder.path().join("validator.key");
    let config = Config { validator_key: key.exists().then_some(key), retry: Duration::from_millis(20), ..Config::default() };
    let actor = ChainActor::new(config, spec.clone(), peers.clone()).unwrap();
    World {
        chain: start(actor),
        storage,
        engine,
        bridge,
        network,
        stream,
        blocks: Vec::new(),
        facts: Vec::new(),
        wal: Vec::new(),
        pruned_below: 0,
        executed: (0, EL_GENESIS),
        order: Vec::new(),
        storage_fails: 0,
        engine_forgets: false,
        spec,
        folder,
        _sync: sync,
        _peers: peers,
    }
}

impl World {
    /// Plays all roles until the network has heard of `height` blocks, or ten seconds.
    async fn play_until(&mut self, height: usize) -> VecDeque<common::CommittedBlock> {
        let mut heard = VecDeque::new();
        let play = async {
            while heard.len() < height {
                tokio::select! {
                    message = self.storage.next() => on_storage(&mut self.blocks, &mut self.facts, &mut self.wal, self.pruned_below, &mut self.storage_fails, &mut self.order, message),
                    message = self.engine.next() => on_engine(&mut self.executed, &mut self.engine_forgets, &mut self.order, message),
                    message = self.bridge.next() => on_bridge(&mut self.order, message),
                    message = self.network.next() => {
                        let network::Inbox::FinalizedBlock(block) = message else { panic!("a single validator publishes no votes") };
                        self.order.push("network");
                        heard.push_back(block);
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), play).await.expect("blocks within ten seconds");
        heard
    }

    /// Plays storage, engine and bridge until chain ends because of its configuration; what it says to do.
    async fn ends_with_advice(self) -> String {
        let World { chain, mut storage, mut engine, mut bridge, mut blocks, mut facts, mut wal, pruned_below, .. } = self;
        let World { mut executed, mut order, mut storage_fails, mut engine_forgets, .. } = self;
        let finished = chain.finished();
        tokio::pin!(finished);
        let ended = loop {
            tokio::select! {
                message = storage.next() => on_storage(&mut blocks, &mut facts, &mut wal, pruned_below, &mut storage_fails, &mut order, message),
                message = engine.next() => on_engine(&mut executed, &mut engine_forgets, &mut order, message),
                message = bridge.next() => on_bridge(&mut order, message),
                ended = &mut finished => break ended,
            }
        };
        let Err(alys_cluster::ActorError::Configuration(advice)) = ended else { panic!("another end") };
        advice
    }

    /// The same disks under new processes. The old ones find nobody to talk to any more.
    fn restarted(self) -> Self {
        let Self { blocks, facts, wal, executed, spec, folder, .. } = self;
        World { blocks, facts, wal, executed, ..start_around(spec, folder) }
    }
}

fn on_storage(
    blocks: &mut Vec<common::CommittedBlock>,
    facts: &mut Vec<storage::LedgerFact>,
    wal: &mut Vec<Vec<u8>>,
    pruned_below: u64,
    fails: &mut u32,
    order: &mut Vec<&'static str>,
    message: storage::Inbox,
) {
    let head = |blocks: &Vec<common::CommittedBlock>| storage::Head {
        height: blocks.len() as u64,
        hash: blocks.last().map(|block| block.hash.clone()).unwrap_or_default(),
    };
    match message {
        storage::Inbox::GetHead(_, reply) => reply.send(head(blocks)),
        storage::Inbox::GetCondition(_, reply) => {
            reply.send(storage::Condition { pruned_below, ..storage::Condition::default() })
        }
        storage::Inbox::GetBlocks(wanted, reply) if wanted.from_height < pruned_below => {
            reply.refuse(Refused::Failed(format!("block {} is pruned", wanted.from_height)));
        }
        storage::Inbox::GetBlocks(wanted, reply) => {
            let found =
                blocks.iter().filter(|block| block.height >= wanted.from_height).take(wanted.limit as usize).cloned().collect();
            reply.send(storage::Blocks { blocks: found });
        }
        storage::Inbox::GetLedger(_, reply) => {
            reply.send(storage::Ledger { height: blocks.len() as u64, facts: facts.clone(), next_height: 0 });
        }
        storage::Inbox::GetWal(_, reply) => reply.send(storage::Wal { entries: wal.clone(), next_entry: 0 }),
        storage::Inbox::AppendWal(append, reply) => {
            order.push("wal");
            wal.extend(append.entries);
            reply.send(common::Done {});
        }
        storage::Inbox::CommitBlock(_, reply) | storage::Inbox::CommitBlocks(_, reply) if *fails > 0 => {
            *fails -= 1;
            reply.refuse(Refused::NotReady("restarting".into()));
        }
        storage::Inbox::CommitBlock(commit, reply) => {
            order.push("store");
            batches::store(blocks, facts, wal, commit);
            reply.send(head(blocks));
        }
        storage::Inbox::CommitBlocks(batch, reply) => {
            order.push("store");
            batch.blocks.into_iter().for_each(|commit| batches::store(blocks, facts, wal, commit));
            reply.send(head(blocks));
        }
        _ => panic!("chain does not ask this"),
    }
}

fn on_engine(executed: &mut (u64, B256), forgets: &mut bool, order: &mut Vec<&'static str>, message: engine::Inbox) {
    let head = |executed: &(u64, B256)| engine::ExecutionHead {
        number: executed.0,
        block_hash: executed.1.to_vec(),
        state_root: vec![0; 32],
    };
    match message {
        engine::Inbox::GetExecutionHead(_, reply) => reply.send(head(executed)),
        engine::Inbox::BuildBlockRequest(request, reply) if request.parent_hash != executed.1.as_slice() => {
            reply.refuse(Refused::Failed("the parent is not executed here".into()));
        }
        engine::Inbox::BuildBlockRequest(request, reply) => {
            order.push("build");
            let causes: Vec<Cause> = request.mints.iter().filter_map(|mint| Cause::from_key(&mint.cause)).collect();
            assert_eq!(causes.len(), request.mints.len(), "each credit says what it is for");
            let wanted = TemplateRequest {
                height: executed.0 + 1,
                round: 0,
                parent_el_hash: B256::try_from(request.parent_hash.as_slice()).unwrap(),
                parent_hash: B256::try_from(request.prev_randao.as_slice()).unwrap(),
                timestamp: request.timestamp,
                withdrawals: request
                    .mints
                    .iter()
                    .map(|mint| alys_peg::Withdrawal {
                        index: mint.index,
                        recipient: Address::try_from(mint.recipient.as_slice()).unwrap(),
                        gwei: mint.amount_gwei,
                    })
                    .collect(),
                causes,
                time_budget_millis: request.time_budget_millis,
            };
            let payload = build(&wanted, 30_000_000).payload;
            reply.send(engine::BlockTemplate { payload, ..engine::BlockTemplate::default() });
        }
        engine::Inbox::ExecuteBlock(request, reply) => {
            let payload = alys_blocks::decode_payload(&request.payload).unwrap();
            let block_hash = el_hash(&payload).to_vec();
            reply.send(engine::ExecutionResult {
                status: Executed::Valid.into(),
                block_hash,
                ..engine::ExecutionResult::default()
            });
        }
        engine::Inbox::CommitExecution(commit, reply) => {
            if std::mem::take(forgets) {
                return reply.refuse(Refused::Failed("that block is not executed here".into()));
            }
            order.push("execute");
            let hash = B256::try_from(commit.block_hash.as_slice()).unwrap();
            if hash != executed.1 {
                *executed = (executed.0 + 1, hash);
            }
            reply.send(head(executed));
        }
        _ => panic!("chain does not ask this"),
    }
}

fn on_bridge(order: &mut Vec<&'static str>, message: bridge::Inbox) {
    match message {
        bridge::Inbox::GetBitcoinView(_, reply) => {
            let tip = common::BitcoinBlock { hash: view(20).hash.to_vec(), height: 20 };
            reply.send(bridge::BitcoinView { tip: Some(tip), available: true, reason: String::new() });
        }
        bridge::Inbox::ValidatePegOperations(_, reply) => {
            reply.send(bridge::PegOperationsVerdict { verdict: Verdict::Valid.into(), reason: String::new() });
        }
        bridge::Inbox::FinalizedBlock(_) => order.push("bridge"),
        _ => panic!("chain does not ask this"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_goes_through_log_storage_engine_and_only_then_out() {
    let mut world = start_in_test_context();
    let heard = world.play_until(2).await;
    assert_eq!(world.order[..4], ["build", "wal", "store", "execute"]);
    // Who of those that are told next is seen first is the scheduler's affair.
    assert!(["network", "bridge"].contains(&world.order[4]), "{:?}", world.order);
    let first = Block::decode(&heard[0].block).unwrap();
    assert_eq!((first.header.height, first.header.slot), (1, 1));
    let stream::Inbox::FinalizedBlock(told) = world.stream.next().await else { panic!("not a block") };
    assert_eq!(told.hash, heard[0].hash);
    let head = world.chain.remote.ask(chain::GetChainHead {}).await.unwrap();
    assert!(head.height >= 2 && head.producing);
    let latency: u64 = world.chain.status().iter().find(|(name, _)| *name == "block_latency_ms").unwrap().1.parse().unwrap();
    assert!(latency < 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_deposit_is_accepted_and_minted_in_a_block() {
    let mut world = start_in_test_context();
    world.play_until(1).await;
    let rules = rules(1);
    let proof = deposit_proof(&rules, 100_000_000, Address::repeat_byte(5), 10);
    let request = chain::PegInValidationRequest { deposit: Some((&proof).into()), approved_by: approvers() };
    assert!(world.chain.remote.ask(request.clone()).await.unwrap().accepted);
    let heard = world.play_until(2).await;
    let minted: usize = heard.iter().map(|block| Block::decode(&block.block).unwrap().body.peg_ins.len()).sum();
    assert_eq!(minted, 1);
    assert_eq!(world.facts.len(), 1);
    assert!(world.chain.remote.ask(request).await.unwrap().accepted, "repeating is harmless");
    world.play_until(1).await;
    assert_eq!(world.facts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_claims_are_answered_with_a_reason() {
    let mut world = start_in_test_context();
    world.play_until(1).await;
    let remote = &world.chain.remote;
    assert!(!remote.ask(chain::PegInValidationRequest::default()).await.unwrap().accepted);
    assert!(!remote.ask(chain::ProposePayout::default()).await.unwrap().accepted);
    assert!(!remote.ask(chain::PayoutConfirmed::default()).await.unwrap().accepted);
    assert!(!remote.ask(chain::ProposeRefund::default()).await.unwrap().accepted);
    assert!(!remote.ask(chain::GovernanceBlockProposal::default()).await.unwrap().accepted);
    remote.tell(chain::ConsensusMessage { message: vec![1, 2, 3], peer: "p".into() }).unwrap();
    remote.tell(chain::BlockReceived::default()).unwrap();
    world.play_until(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_restarts_delays_and_loses_nothing() {
    let mut world = start_in_test_context();
    world.storage_fails = 3;
    world.play_until(2).await;
    assert_eq!(world.blocks.len(), 2);
    assert_eq!(world.executed.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_forgot_gets_the_block_from_storage() {
    let mut world = start_in_test_context();
    world.engine_forgets = true;
    world.play_until(2).await;
    assert_eq!(world.executed.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_chain_replays_into_an_engine_that_is_behind_and_goes_on() {
    let mut world = start_in_test_context();
    world.play_until(2).await;
    let mut world = world.restarted();
    world.executed = (0, EL_GENESIS);
    let before = world.blocks.len() as u64;
    let heard = world.play_until(2).await;
    assert_eq!(heard[0].height, before, "the last block is told again");
    assert_eq!(heard[1].height, before + 1);
    assert_eq!(world.executed.0 as usize, world.blocks.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_another_chain_stops_the_start_with_advice() {
    let mut world = start_in_test_context();
    world.executed = (7, B256::repeat_byte(7));
    assert!(world.ends_with_advice().await.contains("data folder"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_lost_blocks_which_storage_has_pruned_stops_the_start_with_advice() {
    let mut world = start_in_test_context();
    world.play_until(4).await;
    let mut world = world.restarted();
    world.pruned_below = 3;
    // What is missing is there: it is made anew from block 3 on.
    world.executed = (2, el_hash(&payload(&world.blocks[1])));
    world.play_until(2).await;

    let mut world = world.restarted();
    world.pruned_below = 3;
    world.executed = (1, el_hash(&payload(&world.blocks[0])));
    let advice = world.ends_with_advice().await;
    assert!(advice.contains("blocks from 3 on") && advice.contains("empty the folders"), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_loses_them_while_chain_runs_ends_it_with_advice() {
    let mut world = start_in_test_context();
    world.play_until(4).await;
    world.pruned_below = 3;
    world.executed = (0, EL_GENESIS);
    assert!(world.ends_with_advice().await.contains("blocks from 3 on"));
}

fn payload(block: &common::CommittedBlock) -> alloy_rpc_types_engine::ExecutionPayloadV3 {
    alys_blocks::decode_payload(&Block::decode(&block.block).unwrap().body.payload).unwrap()
}
