//! Follows our own sidechain node: every block is checked, folded in and, when it states something, stored.

use std::sync::Arc;
use std::time::Duration;

use alys_peg::Fact;
use alys_proto::common::CommittedBlock;
use alys_proto::governance::governance_client::GovernanceClient;
use alys_proto::storage::GetBlocks;
use tonic::transport::Channel;

use crate::GovernanceError;
use crate::core::replay::ReplayFault;
use crate::io::sidechain::Address;
use crate::io::store::StoreError;
use crate::node::Node;
use crate::session::Backoff;

/// Blocks asked for at once.
const BATCH: u32 = 64;
/// Blocks without facts after which the head is stored anyway; so many are checked again after a crash.
const STORE_EVERY: usize = 256;
/// A node that serves a block which must not be is asked again after this.
const STOPPED: Duration = Duration::from_secs(5);

/// Blocks that are folded in and not stored yet.
type Unstored = Vec<(u64, Vec<Fact>)>;

/// Never returns except with an error that ends the process.
pub(crate) async fn follow(node: Arc<Node>, address: Address) -> Result<(), GovernanceError> {
    let mut client = address.lazy();
    let mut unstored = Unstored::new();
    let mut backoff = Backoff::default();
    // After every disturbance: is the node's chain still ours?
    let mut confirmed = false;
    loop {
        let blocks = match fetch(&mut client, &node, confirmed).await {
            Ok(blocks) => blocks,
            Err(status) => {
                tracing::debug!(%status, "own sidechain node does not answer");
                confirmed = false;
                tokio::time::sleep(backoff.next()).await;
                continue;
            }
        };
        backoff = Backoff::default();
        let asked_again = !confirmed && node.head() > 0;
        let caught_up = blocks.len() <= usize::from(asked_again);
        // A node that is behind us serves nothing yet, and so confirms nothing.
        let compared = !asked_again || !blocks.is_empty();
        let step = Step { node: node.clone(), blocks, unstored: std::mem::take(&mut unstored), asked_again };
        let (kept, fault) = node
            .tasks
            .spawn_blocking(move || step.run())
            .await
            .map_err(|died| GovernanceError::Broken(format!("replay: {died}")))??;
        unstored = kept;
        confirmed = fault.is_none() && compared;
        if let Some(fault) = fault {
            tracing::error!(%fault, "replay stopped: nothing is approved or signed until the node serves a block that holds");
            tokio::time::sleep(STOPPED).await;
        } else if caught_up {
            node.wait_for_news().await;
        }
    }
}

async fn fetch(
    client: &mut GovernanceClient<Channel>,
    node: &Node,
    confirmed: bool,
) -> Result<Vec<CommittedBlock>, tonic::Status> {
    let head = node.head();
    let from_height = if confirmed || head == 0 { head.saturating_add(1) } else { head };
    let mut request = tonic::Request::new(GetBlocks { from_height, limit: BATCH });
    request.set_timeout(Duration::from_secs(20));
    let answer = tokio::time::timeout(Duration::from_secs(25), client.get_blocks(request)).await;
    answer.map_err(|_elapsed| tonic::Status::deadline_exceeded("no answer"))?.map(|blocks| blocks.into_inner().blocks)
}

struct Step {
    node: Arc<Node>,
    blocks: Vec<CommittedBlock>,
    unstored: Unstored,
    /// The first block should be the one that is our head.
    asked_again: bool,
}

impl Step {
    /// Returns what is not stored yet, and the fault at which the replay stopped.
    fn run(mut self) -> Result<(Unstored, Option<ReplayFault>), GovernanceError> {
        let mut fault = None;
        {
            let mut books = self.node.books().map_err(|cause| GovernanceError::Broken(cause.to_string()))?;
            let mut blocks = self.blocks.iter();
            if self.asked_again
                && let Some(first) = blocks.next()
            {
                fault = books.replay.contradicted_by(first);
            }
            for block in blocks {
                if fault.is_some() {
                    break;
                }
                match books.replay.apply(block) {
                    Ok(facts) => self.unstored.push((block.height, facts)),
                    Err(cause) => fault = Some(cause),
                }
            }
            books.stopped = fault.as_ref().map(ToString::to_string);
            let head = *books.replay.head();
            let states_something = self.unstored.iter().any(|(_, facts)| !facts.is_empty());
            if states_something || self.unstored.len() >= STORE_EVERY {
                books.store.advance(head, &self.unstored).map_err(|cause: StoreError| GovernanceError::Store(cause))?;
                self.unstored.clear();
            }
            drop(books);
            self.node.moved(&head);
        }
        match fault {
            Some(fork @ ReplayFault::Fork { .. }) => Err(GovernanceError::Fork(Box::new(fork))),
            other => Ok((self.unstored, other)),
        }
    }
}
