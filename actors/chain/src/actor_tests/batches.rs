//! Batches of sync: the head moves once, and nobody sees more before it is on disk.

use super::*;

/// A chain of `length` blocks, and a full node that has none of them.
async fn follower(length: usize) -> (World, Vec<common::CommittedBlock>) {
    let mut validator = start_in_test_context();
    validator.play_until(length).await;
    let blocks = validator.blocks[..length].to_vec();
    (start_around(validator.spec.clone(), tempfile::tempdir().unwrap()), blocks)
}

/// Where a node is killed.
#[derive(Clone, Copy, PartialEq)]
enum Killed {
    Never,
    /// All is executed, and storage is asked.
    BeforeTheDisk,
    /// Storage has it, and the engine is asked.
    AfterTheDisk,
}

/// What was seen while a batch was imported.
#[derive(Default)]
struct Seen {
    /// Number of blocks in each transaction.
    transactions: Vec<usize>,
    /// What chain said its head was, whenever it had something executed.
    heads: Vec<u64>,
    /// Heights that network was told.
    told: Vec<u64>,
    /// The answer.
    head: Option<u64>,
}

impl World {
    /// Plays all roles until the batch is answered, or the node is killed. Of the questions to execute something, the engine does
    /// not know the parent at those of these numbers.
    async fn import(&mut self, blocks: Vec<common::CommittedBlock>, forgotten: &[usize], killed: Killed) -> Seen {
        let remote = self.chain.remote.clone();
        let asked = tokio::spawn(async move { remote.ask(chain::ValidatedBlockBatch { blocks }).await });
        tokio::pin!(asked);
        let (mut seen, mut executions) = (Seen::default(), 0);
        let play = async {
            loop {
                tokio::select! {
                    message = self.storage.next() => {
                        match &message {
                            storage::Inbox::CommitBlock(..) => seen.transactions.push(1),
                            storage::Inbox::CommitBlocks(batch, _) => seen.transactions.push(batch.blocks.len()),
                            _ => {}
                        }
                        if killed == Killed::BeforeTheDisk && !seen.transactions.is_empty() {
                            return seen;
                        }
                        on_storage(&mut self.blocks, &mut self.facts, &mut self.wal, 0, &mut self.storage_fails, &mut self.order, message);
                    }
                    message = self.engine.next() => {
                        if let engine::Inbox::ExecuteBlock(..) = &message {
                            executions += 1;
                            // While chain replays what storage has it answers nobody.
                            if forgotten.is_empty() && self.blocks.is_empty() {
                                seen.heads.push(self.chain.remote.ask(chain::GetChainHead {}).await.unwrap().height);
                            }
                        }
                        match message {
                            engine::Inbox::CommitExecution(..) if killed == Killed::AfterTheDisk => return seen,
                            engine::Inbox::ExecuteBlock(_, reply) if forgotten.contains(&executions) => {
                                reply.send(engine::ExecutionResult { status: Executed::Syncing.into(), ..engine::ExecutionResult::default() });
                            }
                            message => on_engine(&mut self.executed, &mut self.engine_forgets, &mut self.order, message),
                        }
                    }
                    message = self.bridge.next() => on_bridge(&mut self.order, message),
                    message = self.network.next() => match message {
                        network::Inbox::HeadAdvanced(head) => {
                            assert!(head.height <= self.blocks.len() as u64, "told before it is on disk");
                            seen.told.push(head.height);
                        }
                        // At a start, the last block again.
                        network::Inbox::FinalizedBlock(_) => {}
                        _ => panic!("a full node says nothing else"),
                    },
                    answer = &mut asked => {
                        seen.head = Some(answer.unwrap().unwrap().head_height);
                        return seen;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), play).await.expect("an answer within ten seconds")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blocks_of_a_batch_are_stored_together_and_shown_only_then() {
    let (mut world, blocks) = follower(4).await;
    let seen = world.import(blocks.clone(), &[], Killed::Never).await;
    assert_eq!((seen.transactions, seen.head), (vec![4], Some(4)));
    assert_eq!(seen.heads, [0, 0, 0, 0], "the head of before, while the others are executed");
    assert_eq!((&world.blocks, world.executed.0), (&blocks, 4));
    assert!(seen.told.is_sorted() && world.chain.remote.ask(chain::GetChainHead {}).await.unwrap().height == 4);
    assert_eq!(
        world.order.iter().position(|what| *what == "store"),
        Some(0),
        "storage before the engine's head: {:?}",
        world.order
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_survives_a_storage_that_is_away() {
    let (mut world, blocks) = follower(3).await;
    world.storage_fails = 2;
    let seen = world.import(blocks.clone(), &[], Killed::Never).await;
    assert_eq!((seen.transactions, seen.head), (vec![3, 3, 3], Some(3)), "the same again");
    assert_eq!(world.blocks, blocks);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_loses_executed_blocks_gets_them_from_storage_and_the_batch_goes_on() {
    let (mut world, blocks) = follower(4).await;
    world.engine_forgets = true;
    // The third block, and once more after catching up with a storage that has none of them yet.
    let seen = world.import(blocks.clone(), &[3, 4], Killed::Never).await;
    assert_eq!((seen.transactions, seen.head), (vec![2, 2], Some(4)), "what was executed is stored, then the rest");
    assert_eq!((&world.blocks, world.executed.0), (&blocks, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_before_or_after_the_transaction_starts_from_all_of_it_or_none() {
    for (killed, kept) in [(Killed::BeforeTheDisk, 0), (Killed::AfterTheDisk, 3)] {
        let (mut world, blocks) = follower(3).await;
        world.import(blocks.clone(), &[], killed).await;
        assert_eq!((world.blocks.len(), world.executed.0), (kept, 0), "engine never ahead of storage");
        let mut world = world.restarted();
        let seen = world.import(blocks.clone(), &[], Killed::Never).await;
        assert_eq!((seen.head, &world.blocks, world.executed.0), (Some(3), &blocks, 3));
    }
}

/// What storage does with one block.
pub(super) fn store(
    blocks: &mut Vec<common::CommittedBlock>,
    facts: &mut Vec<storage::LedgerFact>,
    wal: &mut Vec<Vec<u8>>,
    commit: storage::CommitBlock,
) {
    let block = commit.block.unwrap();
    if block.height == blocks.len() as u64 + 1 {
        blocks.push(block);
        facts.extend(commit.ledger.unwrap().facts);
        wal.clear();
    }
}
